// Package store keeps grants, approvals, quotas, sessions, credentials, shared keys
// and the catalog behind the interfaces that those packages own.
//
// [SQLite] is the store of one machine: one process writes to a state
// directory at a time. [Postgres] is the one that several decision points share.
// They differ in their SQL; columns, values and how rows are read are the same.
// What any store has to do is written down as tests in the package storetest.
package store
