package config

import (
	"errors"
	"net/url"
	"regexp"
)

// Server is one upstream: an URL or a command.
type Server struct {
	// URL of a streamable HTTP endpoint.
	URL string `yaml:"url"`
	// Headers are sent to the URL with every call. They stay in the PDP and
	// reach the upstream only.
	Headers map[string]string `yaml:"headers"`

	// Credentials are what calls can carry beside Headers, by name.
	Credentials map[string]Credential `yaml:"credentials"`
	// Credential is the one of them that is used where the policy chooses none.
	// Default: the only one.
	Credential string `yaml:"credential"`

	// Command is the program and its arguments, started without a shell.
	Command []string `yaml:"command"`
	// Env is the child's environment beside PATH, HOME and the locale.
	Env map[string]string `yaml:"env"`
	// Dir is the child's working directory.
	Dir string `yaml:"dir"`
	// Isolation is "shared" (one process for all clients, the default) or
	// "subject" (one for each subject).
	Isolation string `yaml:"isolation"`

	// Labels are for policy: input.server.labels.
	Labels map[string]string `yaml:"labels"`
	// Trusted believes the annotations with which the server describes its
	// own tools.
	Trusted bool `yaml:"trusted"`
	// Numbers is "safe" (the default: numbers that float64 would change are
	// refused) or "exact", where every reader behind the URL is known to be.
	Numbers string `yaml:"numbers"`
	// Timeout bounds one call. Default 60s. Streams are not bounded by it.
	Timeout Duration `yaml:"timeout"`
}

var serverName = regexp.MustCompile(`^[a-z0-9-]{1,63}$`)

func (s Server) check(name string) error {
	if !serverName.MatchString(name) {
		return errors.New("a server's name is 1 to 63 of a-z, 0-9 and -")
	}
	if (s.URL == "") == (len(s.Command) == 0) {
		return errors.New("give either url or command")
	}
	if s.URL != "" {
		u, ok := httpURL(s.URL)
		if !ok || u.Fragment != "" || u.User != nil {
			return errors.New("url: want http(s)://host[:port]/path without user name and fragment")
		}
	} else if len(s.Headers) > 0 {
		return errors.New("headers: only with url; a command takes its secrets from env")
	}
	if err := s.checkCredentials(); err != nil {
		return err
	}
	if err := oneOf("isolation", s.Isolation, "shared", "subject"); err != nil {
		return err
	}
	return oneOf("numbers", s.Numbers, "safe", "exact")
}

// httpURL reads an URL, and says not ok where it is not one of http or https with
// a host.
func httpURL(s string) (u *url.URL, ok bool) {
	u, err := url.Parse(s)
	return u, err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}
