package manifests

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// needed are the Secrets and ConfigMaps that base/kustomization.yaml asks for.
var needed = []string{"mcpermit-pdp-server", "mcpermit-pep-client", "mcpermit-pep-server", "mcpermit-pdp", "mcpermit-policy"}

// rendered caches what directories render to.
var rendered = map[string]string{}

func manifests(t *testing.T, dirs ...string) string {
	t.Helper()
	key := strings.Join(dirs, " ")
	if _, ok := rendered[key]; !ok {
		text, err := render(dirs...)
		if err != nil {
			t.Fatal(err)
		}
		rendered[key] = text
	}
	return rendered[key]
}

func checkKubernetes(text string, enforcement ...string) error {
	c, err := decode(text)
	if err != nil {
		return err
	}
	return errors.Join(checkPods(c, needed), checkSelectors(c), checkNetwork(c), checkAvailability(c), checkPrograms(c, enforcement...))
}

// change is one way to break manifests, and what has to be said of it.
type change struct{ old, new, want string }

func (ch change) apply(t *testing.T, text string) string {
	t.Helper()
	changed := strings.Replace(text, ch.old, ch.new, 1)
	if changed == text {
		t.Fatalf("nothing reads %q", ch.old)
	}
	return changed
}

// breaks wants each change of the text to be found.
func breaks(t *testing.T, text string, check func(string) error, changes map[string]change) {
	t.Helper()
	for name, ch := range changes {
		t.Run(name, func(t *testing.T) {
			if err := check(ch.apply(t, text)); err == nil || !strings.Contains(err.Error(), ch.want) {
				t.Errorf("got %v, want %q", err, ch.want)
			}
		})
	}
}

func TestKubernetes(t *testing.T) {
	if err := checkKubernetes(manifests(t, "kubernetes/base"), "mcpermit-pep"); err != nil {
		t.Error(err)
	}
}

func TestSidecar(t *testing.T) {
	if err := checkKubernetes(manifests(t, "kubernetes/base", "istio"), "mcpermit-pep", "mcp-gateway"); err != nil {
		t.Error(err)
	}
}

func TestWhatIsNeededIsWritten(t *testing.T) {
	text, err := read("kubernetes/base/kustomization.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range needed {
		if !strings.Contains(text, "# ") || !strings.Contains(text, " "+name+" ") {
			t.Errorf("the kustomization does not say that %s is needed", name)
		}
	}
}

func TestEveryFileIsInItsKustomization(t *testing.T) {
	for _, dir := range []string{"kubernetes/base", "kubernetes/sidecar", "istio", "envoy-gateway"} {
		text, err := read(dir + "/kustomization.yaml")
		if err != nil {
			t.Fatal(err)
		}
		files, err := os.ReadDir(filepath.Join(deploy, filepath.FromSlash(dir)))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if file.Name() != "kustomization.yaml" && !strings.Contains(text, file.Name()) {
				t.Errorf("%s: nobody reads %s", dir, file.Name())
			}
		}
	}
}

