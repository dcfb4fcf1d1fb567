// Package storetest is what every store of grants, approvals, credentials and the
// catalog has to do, as tests.
package storetest

import (
	"io"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/mcpermit/mcpermit/pdp/approval"
	"github.com/mcpermit/mcpermit/pdp/catalog"
	"github.com/mcpermit/mcpermit/pdp/credential"
	"github.com/mcpermit/mcpermit/pdp/identity"
	"github.com/mcpermit/mcpermit/pdp/signin"
)

// Store is everything that a store keeps.
type Store interface {
	identity.Store
	approval.Store
	approval.Secrets
	catalog.Store
	credential.Store
	signin.Store
	io.Closer
}

// Database opens one database; opening it again after closing the store finds
// what was stored.
type Database func(t *testing.T) Store

// Run puts a kind of store to the test. fresh makes a new, empty database.
func Run(t *testing.T, fresh func(t *testing.T) Database) {
	for name, test := range map[string]func(t *testing.T, open Database){
		"GrantRoundTrip":                grantRoundTrip,
		"GrantIDsAreUnique":             grantIDsAreUnique,
		"UnknownGrant":                  unknownGrant,
		"GrantsNewestFirst":             grantsNewestFirst,
		"ActiveGrants":                  activeGrants,
		"RevokeKeepsTheFirstTime":       revokeKeepsTheFirstTime,
		"RevokeEndsAllBelow":            revokeEndsAllBelow,
		"GrantsBySubjectAndParent":      grantsBySubjectAndParent,
		"UnusedGrants":                  unusedGrants,
		"HeldGrants":                    heldGrants,
		"RotateKeepsTheOldToken":        rotateKeepsTheOldToken,
		"WhatCannotBeRotated":           whatCannotBeRotated,
		"SpendAllOrNothing":             spendAllOrNothing,
		"GiveBackOnce":                  giveBackOnce,
		"ConcurrentUsesAreExact":        concurrentUsesAreExact,
		"I7_UsesOverTwoAuthenticators":  usesOverTwoAuthenticators,
		"UsageAddsUp":                   usageAddsUp,
		"ApprovalRoundTrip":             approvalRoundTrip,
		"UnknownApproval":               unknownApproval,
		"IdenticalCallWaitsOnce":        identicalCallWaitsOnce,
		"ConcurrentCallsWaitOnce":       concurrentCallsWaitOnce,
		"ExpiredApprovalIsReplaced":     expiredApprovalIsReplaced,
		"ApprovalsOfLongAgoAreDeleted":  approvalsOfLongAgoAreDeleted,
		"PendingIsBounded":              pendingIsBounded,
		"PendingApprovals":              pendingApprovals,
		"OneApprovalOfACallStands":      oneApprovalOfACallStands,
		"ChangeRoundTrip":               changeRoundTrip,
		"ChangesThatAreRefused":         changesThatAreRefused,
		"ConcurrentVotesAllCount":       concurrentVotesAllCount,
		"OneOfConcurrentUsesPasses":     oneOfConcurrentUsesPasses,
		"ApprovalsOutliveRestarts":      approvalsOutliveRestarts,
		"BooksShareAStore":              booksShareAStore,
		"SecretIsCreatedOnce":           secretIsCreatedOnce,
		"ConcurrentCallersShareASecret": concurrentCallersShareASecret,
		"CatalogIsEmptyAtFirst":         catalogIsEmptyAtFirst,
		"CatalogRoundTrip":              catalogRoundTrip,
		"CatalogReplacesAndRemoves":     catalogReplacesAndRemoves,
		"CatalogWritesAllOrNothing":     catalogWritesAllOrNothing,
		"SignInLinkIsTakenOnce":         signInLinkIsTakenOnce,
		"ConcurrentTakersOfOneLink":     concurrentTakersOfOneLink,
		"SignInLinkExpires":             signInLinkExpires,
		"SessionRoundTrip":              sessionRoundTrip,
		"SessionEnds":                   sessionEnds,
		"ExpiredSecretsAreOfNoUse":      expiredSecretsAreOfNoUse,
		"WritesSurviveReopening":        writesSurviveReopening,
		"EndedContextIsAnError":         endedContextIsAnError,
		"ConcurrentUse":                 concurrentUse,
		"SeparatorsDoNotCollide":        separatorsDoNotCollide,
	} {
		t.Run(name, func(t *testing.T) { test(t, fresh(t)) })
	}
	for name, test := range credentialTests {
		t.Run(name, func(t *testing.T) { test(t, fresh(t)) })
	}
}

// start is when the tests happen, to the microsecond that stores keep.
var start = time.Date(2026, 11, 22, 12, 30, 0, 123456000, time.UTC)

// opened returns the store, to be closed with the test.
func opened(t *testing.T, open Database) Store {
	t.Helper()
	s := open(t)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// equal takes nil and empty for the same: stores need not tell them apart.
func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}
