package main

// PolicyCmd is being written.
type PolicyCmd struct{}
