package identity

import "context"

// Provers asks the prover that is for the evidence: of an access token where one
// was sent to a resource, and of the client certificate where no token was sent. A
// token that is no good is not made up for by a certificate.
type Provers struct {
	tokens       *AccessTokens
	certificates *Certificates
}

var (
	_ Prover = (*Provers)(nil)
	_ Prover = (*AccessTokens)(nil)
	_ Prover = (*Certificates)(nil)
)

// NewProvers returns the prover for both kinds of evidence; nil stands for a kind
// that proves nobody.
func NewProvers(tokens *AccessTokens, certificates *Certificates) *Provers {
	return &Provers{tokens: tokens, certificates: certificates}
}

// Run does what has to be done beside the proving, until ctx ends.
func (p *Provers) Run(ctx context.Context) {
	if p.tokens != nil {
		p.tokens.Run(ctx)
	}
}

// Prove implements [Prover].
func (p *Provers) Prove(ctx context.Context, e Evidence) (Proof, error) {
	switch {
	case e.BearerToken == "" && p.certificates != nil && len(e.PeerCertificates) > 0:
		return p.certificates.Prove(ctx, e)
	case e.BearerToken == "" && e.Resource == "":
		return Proof{}, &Refusal{Code: Missing, Reason: "no token was sent; send Authorization: Bearer <grant token>"}
	case p.tokens != nil:
		return p.tokens.Prove(ctx, e)
	case e.BearerToken == "":
		return Proof{}, &Refusal{Code: Missing, Reason: "no token was sent"}
	}
	return Proof{}, &Refusal{Code: Invalid, Reason: "access tokens are not accepted at this address"}
}
