package bootstrap

import (
	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	actionv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/matcher/action/v3"
	inputsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/network/v3"
	metadatav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/input_matchers/metadata/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
)

type (
	predicate     = xdsmatcherv3.Matcher_MatcherList_Predicate
	predicateList = xdsmatcherv3.Matcher_MatcherList_Predicate_PredicateList
	single        = xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate
)

// unreadAnswers skips the filter for what no server has answered, and for
// ordinary answers: the enforcement point did not ask for it, and the answer is
// one JSON document, or an acknowledgement. Whatever else comes is read: event streams, where a server
// may send more than the answer, and errors, of which the client is to see what
// the standalone proxy would show.
func unreadAnswers(p *packer) *xdsmatcherv3.Matcher {
	return &xdsmatcherv3.Matcher{MatcherType: &xdsmatcherv3.Matcher_MatcherList_{
		MatcherList: &xdsmatcherv3.Matcher_MatcherList{Matchers: []*xdsmatcherv3.Matcher_MatcherList_FieldMatcher{{
			Predicate: anyOf(
				not(isTrue(p, ForwardedKey)),
				allOf(
					not(isTrue(p, ReadAnswerKey)),
					anyOf(allOf(status(p, "200"), contentType(p, oneDocument)), status(p, "202")),
				),
			),
			OnMatch: &xdsmatcherv3.Matcher_OnMatch{OnMatch: &xdsmatcherv3.Matcher_OnMatch_Action{
				Action: &xdscorev3.TypedExtensionConfig{Name: "skip", TypedConfig: p.pack(&actionv3.SkipFilter{})},
			}},
		}}},
	}}
}

func allOf(of ...*predicate) *predicate {
	return &predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_AndMatcher{AndMatcher: &predicateList{Predicate: of}}}
}

func anyOf(of ...*predicate) *predicate {
	return &predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_OrMatcher{OrMatcher: &predicateList{Predicate: of}}}
}

func not(of *predicate) *predicate {
	return &predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_NotMatcher{NotMatcher: of}}
}

// isTrue holds where the metadata that the decision left has just true.
func isTrue(p *packer, key string) *predicate {
	return where(&single{
		Input: input(p, "metadata", &inputsv3.DynamicMetadataInput{
			Filter: MetadataNamespace,
			Path: []*inputsv3.DynamicMetadataInput_PathSegment{{
				Segment: &inputsv3.DynamicMetadataInput_PathSegment_Key{Key: key},
			}},
		}),
		Matcher: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_CustomMatch{
			CustomMatch: input(p, "is_true", &metadatav3.Metadata{Value: &matcherv3.ValueMatcher{
				MatchPattern: &matcherv3.ValueMatcher_BoolMatch{BoolMatch: true},
			}}),
		},
	})
}

// status holds for answers with exactly this status.
func status(p *packer, code string) *predicate {
	return where(&single{
		Input:   input(p, "status", &matcherv3.HttpResponseStatusCodeMatchInput{}),
		Matcher: text(&xdsmatcherv3.StringMatcher{MatchPattern: &xdsmatcherv3.StringMatcher_Exact{Exact: code}}),
	})
}

// oneDocument is the one Content-Type of a JSON document. With a comma in it some
// clients would see two types, and take the answer for a stream.
const oneDocument = `(?i)application/json\s*(;[^,]*)?`

// contentType holds for answers whose whole Content-Type matches.
func contentType(p *packer, pattern string) *predicate {
	return where(&single{
		Input: input(p, "content_type", &matcherv3.HttpResponseHeaderMatchInput{HeaderName: "content-type"}),
		Matcher: text(&xdsmatcherv3.StringMatcher{MatchPattern: &xdsmatcherv3.StringMatcher_SafeRegex{SafeRegex: &xdsmatcherv3.RegexMatcher{
			EngineType: &xdsmatcherv3.RegexMatcher_GoogleRe2{GoogleRe2: &xdsmatcherv3.RegexMatcher_GoogleRE2{}}, Regex: pattern,
		}}}),
	})
}

func where(s *single) *predicate {
	return &predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_{SinglePredicate: s}}
}

func input(p *packer, name string, config proto.Message) *xdscorev3.TypedExtensionConfig {
	return &xdscorev3.TypedExtensionConfig{Name: name, TypedConfig: p.pack(config)}
}

func text(m *xdsmatcherv3.StringMatcher) *xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_ValueMatch {
	return &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_ValueMatch{ValueMatch: m}
}
