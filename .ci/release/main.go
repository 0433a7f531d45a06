// Command release writes the modules of this repository into a folder that the go command can use as a module proxy. So a release can
// be tried before it is made.
//
//	go run . FOLDER VERSION MODULE-FOLDER...
//
// The modules are those of the commit HEAD, all at one version. Their go.mod files must already require each other at that version,
// because a version cannot be changed after the release.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"
)

const root = "github.com/thumbcache/thumbcache"

func main() {
	if len(os.Args) < 4 {
		fmt.Fprintln(os.Stderr, "usage: release FOLDER VERSION MODULE-FOLDER...")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(proxy, version string, dirs []string) error {
	commit, err := os.MkdirTemp("", "thumbcache-release-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(commit)
	checkout := exec.Command("sh", "-c", `git -C "$(git rev-parse --show-toplevel)" archive HEAD | tar -x -C "$1"`, "sh", commit)
	checkout.Stderr = os.Stderr
	if err := checkout.Run(); err != nil {
		return fmt.Errorf("copying the commit: %w", err)
	}
	for _, dir := range dirs {
		if err := publish(commit, dir, proxy, version); err != nil {
			return err
		}
	}
	return nil
}

// publish writes one module, which is in the folder dir of the commit, into the proxy.
func publish(commit, dir, proxy, version string) error {
	mod, err := os.ReadFile(filepath.Join(commit, filepath.FromSlash(dir), "go.mod"))
	if err != nil {
		return err
	}
	m := module.Version{Path: path.Join(root, dir), Version: version}
	if err := check(mod, m); err != nil {
		return err
	}
	folder := filepath.Join(proxy, filepath.FromSlash(m.Path), "@v")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	info, err := json.Marshal(struct {
		Version string
		Time    time.Time
	}{version, time.Now().UTC().Truncate(time.Second)})
	if err != nil {
		return err
	}
	for name, data := range map[string][]byte{
		"list":            []byte(version + "\n"),
		version + ".info": info,
		version + ".mod":  mod,
	} {
		if err := os.WriteFile(filepath.Join(folder, name), data, 0o644); err != nil {
			return err
		}
	}
	f, err := os.Create(filepath.Join(folder, version+".zip"))
	if err != nil {
		return err
	}
	defer f.Close()
	// CreateFromDir leaves out what belongs to other modules.
	if err := zip.CreateFromDir(f, m, filepath.Join(commit, filepath.FromSlash(dir))); err != nil {
		return fmt.Errorf("%s: %w", m.Path, err)
	}
	return f.Close()
}

// check returns an error if a go.mod would not work for those who import the module: if it replaces a module, or requires one of this
// repository at another version.
func check(mod []byte, m module.Version) error {
	f, err := modfile.Parse(m.Path+"/go.mod", mod, nil)
	if err != nil {
		return err
	}
	if f.Module.Mod.Path != m.Path {
		return fmt.Errorf("%s: its go.mod says %s", m.Path, f.Module.Mod.Path)
	}
	if len(f.Replace) > 0 {
		return fmt.Errorf("%s: its go.mod replaces %s, so it cannot be installed", m.Path, f.Replace[0].Old.Path)
	}
	for _, r := range f.Require {
		if (r.Mod.Path == root || strings.HasPrefix(r.Mod.Path, root+"/")) && r.Mod.Version != m.Version {
			return fmt.Errorf("%s: it requires %s, want version %s", m.Path, r.Mod, m.Version)
		}
	}
	return nil
}
