package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// checkFiles refuses keys that stand where their file should: an error of opening
// such a path would show them. What is a path of one line is shown.
func (c *Config) checkFiles() error {
	type setting struct{ key, path string }
	files := []setting{{"policy.public_key", c.Policy.PublicKey}, {"tls.cert", c.TLS.Cert}, {"tls.key", c.TLS.Key}, {"tls.client_ca", c.TLS.ClientCA}}
	for _, t := range []struct {
		key string
		TLS
	}{{"pdp.tls", c.PDP.TLS}, {"envoy.tls", c.Envoy.TLS}} {
		files = append(files, setting{t.key + ".cert", t.Cert}, setting{t.key + ".key", t.Key}, setting{t.key + ".ca", t.CA})
	}
	for i, issuer := range c.OAuth.Issuers {
		at := fmt.Sprintf("oauth.issuers[%d].", i)
		files = append(files, setting{at + "jwks", issuer.JWKS}, setting{at + "ca", issuer.CA})
		if path, ok := strings.CutPrefix(issuer.Token, "file:"); ok {
			files = append(files, setting{at + "token", path})
		}
	}
	for _, name := range c.ServerNames() {
		credentials := c.Servers[name].Credentials
		for _, of := range slices.Sorted(maps.Keys(credentials)) {
			if j := credentials[of].JWTBearer; j != nil {
				files = append(files, setting{"servers." + name + ".credentials." + of + ".jwt_bearer.key", j.Key})
			}
		}
	}
	for _, f := range files {
		if strings.ContainsAny(f.path, "\r\n") || strings.Contains(f.path, "-----BEGIN") {
			return fmt.Errorf("%s: want the path of a PEM file, not what is in it", f.key)
		}
	}
	return nil
}
