package mcp

import (
	"path"
	"strings"
)

// sender is a set of directions.
type sender uint8

const (
	client sender = 1 << iota
	server
	either = client | server
)

func (d Direction) sender() sender {
	if d == ToServer {
		return client
	}
	return server
}

// The methods that the gateway treats in a way of their own.
const (
	methodToolsCall     = "tools/call"
	methodToolsList     = "tools/list"
	methodPromptsGet    = "prompts/get"
	methodPromptsList   = "prompts/list"
	methodResourcesRead = "resources/read"
	methodResourcesList = "resources/list"
	methodTemplatesList = "resources/templates/list"
	methodSubscribe     = "resources/subscribe"
	methodUnsubscribe   = "resources/unsubscribe"
	methodListen        = "subscriptions/listen"
	methodAcknowledged  = "notifications/subscriptions/acknowledged"
	methodComplete      = "completion/complete"
	methodInitialize    = "initialize"
	methodCancelled     = "notifications/cancelled"
	methodProgress      = "notifications/progress"
	methodSampling      = "sampling/createMessage"
	methodElicitation   = "elicitation/create"
	methodRoots         = "roots/list"
	notificationPrefix  = "notifications/"
	taskPrefix          = "tasks/"
	maxMethod           = 256      // bytes of a method name
	maxName             = 256      // bytes of a tool's or prompt's name, or a task's id
	maxURI              = 8 << 10  // bytes of a resource's URI
	maxID               = 256      // bytes of an id or progress token, decoded
	maxRequestState     = 64 << 10 // bytes of the raw requestState
	maxVersion          = 64       // bytes of a protocol version
	firstModern         = "2026-07-28"
)

// method is what MCP says about a method, as far as the reader needs it. The
// zero value is a method that MCP does not know: either side may send it, and
// nothing in it is read. Whether it passes is up to the policy.
type method struct {
	name    string
	from    sender
	subject slot   // the parameter that the frame is about
	members []slot // the parameters that may be there; nil: any
	rounds  bool   // takes inputResponses and requestState in 2026-07-28
	legacy  bool   // 2026-07-28 has it no more, and its parameters are not those of a modern frame
}

// The methods of every revision from 2025-03-26 to 2026-07-28 and of the tasks
// extension. The parameters of those with a subject are closed: a server must
// not act on a member that no policy saw.
var methods = index([]method{
	{name: methodToolsCall, from: client, subject: slotName, rounds: true, members: []slot{slotName, slotArguments, slotMeta, slotTask}},
	{name: methodPromptsGet, from: client, subject: slotName, rounds: true, members: []slot{slotName, slotArguments, slotMeta}},
	{name: methodResourcesRead, from: client, subject: slotURI, rounds: true, members: []slot{slotURI, slotMeta}},
	{name: methodSubscribe, from: client, subject: slotURI, legacy: true, members: []slot{slotURI, slotMeta}},
	{name: methodUnsubscribe, from: client, subject: slotURI, legacy: true, members: []slot{slotURI, slotMeta}},
	{name: methodComplete, from: client, subject: slotRef, members: []slot{slotRef, slotArgument, slotContext, slotMeta}},

	{name: methodToolsList, from: client},
	{name: methodPromptsList, from: client},
	{name: methodResourcesList, from: client},
	{name: methodTemplatesList, from: client},
	{name: methodInitialize, from: client},
	{name: "server/discover", from: client},
	{name: methodListen, from: client},
	{name: "logging/setLevel", from: client},
	{name: "ping", from: either},

	{name: "tasks/get", from: either, subject: slotTaskID},
	{name: "tasks/result", from: either, subject: slotTaskID},
	{name: "tasks/cancel", from: either, subject: slotTaskID},
	{name: "tasks/update", from: client, subject: slotTaskID, rounds: true},
	{name: "tasks/list", from: either},

	{name: methodSampling, from: server},
	{name: methodElicitation, from: server},
	{name: methodRoots, from: server},

	{name: methodCancelled, from: either},
	{name: methodProgress, from: either},
	{name: "notifications/initialized", from: client},
	{name: "notifications/roots/list_changed", from: client},
	{name: "notifications/tasks/status", from: either, subject: slotTaskID},
	{name: "notifications/tasks", from: server},
	{name: "notifications/message", from: server},
	{name: "notifications/resources/updated", from: server, subject: slotURI},
	{name: "notifications/resources/list_changed", from: server},
	{name: "notifications/tools/list_changed", from: server},
	{name: "notifications/prompts/list_changed", from: server},
	{name: "notifications/elicitation/complete", from: server},
	{name: methodAcknowledged, from: server},
})

func index(list []method) map[string]*method {
	m := make(map[string]*method, len(list))
	for i := range list {
		m[list[i].name] = &list[i]
	}
	return m
}

// isModern reports whether a protocol version belongs to the era without a
// handshake: 2026-07-28 and later. Versions are dates; anything else is not.
func isModern(version string) bool { return isDate(version) && version >= firstModern }

func isDate(s string) bool {
	if len(s) != len(firstModern) {
		return false
	}
	for i, c := range []byte(s) {
		if dash := firstModern[i] == '-'; dash != (c == '-') || !dash && (c < '0' || '9' < c) {
			return false
		}
	}
	return true
}

// foldedMethods are the forms under which a reader that ignores case knows the
// methods.
var foldedMethods = func() map[string]bool {
	m := make(map[string]bool, len(methods))
	for name := range methods {
		m[strings.ToLower(name)] = true
	}
	return m
}()

// isLookalike reports whether a method that MCP does not know is a known one
// to a reader that is careless about case or cleans paths.
func isLookalike(method string) bool {
	return foldedMethods[strings.ToLower(method)] || path.Clean("/"+method) != "/"+method
}

func isNotification(method string) bool { return strings.HasPrefix(method, notificationPrefix) }
