package proxy

import (
	"crypto/sha256"
	"encoding/binary"
	"net/http"
	"strings"
	"sync"

	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// evidence is what a request brings of its client's identity, unjudged. resource
// is what an access token has to be for, empty where grant tokens are shown.
func evidence(r *http.Request, resource string) *v1.Evidence {
	e := &v1.Evidence{Peer: r.RemoteAddr, BearerToken: bearer(r.Header), Resource: resource}
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		for _, c := range r.TLS.VerifiedChains[0] {
			e.PeerCertificates = append(e.PeerCertificates, c.Raw)
		}
	}
	return e
}

// bearer takes the credential out of the one Authorization header, "" when
// there is none or it is of another scheme (RFC 6750, section 2.1). What is no
// UTF-8 in it, and so no token's, is put as U+FFFD, or the PDP could not be asked.
func bearer(h http.Header) string {
	values := h["Authorization"]
	if len(values) != 1 {
		return ""
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.ToValidUTF8(strings.Trim(token, " "), "\ufffd")
}

// evidenceKey tells apart the evidence of different clients without keeping
// it: a digest of the token, of what it is shown for, and of the certificates. The
// address is no part of it.
type evidenceKey [sha256.Size]byte

func keyOf(e *v1.Evidence) evidenceKey {
	all := make([]byte, 0, 256)
	for _, s := range []string{e.GetBearerToken(), e.GetResource()} {
		all = append(binary.BigEndian.AppendUint64(all, uint64(len(s))), s...)
	}
	for _, c := range e.GetPeerCertificates() {
		all = append(binary.BigEndian.AppendUint64(all, uint64(len(c))), c...)
	}
	return sha256.Sum256(all)
}

// isAnonymous reports whether there is no credential at all.
func isAnonymous(e *v1.Evidence) bool {
	return e.GetBearerToken() == "" && len(e.GetPeerCertificates()) == 0
}

// identities remembers whom the PDP recognised by which evidence. Nothing is
// allowed by it: it only says early that a session belongs to somebody else,
// so that the frame can be recorded as refused.
type identities struct {
	mu        sync.Mutex
	now, past map[evidenceKey]owner
}

const maxIdentities = 8192

func (s *identities) of(key evidenceKey) (owner, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o, ok := s.now[key]; ok {
		return o, true
	}
	o, ok := s.past[key]
	return o, ok
}

func (s *identities) learn(key evidenceKey, o owner) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now == nil || len(s.now) >= maxIdentities {
		s.now, s.past = make(map[evidenceKey]owner), s.now
	}
	s.now[key] = o
}
