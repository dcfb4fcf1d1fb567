package identity

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
)

const (
	defaultLeeway = 30 * time.Second
	// maxLeeway keeps a leeway from becoming a second life of tokens.
	maxLeeway = 5 * time.Minute
)

// Issuer is an authorization server whose access tokens are good, and what they
// say. Claims are named by path: a dot goes into an object.
type Issuer struct {
	// URL is the issuer, exactly as in its tokens.
	URL string
	// JWKS is the URL, or the file, of its keys; "" for what discovery says.
	JWKS string
	// Client makes the requests; it has to bound time, size and where they go.
	// Required unless JWKS is a file.
	Client *http.Client
	// Token returns the bearer token that is sent with them; nil for none.
	Token func() (string, error)

	// Audiences are good beside the resource of the evidence.
	Audiences []string
	// Algorithms of signatures that are good, by their names in RFC 7518, section
	// 3.1. Default RS256, PS256, ES256 and EdDSA. An HMAC cannot be one.
	Algorithms []string
	// Leeway is how far the clocks may be apart, at most 5 minutes. Default 30 s.
	Leeway time.Duration

	Type    string   // of its subjects: Person (the default), Agent or Workload
	Subject string   // claim that becomes the subject's id; default sub
	Prefix  string   // stands before the id
	Groups  string   // claim of the groups; default groups
	Actor   string   // claim that names who acts for the subject; default act.sub
	Claims  []string // shown to policy
	// NeedsGrant says that its subjects may do nothing but under a grant.
	NeedsGrant bool
}

// String leaves the token out.
func (i Issuer) String() string { return "issuer " + i.URL }

// issuer verifies the tokens of one authorization server.
type issuer struct {
	Issuer
	algorithms []jose.SignatureAlgorithm
	keys       *keySource
}

func newIssuer(o Issuer) (*issuer, error) {
	i := &issuer{Issuer: o, algorithms: defaultAlgorithms}
	defaults(&i.Type, Person)
	defaults(&i.Subject, "sub")
	defaults(&i.Groups, "groups")
	defaults(&i.Actor, "act.sub")
	if i.Leeway == 0 {
		i.Leeway = defaultLeeway
	}
	if len(o.Algorithms) > 0 {
		i.algorithms = nil
	}
	for _, name := range o.Algorithms {
		a := jose.SignatureAlgorithm(name)
		if !slices.Contains(signatureAlgorithms, a) {
			return nil, fmt.Errorf("algorithms: %q is none of %v", name, signatureAlgorithms)
		}
		i.algorithms = append(i.algorithms, a)
	}
	switch {
	case !isURL(o.URL):
		return nil, errors.New("url: want the issuer's https:// URL, exactly as in its tokens")
	case o.Client == nil && (o.JWKS == "" || isURL(o.JWKS)):
		return nil, errors.New("client: there is none to ask for the keys")
	case !slices.Contains([]string{Person, Agent, Workload}, i.Type):
		return nil, fmt.Errorf("type: want %s, %s or %s", Person, Agent, Workload)
	case i.Leeway < 0 || i.Leeway > maxLeeway:
		return nil, fmt.Errorf("leeway: want at most %v", maxLeeway)
	case slices.Contains(o.Audiences, ""):
		return nil, errors.New("audiences: an empty one would be anybody's")
	}
	return i, nil
}

func defaults(s *string, otherwise string) {
	if *s == "" {
		*s = otherwise
	}
}

// accessToken is one that its issuer has signed. It is shared and not changed, and
// does not hold the token itself.
type accessToken struct {
	issuer     *issuer
	proof      Proof
	audiences  []string
	expires    time.Time
	notBefore  time.Time // zero: not said
	issued     time.Time // zero: not said
	thumbprint string    // of the client certificate that it is bound to; "" for none

	keys       *keySet // by which it was verified
	verifiedAt time.Time
}

// verify reads a token whose issuer is claimed to be i. The error is a *Refusal
// where the token is no good.
func (i *issuer) verify(ctx context.Context, t *signedToken) (*accessToken, error) {
	if !slices.Contains(i.algorithms, t.algorithm) {
		return nil, invalidToken("is signed by an algorithm that is not accepted of its issuer")
	}
	keys, err := i.keys.verified(ctx, t)
	if err != nil {
		return nil, err
	}
	out := &accessToken{issuer: i, keys: keys, proof: Proof{NeedsGrant: i.NeedsGrant}}
	if err := out.readTerms(t.claims); err != nil {
		return nil, err
	}
	if out.proof.Subject, err = i.subject(t.claims); err != nil {
		return nil, err
	}
	return out, nil
}

// readTerms reads for whom and when the token is good.
func (t *accessToken) readTerms(c claims) (err error) {
	var ok bool
	if t.audiences, ok = texts(c["aud"]); !ok {
		return invalidToken("has no audience")
	}
	if t.expires, err = c.date("exp"); err != nil {
		return err
	}
	if t.expires.IsZero() {
		return invalidToken("does not expire, and such are not accepted")
	}
	if t.notBefore, err = c.date("nbf"); err != nil {
		return err
	}
	if t.issued, err = c.date("iat"); err != nil {
		return err
	}
	return t.readConfirmation(c)
}

