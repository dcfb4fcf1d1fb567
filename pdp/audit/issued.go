package audit

import "strings"

// issued is a form of credential that its issuer made recognisable.
type issued struct {
	prefix string
	least  int  // how many characters at least follow
	mixed  bool // the prefix is too common: digits, capitals and small letters must follow
}

// issuedForms lists the forms by their first byte.
var issuedForms = func() (by [256][]issued) {
	for _, f := range []issued{
		{"AKIA", 16, false},
		{"ASIA", 16, false}, // AWS
		{"AIza", 30, false},
		{"ya29.", 20, false},
		{"GOCSPX-", 20, false}, // Google
		{"ghp_", 30, false},
		{"gho_", 30, false},
		{"ghu_", 30, false},
		{"ghs_", 30, false},
		{"ghr_", 30, false}, // GitHub
		{"github_pat_", 20, false},
		{"glpat-", 16, false},
		{"gldt-", 16, false},
		{"glrt-", 16, false},
		{"glptt-", 16, false}, // GitLab
		{"xoxb-", 10, false},
		{"xoxp-", 10, false},
		{"xoxa-", 10, false},
		{"xoxr-", 10, false},
		{"xoxs-", 10, false},
		{"xoxe-", 10, false},
		{"xapp-", 10, false}, // Slack
		{"sk_live_", 10, false},
		{"sk_test_", 10, false},
		{"rk_live_", 10, false},
		{"rk_test_", 10, false},
		{"whsec_", 16, false}, // Stripe
		{"sk-ant-", 16, false},
		{"sk-proj-", 16, false},
		{"sk-svcacct-", 16, false},
		{"sk-or-", 16, false},
		{"sk-", 20, true}, // model providers
		{"gsk_", 20, true},
		{"xai-", 20, true},
		{"hf_", 20, true},
		{"r8_", 20, true},
		{"npm_", 30, false},
		{"pypi-AgE", 16, false},
		{"rubygems_", 30, false},
		{"dckr_pat_", 16, false}, // package registries
		{"SG.", 30, true},        // mail
		{"dop_v1_", 32, false},
		{"doo_v1_", 32, false},
		{"dor_v1_", 32, false}, // DigitalOcean
		{"shpat_", 24, false},
		{"shpss_", 24, false},
		{"shpca_", 24, false},
		{"shppa_", 24, false}, // Shopify
		{"hvs.", 20, false},
		{"hvb.", 20, false},
		{"hvr.", 20, false}, // Vault
		{"AGE-SECRET-KEY-1", 20, false},
		{"lin_api_", 20, false},
		{"ntn_", 20, true},
		{"dp.pt.", 20, false},
		{"pscale_tkn_", 16, false},
		{"ATATT3", 20, false},
		{"sntrys_", 20, false},
		{"sntryu_", 20, false},
		{"figd_", 20, false},
		{"PMAK-", 20, false},
		{"glsa_", 20, false},
		{"glc_", 20, true},
		{"sbp_", 32, false},
		{"FlyV1 ", 20, true},
		{"HRKU-", 20, false},
		{"nfp_", 20, true},
	} {
		by[f.prefix[0]] = append(by[f.prefix[0]], f)
	}
	return by
}()

// issuedSeconds has, for each first byte of a form, the lowest five bits of the
// second ones: most words can be told from all forms by these two.
var issuedSeconds = func() (by [256]uint32) {
	for first, forms := range issuedForms {
		for _, f := range forms {
			by[first] |= 1 << (f.prefix[1] & 31)
		}
	}
	return by
}()

const (
	grantMark = "mcpg"
	// grantToken begins every token that this program issues.
	grantToken = grantMark + "_"
)

// issuedLen returns the length of an issued credential at the start of s, or 0.
func issuedLen(s string) int {
	for _, f := range issuedForms[s[0]] {
		if !strings.HasPrefix(s, f.prefix) {
			continue
		}
		rest := s[len(f.prefix):]
		n := run(rest, tokenByte)
		if n >= f.least && (!f.mixed || mixed(rest[:n]) && hasCase(rest[:n])) {
			return len(f.prefix) + n
		}
	}
	return 0
}
