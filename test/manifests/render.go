package manifests

import (
	"os"
	"path/filepath"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// deploy is where the manifests are, from this package's directory.
const deploy = "../../deploy"

// render is what `kubectl apply -k` would send of these directories, one after
// the other.
func render(dirs ...string) (string, error) {
	text := ""
	for _, dir := range dirs {
		resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).
			Run(filesys.MakeFsOnDisk(), filepath.Join(deploy, filepath.FromSlash(dir)))
		if err != nil {
			return "", err
		}
		docs, err := resources.AsYaml()
		if err != nil {
			return "", err
		}
		text += "---\n" + string(docs)
	}
	return text, nil
}

// read is a file that is no part of a kustomization.
func read(path string) (string, error) {
	text, err := os.ReadFile(filepath.Join(deploy, filepath.FromSlash(path)))
	return string(text), err
}
