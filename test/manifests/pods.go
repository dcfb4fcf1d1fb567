package manifests

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// faults collects what is wrong.
type faults struct{ all []error }

func (f *faults) add(format string, a ...any) { f.all = append(f.all, fmt.Errorf(format, a...)) }

func (f *faults) unless(ok bool, format string, a ...any) {
	if !ok {
		f.add(format, a...)
	}
}

func (f *faults) err() error { return errors.Join(f.all...) }

// injected is the container whose image and probes Istio's injector brings.
const injected = "istio-proxy"

// containers are all of a pod that keep running.
func containers(pod *corev1.PodSpec) []corev1.Container {
	return slices.Concat(pod.InitContainers, pod.Containers)
}

// container is the one that runs this program.
func container(d *appsv1.Deployment, program string) (*corev1.Container, error) {
	for _, c := range containers(&d.Spec.Template.Spec) {
		if len(c.Command) > 0 && c.Command[0] == program {
			return &c, nil
		}
	}
	return nil, fmt.Errorf("deployment %s runs no %s", d.Name, program)
}

// port finds a container's port by the name or number in a service, probe or
// policy.
func port(pod *corev1.PodSpec, want intstr.IntOrString) (int32, bool) {
	for _, c := range containers(pod) {
		for _, p := range c.Ports {
			if want.Type == intstr.String && p.Name == want.StrVal || want.Type == intstr.Int && p.ContainerPort == want.IntVal {
				return p.ContainerPort, true
			}
		}
	}
	return 0, false
}

// checkPods holds each Deployment's pods against what a cautious cluster wants of
// them, and what the programs want of their pods.
func checkPods(c *cluster, secrets []string) error {
	var f faults
	for _, d := range of[*appsv1.Deployment](c) {
		pod := &d.Spec.Template.Spec
		f.unless(pod.ServiceAccountName != "", "%s: runs as the namespace's default account", d.Name)
		f.unless(pod.SecurityContext != nil && pod.SecurityContext.SeccompProfile != nil, "%s: no seccomp profile", d.Name)
		f.unless(pod.TerminationGracePeriodSeconds != nil && *pod.TerminationGracePeriodSeconds > 30, "%s: is killed before it has drained", d.Name)
		names := map[string]bool{}
		for _, k := range containers(pod) {
			checkLocked(&f, d.Name, pod, &k)
			checkMounts(&f, d.Name, pod, &k)
			for _, p := range k.Ports {
				f.unless(!names[p.Name], "%s: two ports are named %s", d.Name, p.Name)
				names[p.Name] = true
			}
			if k.Name != injected {
				checkProbes(&f, d.Name, &k)
				f.unless(k.Resources.Requests.Cpu().Sign() > 0 && k.Resources.Limits.Memory().Sign() > 0, "%s/%s: no CPU request or no memory limit", d.Name, k.Name)
				f.unless(strings.HasPrefix(k.Image, "mcpermit:"), "%s/%s: image %q is not what the kustomization sets", d.Name, k.Name, k.Image)
			}
		}
		checkSources(&f, c, d, secrets)
	}
	return f.err()
}

// checkLocked wants nothing that the programs can do without.
func checkLocked(f *faults, at string, pod *corev1.PodSpec, k *corev1.Container) {
	s := k.SecurityContext
	if s == nil {
		f.add("%s/%s: no securityContext", at, k.Name)
		return
	}
	is := func(v *bool, want bool) bool { return v != nil && *v == want }
	nobody := is(s.RunAsNonRoot, true) || pod.SecurityContext != nil && is(pod.SecurityContext.RunAsNonRoot, true)
	f.unless(nobody, "%s/%s: may be root", at, k.Name)
	f.unless(is(s.AllowPrivilegeEscalation, false), "%s/%s: privileges may grow", at, k.Name)
	f.unless(is(s.ReadOnlyRootFilesystem, true), "%s/%s: the root filesystem is writable", at, k.Name)
	f.unless(s.Capabilities != nil && slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) && s.Capabilities.Add == nil,
		"%s/%s: capabilities are kept", at, k.Name)
	f.unless(s.Privileged == nil || !*s.Privileged, "%s/%s: privileged", at, k.Name)
}

// checkProbes knows what the programs' admin port serves.
func checkProbes(f *faults, at string, k *corev1.Container) {
	for _, p := range []struct {
		name, path string
		probe      *corev1.Probe
	}{
		{"startupProbe", "/healthz", k.StartupProbe},
		{"livenessProbe", "/healthz", k.LivenessProbe},
		{"readinessProbe", "/readyz", k.ReadinessProbe},
	} {
		if p.probe == nil || p.probe.HTTPGet == nil {
			f.add("%s/%s: no %s", at, k.Name, p.name)
			continue
		}
		get := p.probe.HTTPGet
		f.unless(get.Path == p.path, "%s/%s: the %s asks %s, want %s", at, k.Name, p.name, get.Path, p.path)
		own := slices.ContainsFunc(k.Ports, func(c corev1.ContainerPort) bool { return c.Name == get.Port.StrVal })
		f.unless(own, "%s/%s: the %s asks port %s, which the container has not", at, k.Name, p.name, get.Port.String())
	}
}

func checkMounts(f *faults, at string, pod *corev1.PodSpec, k *corev1.Container) {
	for _, m := range k.VolumeMounts {
		there := slices.ContainsFunc(pod.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name })
		f.unless(there, "%s/%s: mounts %s, which is no volume", at, k.Name, m.Name)
	}
}

// checkSources wants what pods take their files and secrets from to be among the
// manifests, or among what these say has to be there.
func checkSources(f *faults, c *cluster, d *appsv1.Deployment, there []string) {
	has := func(name string) bool {
		if slices.Contains(there, name) {
			return true
		}
		for _, m := range of[*corev1.ConfigMap](c) {
			if m.Name == name && m.Namespace == d.Namespace {
				return true
			}
		}
		for _, v := range of[*corev1.PersistentVolumeClaim](c) {
			if v.Name == name && v.Namespace == d.Namespace {
				return true
			}
		}
		return false
	}
	for _, v := range d.Spec.Template.Spec.Volumes {
		switch {
		case v.Secret != nil:
			f.unless(has(v.Secret.SecretName), "%s: nobody said that Secret %s is needed", d.Name, v.Secret.SecretName)
		case v.ConfigMap != nil:
			f.unless(has(v.ConfigMap.Name), "%s: there is no ConfigMap %s", d.Name, v.ConfigMap.Name)
		case v.PersistentVolumeClaim != nil:
			f.unless(has(v.PersistentVolumeClaim.ClaimName), "%s: there is no claim %s", d.Name, v.PersistentVolumeClaim.ClaimName)
		}
	}
	for _, k := range containers(&d.Spec.Template.Spec) {
		for _, e := range k.Env {
			if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
				f.unless(has(e.ValueFrom.SecretKeyRef.Name), "%s: nobody said that Secret %s is needed", d.Name, e.ValueFrom.SecretKeyRef.Name)
			}
		}
	}
}
