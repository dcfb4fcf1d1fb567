package quota

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	_ "time/tzdata" // where the system has no time zones
)

// Kind of a window.
type Kind uint8

// The kinds of a window.
const (
	Sliding  Kind = iota + 1 // the last so long
	Calendar                 // since the last beginning of a unit
	Rate                     // so much in so long, and never more than a burst at once (GCRA)
)

// Unit of the calendar.
type Unit uint8

// The units of the calendar. Weeks begin on Monday.
const (
	Minute Unit = iota + 1
	Hour
	Day
	Week
	Month
	Year
)

var units = []string{Minute: "minute", Hour: "hour", Day: "day", Week: "week", Month: "month", Year: "year"}

// String returns the unit as policies write it.
func (u Unit) String() string {
	if int(u) >= len(units) {
		return ""
	}
	return units[u]
}

// Bounds of a window's length.
const (
	MinLength = time.Second
	MaxLength = 10 * 366 * 24 * time.Hour
)

// Window says what counts against a limit. [ParseWindow] makes one.
type Window struct {
	Kind     Kind
	Length   time.Duration  // of Sliding and Rate
	Unit     Unit           // of Calendar
	Location *time.Location // of Calendar
	Burst    Amount         // of Rate
}

// ParseWindow reads a window as policies write it: a duration ("24h"), with a
// burst for a rate; or a unit of the calendar ("day"), with a time zone if it
// is not UTC ("Europe/Berlin"). What is not given is "".
func ParseWindow(window, timezone, burst string) (Window, error) {
	if unit := slices.Index(units, window); unit > 0 {
		if burst != "" {
			return Window{}, fmt.Errorf("burst needs a duration as its window, not %q", window)
		}
		location, err := loadLocation(timezone)
		if err != nil {
			return Window{}, err
		}
		return Window{Kind: Calendar, Unit: Unit(unit), Location: location}, nil
	}
	length, err := time.ParseDuration(window)
	switch {
	case err != nil:
		return Window{}, fmt.Errorf("window must be a duration like \"24h\", or minute, hour, day, week, month or year (%s)", brief(window))
	case length < MinLength || length > MaxLength:
		return Window{}, fmt.Errorf("window must be from %s to %s (%s)", short(MinLength), short(MaxLength), brief(window))
	case length%time.Microsecond != 0:
		return Window{}, fmt.Errorf("window must be whole microseconds (%s)", brief(window))
	case timezone != "":
		return Window{}, errors.New("timezone needs minute, hour, day, week, month or year as its window")
	case burst == "":
		return Window{Kind: Sliding, Length: length}, nil
	}
	b, err := ParseAmount(burst)
	if err != nil {
		return Window{}, fmt.Errorf("burst %w", err)
	}
	if b.IsZero() {
		return Window{}, errors.New("burst must be more than 0")
	}
	return Window{Kind: Rate, Length: length, Burst: b}, nil
}

// locations keeps those that exist: reading one anew costs more than the rest
// of a decision.
var locations sync.Map // name → *time.Location

func loadLocation(name string) (*time.Location, error) {
	if name == "" || name == "UTC" {
		return time.UTC, nil
	}
	if l, ok := locations.Load(name); ok {
		return l.(*time.Location), nil
	}
	l, err := time.LoadLocation(name)
	if err != nil || name == "Local" { // Local is another one on every machine
		return nil, fmt.Errorf("timezone must be UTC or a name like \"Europe/Berlin\" (%s)", brief(name))
	}
	locations.Store(name, l)
	return l, nil
}

// String describes the window to people: "24h sliding", "day in
// Europe/Berlin", "1m, burst 10".
func (w Window) String() string {
	switch w.Kind {
	case Sliding:
		return short(w.Length) + " sliding"
	case Calendar:
		return w.Unit.String() + " in " + w.Location.String()
	case Rate:
		return short(w.Length) + ", burst " + w.Burst.String()
	default:
		return "no window"
	}
}

// short leaves out what a duration has nothing of: "24h", not "24h0m0s".
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
