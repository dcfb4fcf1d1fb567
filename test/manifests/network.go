package manifests

import (
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// selected are the Deployments of a namespace whose pods have these labels.
func selected(c *cluster, namespace string, by labels.Selector) []*appsv1.Deployment {
	return slices.DeleteFunc(of[*appsv1.Deployment](c), func(d *appsv1.Deployment) bool {
		return d.Namespace != namespace || !by.Matches(labels.Set(d.Spec.Template.Labels))
	})
}

// checkSelectors wants each selector to select something, and each port to be one
// of what is selected.
func checkSelectors(c *cluster) error {
	var f faults
	pods := func(what, namespace string, s *metav1.LabelSelector) []*appsv1.Deployment {
		by, err := metav1.LabelSelectorAsSelector(s)
		if err != nil || by.Empty() {
			f.add("%s: bad selector: %v", what, err)
			return nil
		}
		found := selected(c, namespace, by)
		f.unless(len(found) > 0, "%s: selects no pods of %s", what, namespace)
		return found
	}
	for _, d := range of[*appsv1.Deployment](c) {
		by, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
		f.unless(err == nil && by.Matches(labels.Set(d.Spec.Template.Labels)), "deployment %s: does not select its own pods", d.Name)
	}
	for _, b := range of[*policyv1.PodDisruptionBudget](c) {
		pods("budget "+b.Name, b.Namespace, b.Spec.Selector)
	}
	for _, s := range of[*corev1.Service](c) {
		for _, d := range pods("service "+s.Name, s.Namespace, &metav1.LabelSelector{MatchLabels: s.Spec.Selector}) {
			for _, p := range s.Spec.Ports {
				f.unless(p.TargetPort.Type == intstr.String && p.Name == p.TargetPort.StrVal, "service %s: port %d leads to %s, not to a port by its own name %s", s.Name, p.Port, p.TargetPort.String(), p.Name)
				number, ok := port(&d.Spec.Template.Spec, p.TargetPort)
				f.unless(ok && number == p.Port, "service %s: port %d is not port %s of deployment %s", s.Name, p.Port, p.TargetPort.String(), d.Name)
			}
		}
	}
	return f.err()
}

// peers says of the pods behind a port who may reach them, in words that tests
// compare: NAMESPACE{labels}/POD{labels}, "*" for anybody.
func peers(c *cluster, d *appsv1.Deployment, name string) ([]string, error) {
	var out []string
	closed := false
	for _, p := range of[*networkingv1.NetworkPolicy](c) {
		by, err := metav1.LabelSelectorAsSelector(&p.Spec.PodSelector)
		if err != nil {
			return nil, err
		}
		if p.Namespace != d.Namespace || !by.Matches(labels.Set(d.Spec.Template.Labels)) || !slices.Contains(p.Spec.PolicyTypes, networkingv1.PolicyTypeIngress) {
			continue
		}
		closed = true
		for _, rule := range p.Spec.Ingress {
			if applies(rule.Ports, name) {
				out = append(out, from(rule.From)...)
			}
		}
	}
	if !closed {
		return []string{"*"}, nil
	}
	slices.Sort(out)
	return out, nil
}

func applies(ports []networkingv1.NetworkPolicyPort, name string) bool {
	return len(ports) == 0 || slices.ContainsFunc(ports, func(p networkingv1.NetworkPolicyPort) bool { return p.Port == nil || p.Port.StrVal == name })
}

func from(all []networkingv1.NetworkPolicyPeer) []string {
	if len(all) == 0 {
		return []string{"*"}
	}
	var out []string
	for _, p := range all {
		if p.IPBlock != nil {
			out = append(out, p.IPBlock.CIDR)
			continue
		}
		out = append(out, fmt.Sprintf("%s/%s", text(p.NamespaceSelector, "here"), text(p.PodSelector, "all")))
	}
	return out
}

func text(s *metav1.LabelSelector, absent string) string {
	if s == nil {
		return absent
	}
	return metav1.FormatLabelSelector(s)
}

// checkNetwork: only enforcement points reach the decision point, only Envoys
// the enforcement points, only monitoring what is for operators.
func checkNetwork(c *cluster) error {
	const (
		own        = "here/app.kubernetes.io/component=pep,app.kubernetes.io/name=mcpermit"
		sidecars   = "mcpermit-envoys=true/mcpermit-pep=sidecar"
		envoys     = "mcpermit-envoys=true/mcpermit-envoy=true"
		monitoring = "kubernetes.io/metadata.name=monitoring/all"
	)
	var f faults
	for _, want := range []struct {
		deployment, port string
		peers            []string
	}{
		{"mcpermit-pdp", "grpc-decisions", []string{own, sidecars}},
		{"mcpermit-pdp", "admin", []string{monitoring}},
		{"mcpermit-pdp", "any other", nil},
		{"mcpermit-pep", "grpc-envoy", []string{envoys}},
		{"mcpermit-pep", "admin", []string{monitoring}},
		{"mcpermit-pep", "any other", nil},
	} {
		d, err := named[*appsv1.Deployment](c, want.deployment)
		if err != nil {
			return err
		}
		got, err := peers(c, d, want.port)
		f.unless(err == nil && slices.Equal(got, want.peers), "port %s of %s can be reached by %q, want %q: %v", want.port, want.deployment, got, want.peers, err)
	}
	for _, p := range of[*networkingv1.NetworkPolicy](c) {
		checkPolicyPorts(&f, c, p)
	}
	return f.err()
}

// checkPolicyPorts wants the ports that a policy opens by name to be the pods'.
func checkPolicyPorts(f *faults, c *cluster, p *networkingv1.NetworkPolicy) {
	by, err := metav1.LabelSelectorAsSelector(&p.Spec.PodSelector)
	if err != nil {
		f.add("policy %s: %w", p.Name, err)
		return
	}
	for _, d := range selected(c, p.Namespace, by) {
		for _, rule := range p.Spec.Ingress {
			for _, open := range rule.Ports {
				_, ok := port(&d.Spec.Template.Spec, *open.Port)
				f.unless(ok, "policy %s: opens port %s, which %s has not", p.Name, open.Port.String(), d.Name)
			}
		}
	}
}

// checkAvailability: one decision point over its volume, and enforcement points
// to which an Envoy can keep.
func checkAvailability(c *cluster) error {
	pdp, err := named[*appsv1.Deployment](c, "mcpermit-pdp")
	if err != nil {
		return err
	}
	pep, err := named[*appsv1.Deployment](c, "mcpermit-pep")
	if err != nil {
		return err
	}
	service, err := named[*corev1.Service](c, "mcpermit-pep")
	if err != nil {
		return err
	}
	var f faults
	f.unless(*pdp.Spec.Replicas == 1 && pdp.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType,
		"mcpermit-pdp: two processes may open the store: %d replicas, %s", *pdp.Spec.Replicas, pdp.Spec.Strategy.Type)
	f.unless(*pep.Spec.Replicas >= 2, "mcpermit-pep: one replica is none while it restarts")
	f.unless(service.Spec.SessionAffinity == corev1.ServiceAffinityClientIP && service.Spec.ClusterIP != corev1.ClusterIPNone,
		"service mcpermit-pep: an Envoy's questions and answers may reach different replicas")
	for _, d := range of[*appsv1.Deployment](c) {
		f.unless(slices.ContainsFunc(of[*policyv1.PodDisruptionBudget](c), func(b *policyv1.PodDisruptionBudget) bool {
			by, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
			return err == nil && b.Namespace == d.Namespace && by.Matches(labels.Set(d.Spec.Template.Labels))
		}), "%s: has no disruption budget", d.Name)
	}
	return f.err()
}
