package quota

import "encoding/json"

// termsText is how terms are kept beside a state, for people to see how it
// stands without a policy.
type termsText struct {
	Limit    string `json:"limit"`
	Window   string `json:"window"`
	Timezone string `json:"timezone,omitempty"`
	Burst    string `json:"burst,omitempty"`
}

func (t terms) encode() string {
	text := termsText{Limit: t.limit.String(), Window: t.window.Length.String()}
	switch t.window.Kind {
	case Calendar:
		text.Window, text.Timezone = t.window.Unit.String(), t.window.Location.String()
	case Rate:
		text.Burst = t.window.Burst.String()
	}
	b, _ := json.Marshal(text) // strings
	return string(b)
}

func decodeTerms(s string) (t terms, err error) {
	var text termsText
	if err := json.Unmarshal([]byte(s), &text); err != nil {
		return t, err
	}
	if t.limit, err = ParseAmount(text.Limit); err != nil {
		return t, err
	}
	t.window, err = ParseWindow(text.Window, text.Timezone, text.Burst)
	return t, err
}

// String describes the window together with the limit where it needs it.
func (t terms) String() string {
	if t.window.Kind == Rate {
		return t.limit.String() + " in " + t.window.String()
	}
	return t.window.String()
}

// most is how much can be used at once.
func (t terms) most() Amount {
	if t.window.Kind == Rate {
		return t.window.Burst
	}
	return t.limit
}

// use is what callers are told of the room that was found.
func (t terms) use(name string, r room, cost Amount) Use {
	return Use{
		Name: name, Limit: t.most(), Used: r.used, Remaining: t.most().less(r.used),
		Cost: cost, Reset: r.reset, Window: t.String(), Exceeded: !r.fits,
	}
}
