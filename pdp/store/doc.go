// Package store keeps grants, approvals, shared keys and the catalog behind the interfaces
// that those packages own.
//
// [SQLite] is the store of one machine: one process writes to a state
// directory at a time. What other stores have to do is written down as tests in
// the package storetest.
package store
