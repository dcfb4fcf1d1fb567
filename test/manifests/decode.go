package manifests

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"

	gatewayv1alpha1 "github.com/envoyproxy/gateway/api/v1alpha1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	istionetworkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	istionetworkingv1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"
	istiosecurityv1 "istio.io/client-go/pkg/apis/security/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
	kjson "sigs.k8s.io/json"
	syaml "sigs.k8s.io/yaml"
)

// kinds are the types that a manifest may have.
var kinds = map[string]func() metav1.Object{
	"v1/ConfigMap":             func() metav1.Object { return &corev1.ConfigMap{} },
	"v1/Namespace":             func() metav1.Object { return &corev1.Namespace{} },
	"v1/PersistentVolumeClaim": func() metav1.Object { return &corev1.PersistentVolumeClaim{} },
	"v1/Service":               func() metav1.Object { return &corev1.Service{} },
	"v1/ServiceAccount":        func() metav1.Object { return &corev1.ServiceAccount{} },

	"apps/v1/Deployment":                 func() metav1.Object { return &appsv1.Deployment{} },
	"networking.k8s.io/v1/NetworkPolicy": func() metav1.Object { return &networkingv1.NetworkPolicy{} },
	"policy/v1/PodDisruptionBudget":      func() metav1.Object { return &policyv1.PodDisruptionBudget{} },

	"networking.istio.io/v1/Gateway":                      func() metav1.Object { return &istionetworkingv1.Gateway{} },
	"networking.istio.io/v1/VirtualService":               func() metav1.Object { return &istionetworkingv1.VirtualService{} },
	"networking.istio.io/v1/ServiceEntry":                 func() metav1.Object { return &istionetworkingv1.ServiceEntry{} },
	"networking.istio.io/v1/DestinationRule":              func() metav1.Object { return &istionetworkingv1.DestinationRule{} },
	"networking.istio.io/v1alpha3/EnvoyFilter":            func() metav1.Object { return &istionetworkingv1alpha3.EnvoyFilter{} },
	"security.istio.io/v1/AuthorizationPolicy":            func() metav1.Object { return &istiosecurityv1.AuthorizationPolicy{} },
	"security.istio.io/v1/PeerAuthentication":             func() metav1.Object { return &istiosecurityv1.PeerAuthentication{} },
	"gateway.networking.k8s.io/v1/GatewayClass":           func() metav1.Object { return &gwapiv1.GatewayClass{} },
	"gateway.networking.k8s.io/v1/Gateway":                func() metav1.Object { return &gwapiv1.Gateway{} },
	"gateway.networking.k8s.io/v1/HTTPRoute":              func() metav1.Object { return &gwapiv1.HTTPRoute{} },
	"gateway.envoyproxy.io/v1alpha1/EnvoyProxy":           func() metav1.Object { return &gatewayv1alpha1.EnvoyProxy{} },
	"gateway.envoyproxy.io/v1alpha1/Backend":              func() metav1.Object { return &gatewayv1alpha1.Backend{} },
	"gateway.envoyproxy.io/v1alpha1/ClientTrafficPolicy":  func() metav1.Object { return &gatewayv1alpha1.ClientTrafficPolicy{} },
	"gateway.envoyproxy.io/v1alpha1/BackendTrafficPolicy": func() metav1.Object { return &gatewayv1alpha1.BackendTrafficPolicy{} },
	"gateway.envoyproxy.io/v1alpha1/SecurityPolicy":       func() metav1.Object { return &gatewayv1alpha1.SecurityPolicy{} },
	"gateway.envoyproxy.io/v1alpha1/EnvoyExtensionPolicy": func() metav1.Object { return &gatewayv1alpha1.EnvoyExtensionPolicy{} },
	"gateway.envoyproxy.io/v1alpha1/EnvoyPatchPolicy":     func() metav1.Object { return &gatewayv1alpha1.EnvoyPatchPolicy{} },
}

// cluster are the decoded documents.
type cluster struct{ objects []metav1.Object }

// of are the cluster's objects of one type.
func of[T metav1.Object](c *cluster) []T {
	var out []T
	for _, o := range c.objects {
		if o, ok := o.(T); ok {
			out = append(out, o)
		}
	}
	return out
}

// named is the one object of a type with this name.
func named[T metav1.Object](c *cluster, name string) (found T, err error) {
	for _, o := range of[T](c) {
		if o.GetName() == name {
			return o, nil
		}
	}
	return found, fmt.Errorf("there is no %s %s", reflect.TypeFor[T]().Elem().Name(), name)
}

// decode reads all documents. Each error names the document that it is in.
func decode(text string) (*cluster, error) {
	c, failed := &cluster{}, []error(nil)
	seen := map[string]bool{}
	for docs := yaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text))); ; {
		doc, err := docs.Read()
		if errors.Is(err, io.EOF) {
			return c, errors.Join(failed...)
		}
		if err != nil {
			return nil, err
		}
		if strings.TrimSpace(strings.TrimPrefix(string(doc), "---")) == "" {
			continue
		}
		o, id, err := decodeOne(doc)
		if err == nil && seen[id] {
			err = errors.New("is there twice")
		}
		if seen[id] = true; err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", id, err))
			continue
		}
		c.objects = append(c.objects, o)
	}
}

func decodeOne(doc []byte) (metav1.Object, string, error) {
	text, err := syaml.YAMLToJSONStrict(doc)
	if err != nil {
		return nil, "?", err
	}
	var head metav1.PartialObjectMetadata
	if err := kjson.UnmarshalCaseSensitivePreserveInts(text, &head); err != nil {
		return nil, "?", err
	}
	id := strings.TrimSpace(head.Kind + " " + strings.TrimPrefix(head.Namespace+"/"+head.Name, "/"))
	empty, known := kinds[head.APIVersion+"/"+head.Kind]
	if !known {
		return nil, id, fmt.Errorf("%s/%s is none of the kinds that are checked here", head.APIVersion, head.Kind)
	}
	o := empty()
	if err := strictly(text, o); err != nil {
		return nil, id, err
	}
	return o, id, schemas.check(head.APIVersion, head.Kind, text)
}

// strictly decodes as a server does that is asked to refuse unknown fields.
// Istio's specs are messages that read themselves, and leniently; they are read
// as what they are.
func strictly(text []byte, into metav1.Object) error {
	field := reflect.ValueOf(into).Elem().FieldByName("Spec")
	if !field.IsValid() {
		return unmarshalStrict(text, into)
	}
	spec, ok := field.Addr().Interface().(proto.Message)
	if !ok {
		return unmarshalStrict(text, into)
	}
	var parts struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata"`
		Spec              json.RawMessage `json:"spec"`
	}
	if err := unmarshalStrict(text, &parts); err != nil {
		return err
	}
	if err := protojson.Unmarshal(parts.Spec, spec); err != nil {
		return err
	}
	reflect.ValueOf(into).Elem().FieldByName("ObjectMeta").Set(reflect.ValueOf(parts.ObjectMeta))
	return nil
}

func unmarshalStrict(text []byte, into any) error {
	strict, err := kjson.UnmarshalStrict(text, into)
	return errors.Join(append(strict, err)...)
}
