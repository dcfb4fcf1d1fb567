package manifests

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// placeless is a copy of a message without the clusters that it calls, and with
// what is packed in it packed in one way.
func placeless(m proto.Message) proto.Message {
	m = proto.Clone(m)
	forget(m.ProtoReflect())
	return m
}

func forget(m protoreflect.Message) {
	switch v := m.Interface().(type) {
	case *corev3.GrpcService_EnvoyGrpc:
		v.ClusterName, v.Authority = "", ""
		return
	case *anypb.Any:
		if inner, err := v.UnmarshalNew(); err == nil {
			forget(inner.ProtoReflect())
			_ = anypb.MarshalFrom(v, inner, proto.MarshalOptions{Deterministic: true}) // it was one a moment ago
		}
		return
	}
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.IsMap() && fd.MapValue().Message() != nil:
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				forget(v.Message())
				return true
			})
		case fd.IsList() && fd.Message() != nil:
			for i := range v.List().Len() {
				forget(v.List().Get(i).Message())
			}
		case !fd.IsMap() && !fd.IsList() && fd.Message() != nil:
			forget(v.Message())
		}
		return true
	})
}

// subset clears in want what got does not set, so that what it does can be compared.
func subset(got, want protoreflect.Message) {
	want.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if !got.Has(fd) {
			want.Clear(fd)
		}
		return true
	})
}

// walkClusters calls f with each cluster that a message has Envoy call.
func walkClusters(m proto.Message, f func(cluster string)) {
	walk(m, func(m proto.Message) {
		if g, ok := m.(*corev3.GrpcService_EnvoyGrpc); ok {
			f(g.GetClusterName())
		}
	})
}
