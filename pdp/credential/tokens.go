package credential

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/go-json-experiment/json"
)

// tokens are those of one holder, as they lie in the vault. Formatting them shows
// no token.
type tokens struct {
	AccessToken  string    `json:"access_token"` // secret; "" where somebody is about to get the first
	RefreshToken string    `json:"refresh_token,omitzero"`
	TokenType    string    `json:"token_type"`
	Scopes       []string  `json:"scopes,omitzero"`
	ObtainedAt   time.Time `json:"obtained_at"`
	ExpiresAt    time.Time `json:"expires_at,omitzero"` // zero: it does not say
	Issuer       string    `json:"issuer,omitzero"`
	Resource     string    `json:"resource,omitzero"`
	// TokenURL, ClientID and AuthMethod are how an account's are refreshed, with
	// ClientSecret where the client is not the configuration's but one that was
	// registered: the registration may be replaced, and the tokens stay that client's.
	TokenURL     string `json:"token_url,omitzero"`
	ClientID     string `json:"client_id,omitzero"`
	AuthMethod   string `json:"auth_method,omitzero"`
	ClientSecret string `json:"client_secret,omitzero"` // secret
	// Asked is the digest of what they were asked for with.
	Asked string `json:"asked,omitzero"`
	// RefusedAt is when they were obtained because the server had refused those
	// before.
	RefusedAt time.Time `json:"refused_at,omitzero"`
}

// String shows no token, whatever the verb.
func (t tokens) String() string {
	return fmt.Sprintf("tokens of %s for %s until %s", t.Issuer, t.Resource, t.ExpiresAt.Format(time.RFC3339))
}

// GoString shows no token.
func (t tokens) GoString() string { return t.String() }

// LogValue shows no token.
func (t tokens) LogValue() slog.Value { return slog.StringValue(t.String()) }

// Clocks differ, and a call takes its time: a token is not used in its last
// seconds, or in the last tenth of a short life.
const safety = 5 * time.Second

// usable says whether a call that is sent now may carry the access token.
func (t tokens) usable(now time.Time) bool {
	if t.AccessToken == "" {
		return false
	}
	return t.ExpiresAt.IsZero() || now.Before(t.ExpiresAt.Add(-min(safety, t.life()/10)))
}

// dueAt is when to renew behind the calls: at four fifths of the life or a minute
// before its end, but never in its first half; a little earlier by jitter, 0 to 1,
// so that replicas and tokens do not all come at once. Zero: never.
func (t tokens) dueAt(jitter float64) time.Time {
	if t.ExpiresAt.IsZero() {
		return time.Time{}
	}
	life := t.life()
	after := min(life*8/10, life-time.Minute)
	after -= time.Duration(jitter * float64(life) / 20)
	return t.ObtainedAt.Add(max(after, life/2))
}

func (t tokens) life() time.Duration { return max(t.ExpiresAt.Sub(t.ObtainedAt), 0) }

// entry is the tokens as the vault takes them.
func (t tokens) entry(k Key, generation int64) (Entry, error) {
	value, err := json.Marshal(t)
	if err != nil {
		return Entry{}, fmt.Errorf("write tokens of %s: %w", k.Name, err)
	}
	return Entry{Key: k, Generation: generation, Value: value, ExpiresAt: t.ExpiresAt}, nil
}

// tokensOf reads what entry wrote. Its error shows nothing of the value.
func tokensOf(e Entry) (tokens, error) {
	var t tokens
	if json.Unmarshal(e.Value, &t) != nil {
		return tokens{}, fmt.Errorf("what the vault keeps of %s for %q are no tokens: delete it, and connect or get them again", e.Name, e.Holder)
	}
	return t, nil
}
