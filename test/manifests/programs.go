package manifests

import (
	"fmt"
	"net"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/mcpermit/mcpermit/cmd/config"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// program is a container with the configuration that it starts with.
type program struct {
	deployment *appsv1.Deployment
	container  *corev1.Container
	config     *config.Config
}

// newProgram finds the container that runs it and loads its mcpermit.yaml, as the
// program would: with the container's environment, from the mounted ConfigMap.
func newProgram(c *cluster, deployment, name string) (*program, error) {
	d, err := named[*appsv1.Deployment](c, deployment)
	if err != nil {
		return nil, err
	}
	k, err := container(d, name)
	if err != nil {
		return nil, err
	}
	p := &program{deployment: d, container: k}
	i := slices.Index(k.Command, "-c")
	if i < 0 || i+1 == len(k.Command) {
		return nil, fmt.Errorf("%s/%s: names no configuration file", d.Name, k.Name)
	}
	m := p.mount(k.Command[i+1])
	if m == nil {
		return nil, fmt.Errorf("%s/%s: nothing is mounted at %s", d.Name, k.Name, k.Command[i+1])
	}
	source := p.volume(m.Name).ConfigMap
	if source == nil {
		return nil, fmt.Errorf("%s/%s: its configuration is no ConfigMap's", d.Name, k.Name)
	}
	data, err := named[*corev1.ConfigMap](c, source.Name)
	if err != nil {
		return nil, err
	}
	if p.config, err = load(data.Data[m.SubPath], k.Env); err != nil {
		return nil, fmt.Errorf("%s/%s: %w", d.Name, k.Name, err)
	}
	return p, nil
}

func load(text string, env []corev1.EnvVar) (*config.Config, error) {
	dir, err := os.MkdirTemp("", "mcpermit")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	for _, e := range env {
		if err := os.Setenv(e.Name, "from the container"); err != nil {
			return nil, err
		}
		defer os.Unsetenv(e.Name)
	}
	file := filepath.Join(dir, "mcpermit.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	return config.Load(file)
}

// mount is what is mounted at a path, or holds it.
func (p *program) mount(file string) *corev1.VolumeMount {
	for _, m := range p.container.VolumeMounts {
		if file == m.MountPath || strings.HasPrefix(file, m.MountPath+"/") {
			return &m
		}
	}
	return nil
}

func (p *program) volume(name string) corev1.Volume {
	for _, v := range p.deployment.Spec.Template.Spec.Volumes {
		if v.Name == name {
			return v
		}
	}
	return corev1.Volume{}
}

// listens wants an address of the configuration to be a port of the container.
func (p *program) listens(f *faults, key, address, name string) {
	_, number, err := net.SplitHostPort(address)
	if err != nil {
		f.add("%s: %s: %w", p.deployment.Name, key, err)
		return
	}
	for _, c := range p.container.Ports {
		if c.Name == name {
			f.unless(strconv.Itoa(int(c.ContainerPort)) == number, "%s: %s is port %s, and the container's %s is %d", p.deployment.Name, key, number, name, c.ContainerPort)
			return
		}
	}
	f.add("%s: no port is named %s", p.deployment.Name, name)
}

// holds wants files of a TLS setting to come from a Secret, under the names that
// Secrets of that type have.
func (p *program) holds(f *faults, key string, t config.TLS) {
	for file, want := range map[string]string{t.Cert: "tls.crt", t.Key: "tls.key", t.CA: "ca.crt"} {
		m := p.mount(file)
		f.unless(m != nil && p.volume(m.Name).Secret != nil, "%s: %s: %q is in no Secret", p.deployment.Name, key, file)
		f.unless(path.Base(file) == want, "%s: %s: %q, but the Secret has %s", p.deployment.Name, key, file, want)
	}
}

// checkPrograms compares the configurations with the pods around them and with
// each other.
func checkPrograms(c *cluster, enforcement ...string) error {
	pdp, err := newProgram(c, "mcpermit-pdp", "mcpermit")
	if err != nil {
		return err
	}
	var f faults
	pdp.listens(&f, "pdp.address", pdp.config.PDP.Address, "grpc-decisions")
	pdp.listens(&f, "admin", pdp.config.Admin, "admin")
	pdp.holds(&f, "pdp.tls", pdp.config.PDP.TLS)
	for key, file := range map[string]string{"state": pdp.config.State.Dir, "policy.public_key": pdp.config.Policy.PublicKey} {
		f.unless(pdp.mount(file) != nil, "mcpermit-pdp: %s: nothing is mounted at %q", key, file)
	}
	f.unless(pdp.config.Policy.PublicKey != "", "mcpermit-pdp: any policy bundle comes into force")
	for _, client := range pdp.config.PDP.Clients {
		f.unless(slices.Equal(client.Services, []string{"DecisionService"}), "mcpermit-pdp: %s may do more than ask: %q", client.Name, client.Services)
	}
	f.unless(len(pdp.config.PDP.Clients) > 0, "mcpermit-pdp: every certificate may ask")
	for _, name := range enforcement {
		pep, err := newProgram(c, name, "mcpermit-pep")
		if err != nil {
			return err
		}
		checkEnforcement(&f, c, pdp, pep)
	}
	return f.err()
}

func checkEnforcement(f *faults, c *cluster, pdp, pep *program) {
	at := pep.deployment.Name
	pep.holds(f, "pdp.tls", pep.config.PDP.TLS)
	admin := "admin"
	host, _, err := net.SplitHostPort(pep.config.Envoy.Listen)
	f.unless(err == nil, "%s: envoy.listen: %v", at, err)
	if net.ParseIP(host).IsLoopback() {
		admin = "mcpermit-admin" // beside an Envoy, with ports of its own
	} else {
		pep.listens(f, "envoy.listen", pep.config.Envoy.Listen, "grpc-envoy")
		pep.holds(f, "envoy.tls", pep.config.Envoy.TLS)
		f.unless(pep.config.Envoy.TLS != pep.config.PDP.TLS, "%s: who signs the PDP could be an Envoy", at)
	}
	pep.listens(f, "admin", pep.config.Admin, admin)

	service, err := named[*corev1.Service](c, pdp.deployment.Name)
	f.unless(err == nil, "%v", err)
	if err == nil {
		want := net.JoinHostPort(service.Name+"."+service.Namespace+".svc", strconv.Itoa(int(service.Spec.Ports[0].Port)))
		f.unless(pep.config.PDP.Address == want, "%s: pdp.address is %s, want %s", at, pep.config.PDP.Address, want)
	}
	f.unless(slices.Equal(pep.config.ServerNames(), pdp.config.ServerNames()), "%s: has servers %q, and the PDP %q", at, pep.config.ServerNames(), pdp.config.ServerNames())
	for name, s := range pep.config.Servers {
		f.unless(s.URL == pdp.config.Servers[name].URL, "%s: servers.%s: %s, and the PDP has %s", at, name, s.URL, pdp.config.Servers[name].URL)
		f.unless(len(s.Headers) == 0, "%s: servers.%s: an enforcement point holds no credentials", at, name)
	}
	f.unless(slices.Contains(pep.config.Hosts, clientHost), "%s: clients' %s is refused: %q", at, clientHost, pep.config.Hosts)
}

// clientHost is the name that clients use in all examples.
const clientHost = "mcp.example.com"
