package manifests

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	apiservercel "k8s.io/apiserver/pkg/apis/cel"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// schemas are those of the custom resources, as the modules ship them.
var schemas customResources

// customResources checks as an API server would that has these definitions.
// Kinds of Kubernetes' own are none of theirs.
type customResources struct {
	once   sync.Once
	err    error
	byKind map[string]*customResource // apiVersion/kind
}

type customResource struct {
	structural *schema.Structural
	open       validation.SchemaValidator
	rules      *cel.Validator
}

// shipped are the files with definitions, by module.
var shipped = map[string]string{
	"istio.io/api":                  "kubernetes/customresourcedefinitions.gen.yaml",
	"sigs.k8s.io/gateway-api":       "config/crd/standard/gateway.networking.k8s.io_*.yaml",
	"github.com/envoyproxy/gateway": "charts/gateway-helm/charts/crds/crds/generated/*.yaml",
}

func (c *customResources) check(apiVersion, kind string, text []byte) error {
	if c.once.Do(func() { c.err = c.load() }); c.err != nil {
		return c.err
	}
	r := c.byKind[apiVersion+"/"+kind]
	if r == nil {
		if custom := strings.Contains(apiVersion, "istio.io/") || strings.HasPrefix(apiVersion, "gateway."); custom {
			return errors.New("there is no definition of its kind")
		}
		return nil
	}
	var object map[string]any
	if err := kjson.UnmarshalCaseSensitivePreserveInts(text, &object); err != nil {
		return err
	}
	return r.check(object)
}

func (r *customResource) check(object map[string]any) error {
	var failed []error
	for _, unknown := range pruning.PruneWithOptions(object, r.structural, true, schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}) {
		failed = append(failed, fmt.Errorf("unknown field %q", unknown))
	}
	defaulting.Default(object, r.structural)
	for _, err := range validation.ValidateCustomResource(nil, object, r.open) {
		failed = append(failed, err)
	}
	if r.rules != nil && failed == nil {
		broken, _ := r.rules.Validate(context.Background(), field.NewPath(""), r.structural, object, nil, apiservercel.RuntimeCELCostBudget)
		for _, err := range broken {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

func (c *customResources) load() error {
	c.byKind = map[string]*customResource{}
	for module, pattern := range shipped {
		dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
		if err != nil {
			return fmt.Errorf("where is module %s: %w", module, err)
		}
		files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), filepath.FromSlash(pattern)))
		if err != nil || len(files) == 0 {
			return fmt.Errorf("%s has no %s: %w", module, pattern, err)
		}
		for _, file := range files {
			if err := c.add(file); err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
		}
	}
	return nil
}

func (c *customResources) add(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for _, doc := range bytes.Split(text, []byte("\n---\n")) {
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.Unmarshal(doc, &crd); err != nil {
			return err
		}
		if crd.Kind != "CustomResourceDefinition" {
			continue
		}
		for _, v := range crd.Spec.Versions {
			r, err := newCustomResource(v.Schema.OpenAPIV3Schema)
			if err != nil {
				return fmt.Errorf("%s %s: %w", crd.Name, v.Name, err)
			}
			c.byKind[crd.Spec.Group+"/"+v.Name+"/"+crd.Spec.Names.Kind] = r
		}
	}
	return nil
}

func newCustomResource(v1 *apiextensionsv1.JSONSchemaProps) (*customResource, error) {
	var props apiextensions.JSONSchemaProps
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(v1, &props, nil); err != nil {
		return nil, err
	}
	structural, err := schema.NewStructural(&props)
	if err != nil {
		return nil, err
	}
	open, _, err := validation.NewSchemaValidator(&props)
	if err != nil {
		return nil, err
	}
	return &customResource{structural: structural, open: open, rules: cel.NewValidator(structural, true, apiservercel.PerCallLimit)}, nil
}