func TestBrokenKubernetesIsFound(t *testing.T) {
	text := manifests(t, "kubernetes/base")
	breaks(t, text, func(text string) error { return checkKubernetes(text, "mcpermit-pep") }, map[string]change{
		"unknown field":          {"minReadySeconds: 5", "minReadySecond: 5", `unknown field "spec.minReadySecond"`},
		"field in another case":  {"minReadySeconds: 5", "MinReadySeconds: 5", "unknown field"},
		"field twice":            {"minReadySeconds: 5", "minReadySeconds: 5\n  minReadySeconds: 6", "already set in map"},
		"wrong type":             {"minReadySeconds: 5", "minReadySeconds: soon", "cannot unmarshal"},
		"unknown kind":           {"kind: PodDisruptionBudget", "kind: PodDisruption", "none of the kinds"},
		"object twice":           {"name: mcpermit-pep\n  namespace: mcpermit\n---", "name: mcpermit-pdp\n  namespace: mcpermit\n---", "is there twice"},
		"service port":           {"port: 8702\n", "port: 8703\n", "is not port grpc-envoy"},
		"target port":            {"targetPort: grpc-decisions", "targetPort: admin", "not to a port by its own name"},
		"container port":         {"containerPort: 8703", "containerPort: 8704", "pdp.address is port 8703"},
		"admin port":             {"containerPort: 8701", "containerPort: 8709", "admin is port 8701"},
		"service selector":       {"selector:\n    app.kubernetes.io/component: pdp", "selector:\n    app.kubernetes.io/component: pdq", "selects no pods"},
		"liveness asks readyz":   {"path: /healthz", "path: /readyz", "asks /readyz, want /healthz"},
		"no readiness":           {"readinessProbe:", "lifecycle: {}\n        xreadinessProbe:", "unknown field"},
		"probe of no port":       {"path: /readyz\n            port: admin", "path: /readyz\n            port: http", "which the container has not"},
		"two decision points":    {"replicas: 1", "replicas: 2", "two processes may open the store"},
		"rolling decision point": {"type: Recreate", "type: RollingUpdate", "two processes may open the store"},
		"no affinity":            {"sessionAffinity: ClientIP", "sessionAffinity: None", "may reach different replicas"},
		"headless":               {"sessionAffinity: ClientIP", "sessionAffinity: ClientIP\n  clusterIP: None", "may reach different replicas"},
		"writable root":          {"readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "root filesystem is writable"},
		"privileges":             {"allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true", "privileges may grow"},
		"no seccomp":             {"        seccompProfile:\n          type: RuntimeDefault\n", "", "no seccomp profile"},
		"root":                   {"runAsNonRoot: true", "runAsNonRoot: false", "may be root"},
		"capabilities":           {"- ALL", "- NET_RAW", "capabilities are kept"},
		"no volume":              {"name: state\n", "name: stat\n", "which is no volume"},
		"no Secret":              {"secretName: mcpermit-pep-server", "secretName: pep-server", "nobody said that Secret pep-server"},
		"anybody asks":           {"mcpermit-pep: sidecar", "app: web", "can be reached by"},
		"anybody is an Envoy":    {"mcpermit-envoy: \"true\"", "app: web", "can be reached by"},
		"admin for all":          {"kubernetes.io/metadata.name: monitoring", "any: thing", "can be reached by"},
		"policy of no port":      {"port: grpc-envoy\n      protocol", "port: grpc\n      protocol", "can be reached by"},
		"no budget":              {"minAvailable: 1\n  selector:\n    matchLabels:\n      app.kubernetes.io/component: pep", "minAvailable: 1\n  selector:\n    matchLabels:\n      app.kubernetes.io/component: pdp", "mcpermit-pep: has no disruption budget"},
		"other servers":          {`  crm: {url: "http://crm.`, `  erp: {url: "http://crm.`, "has servers"},
		"another server":         {`payments: {url: "http://payments.`, `payments: {url: "http://pay.`, "and the PDP has"},
		"credentials":            {`payments: {url:`, `payments: {headers: {A: b}, url:`, "holds no credentials"},
		"another PDP":            {"mcpermit-pdp.mcpermit.svc:8703", "mcpermit-pdp.mcpermit.svc:8704", "pdp.address is"},
		"any bundle":             {"      public_key: /etc/mcpermit/policy/key.pem", "      #", "any policy bundle"},
		"may do more":            {"services: [DecisionService]", "services: [DecisionService, GrantService]", "may do more than ask"},
		"no certificate":         {"cert: /etc/mcpermit/envoy/tls.crt", "cert: /etc/mcpermit/tls.crt", "is in no Secret"},
		"another key":            {"key: /etc/mcpermit/envoy/tls.key", "key: /etc/mcpermit/envoy/key.pem", "but the Secret has tls.key"},
		"no TLS":                 {"      tls: {cert: /etc/mcpermit/envoy", "      # {cert: /etc/mcpermit/envoy", "cert, key and ca are needed"},
		"state on the image":     {"state: /var/lib/mcpermit", "state: /var/lib/permit", "nothing is mounted"},
		"another host":           {"hosts: [mcp.example.com]", "hosts: [mcp.example.org]", "is refused"},
		"another file":           {"- /etc/mcpermit/mcpermit.yaml", "- /etc/permit/mcpermit.yaml", "nothing is mounted"},
		"configuration":          {"log: {format: json}", "logs: {format: json}", "logs"},
	})
}
