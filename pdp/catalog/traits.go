package catalog

import (
	"slices"
	"strings"
	"unicode"
)

// traitWords are the words in a parameter's name that give the tool a trait.
// A word may be several parts: "api key" is found in apiKey and in api_key_id.
var traitWords = map[string][]string{
	TakesURL:        {"url", "urls", "uri", "uris", "href", "webhook", "endpoint", "hostname", "domain", "link"},
	TakesPath:       {"path", "paths", "file", "files", "filename", "filepath", "directory", "dir", "folder", "cwd"},
	TakesRecipient:  {"to", "cc", "bcc", "recipient", "recipients", "email", "emails", "phone", "channel", "attendees", "assignee", "invitee"},
	TakesCredential: {"password", "passphrase", "secret", "token", "credential", "credentials", "api key", "private key", "access key", "authorization"},
	FreeFormCode:    {"code", "command", "commands", "cmd", "script", "sql", "cypher", "expression", "javascript", "python", "shell"},
}

// readTraits judges a tool by the names of its parameters: the first level of
// its input schema's properties.
func readTraits(schema []byte) []string {
	if schema == nil {
		return nil
	}
	members, err := readMembers(schema)
	if err != nil {
		return nil
	}
	properties, err := readMembers(members["properties"])
	if err != nil {
		return nil
	}
	var traits []string
	for name, property := range properties {
		words := " " + strings.Join(splitName(name), " ") + " "
		for trait, list := range traitWords {
			if slices.ContainsFunc(list, func(w string) bool { return strings.Contains(words, " "+w+" ") }) {
				traits = append(traits, trait)
			}
		}
		if format(property) == "uri" {
			traits = append(traits, TakesURL)
		}
	}
	return sortedSet(traits)
}

// format returns the format that a property's schema states, or "".
func format(property []byte) string {
	members, err := readMembers(property)
	if err != nil {
		return ""
	}
	s, err := readString(members["format"])
	if err != nil {
		return ""
	}
	return s
}

// splitName splits camelCase, snake_case, kebab-case and dotted names into
// lower-case words; an acronym is one word: "baseURLPath" is base, url, path.
func splitName(name string) []string {
	var words []string
	var word []rune
	end := func() {
		if len(word) > 0 {
			words = append(words, strings.ToLower(string(word)))
			word = nil
		}
	}
	runes := []rune(name)
	for i, r := range runes {
		switch {
		case !unicode.IsLetter(r) && !unicode.IsDigit(r):
			end()
			continue
		case unicode.IsUpper(r) && i > 0 &&
			(!unicode.IsUpper(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])):
			end()
		}
		word = append(word, r)
	}
	end()
	return words
}

// sortedSet sorts in place and drops duplicates.
func sortedSet(s []string) []string {
	slices.Sort(s)
	return slices.Compact(s)
}