// readConfirmation reads what the sender must have beside the token (RFC 7800). A
// certificate can be checked (RFC 8705, section 3.1); whatever else is asked for
// cannot, and must not be passed over.
func (t *accessToken) readConfirmation(c claims) error {
	v, has := c.lookup("cnf")
	if !has {
		return nil
	}
	var methods map[string]string
	if json.Unmarshal(v, &methods) != nil || len(methods) != 1 || methods["x5t#S256"] == "" {
		return invalidToken("is bound to a key in a way that is not supported here")
	}
	t.thumbprint = methods["x5t#S256"]
	return nil
}

// check holds what the token says against a frame and the time. The error is a
// *Refusal.
func (t *accessToken) check(e Evidence, now time.Time) error {
	leeway := t.issuer.Leeway
	switch {
	case !t.isFor(e.Resource):
		return invalidToken("is for another audience; ask for one whose resource is the URL of this server")
	case t.thumbprint != "" && !holdsCertificate(e, t.thumbprint):
		return invalidToken("is bound to a client certificate that was not shown")
	case now.Add(leeway).Before(t.notBefore):
		return invalidToken("is not valid yet")
	case now.Add(leeway).Before(t.issued):
		return invalidToken("was issued in the future; compare the clocks")
	case !now.Add(-leeway).Before(t.expires):
		return &Refusal{Code: Expired, Reason: "the access token has expired", Subject: &t.proof.Subject}
	}
	return nil
}

// isFor compares bytes with a resource that is not empty: another case, port or path is another server's. The URL
// may have a slash at its end, as clients write it.
func (t *accessToken) isFor(resource string) bool {
	for _, a := range t.audiences {
		if a == resource || a == resource+"/" || slices.Contains(t.issuer.Audiences, a) {
			return true
		}
	}
	return false
}

func holdsCertificate(e Evidence, thumbprint string) bool {
	if len(e.PeerCertificates) == 0 {
		return false
	}
	sum := sha256.Sum256(e.PeerCertificates[0])
	return base64.RawURLEncoding.EncodeToString(sum[:]) == thumbprint
}

// subject makes the subject of a token's claims.
func (i *issuer) subject(c claims) (s Subject, err error) {
	s = Subject{Type: i.Type, Issuer: i.URL}
	if s.ID, err = c.id(i.Subject); err != nil {
		return Subject{}, err
	}
	if s.ID == "" {
		return Subject{}, invalidToken("has no claim %s to name its subject", i.Subject)
	}
	if s.ID = i.Prefix + s.ID; len(s.ID) > maxText {
		return Subject{}, invalidToken("has a subject longer than %d bytes", maxText)
	}
	if s.Actor, err = i.actor(c); err != nil {
		return Subject{}, err
	}
	if s.Groups, err = i.groups(c); err != nil {
		return Subject{}, err
	}
	if s.Scopes, err = c.scopes(); err != nil {
		return Subject{}, err
	}
	s.Claims, err = c.shown(i.Claims)
	return s, err
}

// id reads a claim that names somebody; "" where it is not there.
func (c claims) id(path string) (string, error) {
	v, has := c.lookup(path)
	if !has {
		return "", nil
	}
	id, ok := text(v)
	if !ok {
		return "", invalidToken("has a claim %s that is no text", path)
	}
	if err := checkText(id); err != nil {
		return "", invalidToken("has a claim %s that %v", path, err)
	}
	return id, nil
}

// actor is who acts on behalf of the subject: of a chain of actors the outermost,
// who is the current one (RFC 8693, section 4.1). An actor who is there and not
// named must not be taken for none.
func (i *issuer) actor(c claims) (string, error) {
	actor, err := c.id(i.Actor)
	if err != nil || actor != "" {
		return actor, err
	}
	first, _, _ := strings.Cut(i.Actor, ".")
	if _, has := c.lookup(first); has {
		return "", invalidToken("has an actor without a claim %s to name it", i.Actor)
	}
	return "", nil
}

// groups must not come out fewer than there are: rules may deny by them. So where
// the claim is elsewhere (OpenID Connect Core, section 5.6.2: Entra ID does so with
// very many) the token is refused.
func (i *issuer) groups(c claims) ([]string, error) {
	v, has := c.lookup(i.Groups)
	if !has {
		if _, elsewhere := c.lookup("_claim_names." + i.Groups); elsewhere {
			return nil, invalidToken("leaves out the claim %s and says where to ask for it; have the issuer put it into the token", i.Groups)
		}
		return nil, nil
	}
	all, ok := texts(v)
	if !ok {
		return nil, invalidToken("has a claim %s that is no list of texts", i.Groups)
	}
	if len(all) > maxGroups {
		return nil, invalidToken("has more than %d groups", maxGroups)
	}
	for _, g := range all {
		if err := checkText(g); err != nil {
			return nil, invalidToken("has a group that %v", err)
		}
	}
	return all, nil
}

func invalidToken(format string, args ...any) *Refusal {
	return &Refusal{Code: Invalid, Reason: "the access token " + fmt.Sprintf(format, args...)}
}
