package credential

import "testing"

func TestI6_WhatIsNoNameIsNotShown(t *testing.T) {
	const hidden = "[not a name]"
	for _, c := range []struct{ kind, name, want string }{
		{KindSecret, "stripe.key-2", "stripe.key-2"},
		{KindSecret, "files/own", hidden},
		{KindSecret, "c4n4ry/+&", hidden},
		{KindSecret, "", hidden},
		{KindAccount, "files/own", "files/own"},
		{KindAccount, "files", hidden},
		{KindAccount, "C4N4RY/C4N4RY", hidden},
		{"unspecified", "stripe", hidden},
	} {
		if got := ShownName(c.kind, c.name); got != c.want {
			t.Errorf("%s %q: %q, want %q", c.kind, c.name, got, c.want)
		}
	}
}

func TestI6_ErrorCodesThatMayBeSecretsAreNotShown(t *testing.T) {
	for code, want := range map[string]bool{
		"invalid_grant": true, "temporarily_unavailable": true, "use_dpop_nonce": true,
		"": false, "C4N4RY": false, "c4n4ry": false, "c-n": false, "_secret": false,
	} {
		if errorCode.MatchString(code) != want {
			t.Errorf("%q: want %v", code, want)
		}
	}
}
