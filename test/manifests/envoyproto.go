package manifests

import (
	"errors"
	"fmt"

	authzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"github.com/mcpermit/mcpermit/pep/envoy/bootstrap"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// envoys reads a message of Envoy's, strictly, and everything packed in it.
func envoys[M proto.Message](text []byte, into M) (M, error) {
	return into, protojson.Unmarshal(text, into)
}

// sound holds a message, and all below it, against the rules of Envoy's proto files.
func sound(m proto.Message) error {
	var failed []error
	walk(m, func(m proto.Message) {
		if m, ok := m.(interface{ ValidateAll() error }); ok {
			if err := m.ValidateAll(); err != nil {
				failed = append(failed, err)
			}
		}
	})
	return errors.Join(failed...)
}

// walk visits a message and all below it, packed ones too.
func walk(m proto.Message, visit func(proto.Message)) {
	visit(m)
	if packed, ok := m.(*anypb.Any); ok {
		if inner, err := packed.UnmarshalNew(); err == nil {
			walk(inner, visit)
		}
		return
	}
	m.ProtoReflect().Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.IsMap() && fd.MapValue().Message() != nil:
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				walk(v.Message().Interface(), visit)
				return true
			})
		case fd.IsList() && fd.Message() != nil:
			for i := range v.List().Len() {
				walk(v.List().Get(i).Message().Interface(), visit)
			}
		case !fd.IsMap() && !fd.IsList() && fd.Message() != nil:
			walk(v.Message().Interface(), visit)
		}
		return true
	})
}

// unpack is what a filter's or an access log's typed_config holds.
func unpack[M proto.Message](packed *anypb.Any, into M) (M, error) {
	return into, packed.UnmarshalTo(into)
}

// generated is the connection manager that `mcpermit-pep envoy config` prints.
func generated() (*hcmv3.HttpConnectionManager, error) {
	b, err := bootstrap.New(bootstrap.Options{Servers: []bootstrap.Server{{Name: "payments", URL: "http://payments/mcp"}}})
	if err != nil {
		return nil, err
	}
	chain := b.GetStaticResources().GetListeners()[0].GetFilterChains()[0]
	return unpack(chain.GetFilters()[0].GetTypedConfig(), new(hcmv3.HttpConnectionManager))
}

// generatedFilter is one of its filters.
func generatedFilter(name string) (*hcmv3.HttpFilter, error) {
	m, err := generated()
	if err != nil {
		return nil, err
	}
	for _, f := range m.GetHttpFilters() {
		if f.GetName() == name {
			return f, nil
		}
	}
	return nil, fmt.Errorf("there is no filter %s", name)
}

// answersFilter is the name of the filter that reads answers.
const answersFilter = "mcpermit.answers"

// generatedAuthz is what Envoy asks with.
func generatedAuthz() (*authzv3.ExtAuthz, error) {
	f, err := generatedFilter(bootstrap.MetadataNamespace)
	if err != nil {
		return nil, err
	}
	return unpack(f.GetTypedConfig(), new(authzv3.ExtAuthz))
}

// alike compares two messages, less where their gRPC services are: each mesh
// names clusters in its own way. The deadlines of these calls count.
func alike(a, b proto.Message) error {
	a, b = placeless(a), placeless(b)
	if !proto.Equal(a, b) {
		return fmt.Errorf("differs from what `mcpermit-pep envoy config` prints:\n got %s\nwant %s", protojson.Format(a), protojson.Format(b))
	}
	return nil
}
