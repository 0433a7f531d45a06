package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// checkCommand checks that the arguments of the command are accepted, and the URLs of engines in them.
func checkCommand(t *testing.T, args []string) {
	t.Helper()
	var errs bytes.Buffer
	c := &console{out: io.Discard, err: &errs}
	if code := run(t.Context(), append(slices.Clone(args), "--help"), c); code != exitOK {
		t.Errorf("%q: exit code %d\n%s", args, code, &errs)
	}
	for i, arg := range args {
		url, ok := strings.CutPrefix(arg, "--shared=")
		if !ok && i > 0 && args[i-1] == "--shared" {
			url, ok = arg, true
		}
		if !ok || strings.HasPrefix(url, "@") || url == "URL" {
			continue
		}
		e, err := openEngine(url)
		if err != nil {
			t.Errorf("%q: %v", args, err)
		} else if e.redis != nil {
			e.redis.Close()
		}
	}
}

// words splits a command as a shell does: at spaces, except in quotes, and after a backslash not at the end of a line.
func words(command string) []string {
	command = strings.ReplaceAll(command, "\\\n", " ")
	var all []string
	for _, w := range regexp.MustCompile(`(?:'[^']*'|"[^"]*"|[^\s'"])+`).FindAllString(command, -1) {
		all = append(all, strings.NewReplacer("'", "", `"`, "").Replace(w))
	}
	return all
}

// TestScaleCommands checks the commands in docs/scale.md.
func TestScaleCommands(t *testing.T) {
	page := readScale(t)
	commands := regexp.MustCompile("(?m)^    thumbcache ((?:.*\\\\\n)*.*)$|`thumbcache ([^`]*)`").FindAllStringSubmatch(page, -1)
	if len(commands) < 10 {
		t.Fatalf("only %d commands", len(commands))
	}
	for _, c := range commands {
		checkCommand(t, words(c[1]+c[2]))
	}
	for _, file := range regexp.MustCompile(`contrib/[\w/]+\.\w+`).FindAllString(page, -1) {
		if _, err := os.Stat(filepath.Join("../..", file)); err != nil {
			t.Error(err)
		}
	}
}

func readScale(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/scale.md")
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(page), "\r\n", "\n")
}

// TestScaleJSON checks the documents for S3 in docs/scale.md.
func TestScaleJSON(t *testing.T) {
	blocks := regexp.MustCompile("(?s)```json\n(.*?)```").FindAllStringSubmatch(readScale(t), -1)
	if len(blocks) != 2 {
		t.Fatalf("%d documents, want 2", len(blocks))
	}
	for _, b := range blocks {
		if !json.Valid([]byte(b[1])) {
			t.Errorf("no JSON:\n%s", b[1])
		}
	}
}

// readYAML returns the documents of a file in contrib/fleet.
func readYAML(t *testing.T, name string) (documents []map[string]any) {
	t.Helper()
	file, err := os.Open(filepath.Join("../../contrib/fleet", name))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for d := yaml.NewDecoder(file); ; {
		var document map[string]any
		err := d.Decode(&document)
		if err == io.EOF {
			return documents
		}
		if err != nil {
			t.Fatal(err)
		}
		documents = append(documents, document)
	}
}

// at returns what is below some names and indexes in a document, or nil.
func at(v any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[p]
		case int:
			list, _ := v.([]any)
			if p >= len(list) {
				return nil
			}
			v = list[p]
		}
	}
	return v
}

func texts(v any) (all []string) {
	list, _ := v.([]any)
	for _, e := range list {
		s, _ := e.(string)
		all = append(all, s)
	}
	return all
}

// checkRedis checks that Redis is a cache that does not write to disk.
func checkRedis(t *testing.T, command []string) {
	t.Helper()
	line := strings.Join(command, " ")
	for _, want := range []string{"redis-server ", "--maxmemory 1gb", "--maxmemory-policy allkeys-lru", "--save  --appendonly no"} {
		if !strings.Contains(line+" ", want) {
			t.Errorf("%q has no %q", line, want)
		}
	}
}

