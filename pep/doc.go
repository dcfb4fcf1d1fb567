// Package pep is what every policy enforcement point needs to ask a policy
// decision point: a [Decider], which is either the engine in the same process
// or a [Client] over gRPC, and the [Enforcer] in front of it, the one place
// where no decision, a late one or one that cannot be carried out becomes a
// refusal.
package pep
