// Package manifests holds what is in deploy/ against what it is for: every
// document is decoded strictly into the types of the project that reads it
// (Kubernetes, Istio, Envoy Gateway, Envoy) and checked by that project's own
// rules, the mcpermit.yaml files are loaded as the programs load them, and all
// that has to agree between them is compared.
//
// It is a module of its own, so that the project depends on none of these. When
// the project's requirements change, `go -C test/manifests get -t ./...` brings
// it up to date.
package manifests