// TestScaleCompose checks the services in compose.yaml.
func TestScaleCompose(t *testing.T) {
	documents := readYAML(t, "compose.yaml")
	if len(documents) != 1 {
		t.Fatalf("%d documents", len(documents))
	}
	ports := make(map[string]bool)
	for _, name := range []string{"server1", "server2"} {
		service := at(documents[0], "services", name)
		command := texts(at(service, "command"))
		checkCommand(t, command)
		if !slices.Contains(command, "--shared=redis://redis:6379/0") || at(documents[0], "services", "redis") == nil {
			t.Errorf("%s does not use the service redis: %q", name, command)
		}
		volumes := texts(at(service, "volumes"))
		if len(volumes) != 1 || !strings.HasSuffix(volumes[0], ":/media:ro") || command[len(command)-1] != "/media" {
			t.Errorf("%s serves %q, with volumes %q", name, command, volumes)
		}
		for _, p := range texts(at(service, "ports")) {
			ports[p] = true
			if !strings.HasSuffix(p, ":8420") || !slices.Contains(command, "--addr=:8420") {
				t.Errorf("%s: port %s, command %q", name, p, command)
			}
		}
		if file, _ := at(service, "build", "dockerfile").(string); file == "" {
			t.Errorf("%s has no Dockerfile", name)
		} else if _, err := os.Stat(filepath.Join("../..", file)); err != nil {
			t.Error(err)
		}
	}
	if len(ports) != 2 {
		t.Errorf("the servers have the ports %v", ports)
	}
	checkRedis(t, texts(at(documents[0], "services", "redis", "command")))
}

// TestScaleKubernetes checks that the parts of kubernetes.yaml fit together.
func TestScaleKubernetes(t *testing.T) {
	objects := make(map[string]map[string]any) // by kind and name
	for _, d := range readYAML(t, "kubernetes.yaml") {
		kind, _ := d["kind"].(string)
		name, _ := at(d, "metadata", "name").(string)
		if d["apiVersion"] == nil || kind == "" || name == "" || objects[kind+" "+name] != nil {
			t.Errorf("%v", d)
		}
		objects[kind+" "+name] = d
	}
	for _, name := range []string{"thumbcache", "thumbcache-redis"} {
		deployment, service := objects["Deployment "+name], objects["Service "+name]
		app := at(deployment, "spec", "template", "metadata", "labels", "app")
		if app == nil || app != at(deployment, "spec", "selector", "matchLabels", "app") || app != at(service, "spec", "selector", "app") {
			t.Errorf("%s: the selectors do not match", name)
		}
		pod := at(deployment, "spec", "template", "spec")
		container := at(pod, "containers", 0)
		port := at(container, "ports", 0, "name")
		if port == nil || port != at(service, "spec", "ports", 0, "targetPort") {
			t.Errorf("%s: the service has another port", name)
		}
		volumes := make(map[any]bool)
		for i := 0; at(pod, "volumes", i) != nil; i++ {
			volumes[at(pod, "volumes", i, "name")] = true
		}
		for i := 0; at(container, "volumeMounts", i) != nil; i++ {
			if mount := at(container, "volumeMounts", i, "name"); !volumes[mount] {
				t.Errorf("%s: there is no volume %v", name, mount)
			}
		}
	}

	secret := objects["Secret thumbcache-redis"]
	url, _ := at(secret, "stringData", "url").(string)
	password, _ := at(secret, "stringData", "password").(string)
	if url != "redis://:"+password+"@thumbcache-redis:6379/0" {
		t.Errorf("the URL is %q, the password %q", url, password)
	}
	checkCommand(t, []string{"serve", "--shared", url})

	container := at(objects["Deployment thumbcache"], "spec", "template", "spec", "containers", 0)
	args := texts(at(container, "args"))
	checkCommand(t, args)
	if !slices.Contains(args, "--shared=@/run/secrets/thumbcache/url") || !slices.Contains(args, "--addr=:8420") || at(container, "ports", 0, "containerPort") != 8420 {
		t.Errorf("%q", args)
	}
	site := startSite(t, t.TempDir())
	for _, probe := range []string{"readinessProbe", "livenessProbe"} {
		path, _ := at(container, probe, "httpGet", "path").(string)
		if status, _, _ := fetch(t, site.URL+path); status != http.StatusOK {
			t.Errorf("%s: %s answers %d", probe, path, status)
		}
	}
	checkRedis(t, texts(at(objects["Deployment thumbcache-redis"], "spec", "template", "spec", "containers", 0, "args")))
}
