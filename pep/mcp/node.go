package mcp

// slot numbers the values that are taken out of a frame.
type slot uint8

const (
	slotNone slot = iota

	slotEnvelope
	slotVersion
	slotID
	slotMethod
	slotParams
	slotResult
	slotError

	// members of params
	slotName
	slotURI
	slotRef
	slotTaskID
	slotArguments
	slotMeta
	slotTask
	slotInputResponses
	slotRequestState
	slotArgument
	slotContext
	slotProgressToken
	slotRequestID
	slotInitVersion
	slotInitInfo
	slotInitCapabilities
	slotNotifications

	// members of params.ref
	slotRefType
	slotRefName
	slotRefURI

	// members of params.notifications
	slotResourceURIs
	slotTaskIDs

	// members of params._meta, and what is in them
	slotMetaToken
	slotMetaVersion
	slotMetaInfo
	slotMetaCapabilities
	slotTraceParent
	slotTraceState
	slotBaggage
	slotSubscription
	slotInfoName
	slotInfoVersion
	slotElicitation
	slotElicitationURL

	// members of result
	slotResultType
	slotInputRequests
	slotResultState
	slotResultMeta
	slotList
	slotNextCursor
	slotCacheScope
	slotTTL
	slotItem
	slotItemName

	slotCount
)

// node says what is taken out of a value. An object that something is taken
// out of is held to the strict rules on names, whoever sent it.
type node struct {
	slot    slot
	members map[string]*node
	folded  map[string]struct{} // the folded forms of the members' names
	item    *node               // for an array: every element is one item of a listing
}

// guides reports whether the gateway takes something out of the object.
func (n *node) guides() bool { return n != nil && n.members != nil }

// leaf takes a value as a whole.
func leaf(s slot) *node { return &node{slot: s} }

// branch takes an object, and some of its members.
func branch(s slot, members map[string]*node) *node {
	n := &node{slot: s, members: members, folded: make(map[string]struct{}, len(members))}
	for name := range members {
		n.folded[string(appendFold(nil, []byte(name)))] = struct{}{}
	}
	return n
}

// slots are those of the members.
func (n *node) slots() []slot {
	slots := make([]slot, 0, len(n.members))
	for _, m := range n.members {
		slots = append(slots, m.slot)
	}
	return slots
}

// The names of MCP's own members of _meta.
const (
	metaVersion      = "io.modelcontextprotocol/protocolVersion"
	metaInfo         = "io.modelcontextprotocol/clientInfo"
	metaCapabilities = "io.modelcontextprotocol/clientCapabilities"
	metaSubscription = "io.modelcontextprotocol/subscriptionId"
)

var (
	infoMembers = map[string]*node{
		"name":    leaf(slotInfoName),
		"version": leaf(slotInfoVersion),
	}
	capabilityMembers = map[string]*node{
		"elicitation": branch(slotElicitation, map[string]*node{"url": leaf(slotElicitationURL)}),
	}
	paramsNode = branch(slotParams, map[string]*node{
		"name": leaf(slotName),
		"uri":  leaf(slotURI),
		"ref": branch(slotRef, map[string]*node{
			"type": leaf(slotRefType),
			"name": leaf(slotRefName),
			"uri":  leaf(slotRefURI),
		}),
		"taskId":         leaf(slotTaskID),
		"arguments":      leaf(slotArguments),
		"task":           leaf(slotTask),
		"inputResponses": leaf(slotInputResponses),
		"requestState":   leaf(slotRequestState),
		"argument":       leaf(slotArgument),
		"context":        leaf(slotContext),
		"progressToken":  leaf(slotProgressToken),
		"requestId":      leaf(slotRequestID),

		"protocolVersion": leaf(slotInitVersion),
		"clientInfo":      branch(slotInitInfo, infoMembers),
		"capabilities":    branch(slotInitCapabilities, capabilityMembers),

		"notifications": branch(slotNotifications, map[string]*node{
			"resourceSubscriptions": leaf(slotResourceURIs),
			"taskIds":               leaf(slotTaskIDs),
		}),

		"_meta": branch(slotMeta, map[string]*node{
			"progressToken":  leaf(slotMetaToken),
			metaVersion:      leaf(slotMetaVersion),
			metaInfo:         branch(slotMetaInfo, infoMembers),
			metaCapabilities: branch(slotMetaCapabilities, capabilityMembers),
			"traceparent":    leaf(slotTraceParent),
			"tracestate":     leaf(slotTraceState),
			"baggage":        leaf(slotBaggage),
			metaSubscription: leaf(slotSubscription),
		}),
	})
	paramsSlots   = paramsNode.slots()
	resultMembers = map[string]*node{
		"resultType":    leaf(slotResultType),
		"inputRequests": leaf(slotInputRequests),
		"requestState":  leaf(slotResultState),
		"_meta":         branch(slotResultMeta, map[string]*node{metaSubscription: leaf(slotSubscription)}),
	}
	frameNode = envelope(branch(slotResult, resultMembers))
)

// envelope is a whole message whose result is read with the given node.
func envelope(result *node) *node {
	return branch(slotEnvelope, map[string]*node{
		"jsonrpc": leaf(slotVersion),
		"id":      leaf(slotID),
		"method":  leaf(slotMethod),
		"params":  paramsNode,
		"result":  result,
		"error":   leaf(slotError),
	})
}
