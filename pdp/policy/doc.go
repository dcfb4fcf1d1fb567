// Package policy turns Rego bundles into an immutable [Snapshot] that decides.
//
// A bundle is read, verified, checked, labelled, weakened and prepared beside
// the one in force; then one atomic pointer changes. A bundle that fails on
// the way changes nothing. Deciding takes no lock: a caller loads the pointer
// once and uses that snapshot for the whole decision.
//
// What authors may write, and how the effects combine, is described in
// rego/README.md. data.mcpermit.decision is what decides, by definition; a plan
// asks the sets that it is made of, and is held to the same answers.
package policy
