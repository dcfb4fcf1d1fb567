package proxy

import "testing"

func TestIsErrorResult(t *testing.T) {
	for result, want := range map[string]bool{
		`{"isError":true}`:                           true,
		"{\"content\":[], \"isError\"\t:\r\n true }": true,
		`{"note":"isError\" : ","isError":true}`:     true,
		`{"a":{"isError":false},"isError":true}`:     true,
		`{"isError":false}`:                          false,
		`{"content":[]}`:                             false,
		`{"content":[{"isError":true}]}`:             false,
		`{"text":"\"isError\":true"}`:                false,
		`{"notisError":true}`:                        false,
		`{"isError":"true"}`:                         false,
		`{"isError":null,"structured":{"a":"true"}}`: false,
	} {
		if got := isErrorResult([]byte(result)); got != want {
			t.Errorf("%s: %v", result, got)
		}
	}
}
