package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"maps"
	"mime"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/thumbcache/thumbcache"
)

// An apiDocument is what the test reads of openapi.json.
type apiDocument struct {
	OpenAPI    string                             `json:"openapi"`
	Paths      map[string]map[string]apiOperation `json:"paths"`
	Components struct {
		Responses map[string]apiResponse `json:"responses"`
		Schemas   map[string]*apiSchema  `json:"schemas"`
	} `json:"components"`
}

type apiOperation struct {
	OperationID string
	Security    *[]map[string][]string
	Parameters  []struct{ Name, In string }
	RequestBody struct {
		Content map[string]struct{ Schema *apiSchema }
	}
	Responses map[string]apiResponse
}

type apiResponse struct {
	Ref     string `json:"$ref"`
	Content map[string]struct{ Schema *apiSchema }
}

// An apiSchema is a JSON schema, as far as openapi.json uses it.
type apiSchema struct {
	Ref                  string                `json:"$ref"`
	Type                 string                `json:"type"`
	Required             []string              `json:"required"`
	Properties           map[string]*apiSchema `json:"properties"`
	AdditionalProperties json.RawMessage       `json:"additionalProperties"`
	Items                *apiSchema            `json:"items"`
	MinItems             int                   `json:"minItems"`
	MaxItems             int                   `json:"maxItems"`
	Minimum              *float64              `json:"minimum"`
	Examples             []any                 `json:"examples"`
}

func readOpenAPI(t *testing.T) *apiDocument {
	t.Helper()
	var d apiDocument
	if err := json.Unmarshal(openAPI, &d); err != nil {
		t.Fatal(err)
	}
	return &d
}

// validate returns an error if v does not match a schema.
func (d *apiDocument) validate(s *apiSchema, v any) error {
	if name, ok := strings.CutPrefix(s.Ref, "#/components/schemas/"); ok {
		if s = d.Components.Schemas[name]; s == nil {
			return fmt.Errorf("there is no schema %s", name)
		}
	}
	switch v := v.(type) {
	case map[string]any:
		if s.Type != "object" {
			return fmt.Errorf("an object instead of %q", s.Type)
		}
		return d.validateObject(s, v)
	case []any:
		if s.Type != "array" || len(v) < s.MinItems || s.MaxItems > 0 && len(v) > s.MaxItems {
			return fmt.Errorf("an array of %d items instead of %q", len(v), s.Type)
		}
		for _, item := range v {
			if err := d.validate(s.Items, item); err != nil {
				return err
			}
		}
	case string:
		if s.Type != "string" {
			return fmt.Errorf("a string instead of %q", s.Type)
		}
	case float64:
		if s.Type != "integer" || v != float64(int64(v)) || s.Minimum != nil && v < *s.Minimum {
			return fmt.Errorf("%v instead of %q", v, s.Type)
		}
	default:
		return fmt.Errorf("unexpected %T", v)
	}
	return nil
}

func (d *apiDocument) validateObject(s *apiSchema, v map[string]any) error {
	for _, name := range s.Required {
		if v[name] == nil {
			return fmt.Errorf("%s is missing", name)
		}
	}
	for name, value := range v {
		property := s.Properties[name]
		if property == nil && string(s.AdditionalProperties) != "false" {
			if err := json.Unmarshal(s.AdditionalProperties, &property); err != nil {
				return err
			}
		}
		if property == nil {
			return fmt.Errorf("%s is not described", name)
		}
		if err := d.validate(property, value); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// check returns an error if an answer is not described, and otherwise the status that describes it, which may be a range.
func (d *apiDocument) check(op *apiOperation, a apiAnswer) (described string, err error) {
	described = strconv.Itoa(a.status)
	response, ok := op.Responses[described]
	if !ok {
		described = described[:1] + "XX"
		response, ok = op.Responses[described]
	}
	if name, isRef := strings.CutPrefix(response.Ref, "#/components/responses/"); isRef {
		response, ok = d.Components.Responses[name]
	}
	if !ok {
		return described, fmt.Errorf("the status is not described")
	}
	if len(response.Content) == 0 {
		if a.body != "" {
			return described, fmt.Errorf("a body is not described")
		}
		return described, nil
	}
	kind, _, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	content, ok := response.Content[kind]
	if err != nil || !ok {
		return described, fmt.Errorf("the type is not described: %s", a.header.Get("Content-Type"))
	}
	if content.Schema == nil || content.Schema.Type == "object" && content.Schema.Properties == nil {
		return described, nil
	}
	var v any
	if err := json.Unmarshal([]byte(a.body), &v); err != nil {
		return described, err
	}
	return described, d.validate(content.Schema, v)
}

// TestOpenAPI compares openapi.json with the routes and with what they answer. Every status that is described must occur.
func TestOpenAPI(t *testing.T) {
	d := readOpenAPI(t)
	if !strings.HasPrefix(d.OpenAPI, "3.1.") {
		t.Errorf("OpenAPI %s", d.OpenAPI)
	}
	s := newTestService(t)
	var routes, described []string
	for _, r := range s.routes() {
		method, path, _ := strings.Cut(strings.TrimSuffix(r.pattern, "{$}"), " ")
		routes = append(routes, method+" "+path)
		op := d.Paths[path][strings.ToLower(method)]
		if isOpen := op.Security != nil && len(*op.Security) == 0; isOpen != (r.access == forAll) {
			t.Errorf("%s: access %d, but no token is needed: %v", r.pattern, r.access, isOpen)
		}
	}
	missing := make(map[string]bool) // statuses that have not occurred
	for path, operations := range d.Paths {
		for method, op := range operations {
			described = append(described, strings.ToUpper(method)+" "+path)
			if op.OperationID == "" {
				t.Errorf("%s has no operationId", path)
			}
			for status := range op.Responses {
				missing[strings.ToUpper(method)+" "+path+" "+status] = true
			}
		}
	}
	slices.Sort(routes)
	slices.Sort(described)
	if !slices.Equal(routes, described) {
		t.Errorf("routes: %q\ndescribed: %q", routes, described)
	}
	for name, schema := range d.Components.Schemas {
		for _, example := range schema.Examples {
			if err := d.validate(schema, example); err != nil {
				t.Errorf("the example of %s: %v", name, err)
			}
		}
	}
	for _, c := range openAPICalls(t) {
		method, target, _ := strings.Cut(c.what, " ")
		path, _, _ := strings.Cut(target, "?")
		op := d.Paths[path][strings.ToLower(method)]
		status, err := d.check(&op, c.answer)
		if err != nil || c.answer.status != c.want {
			t.Errorf("%s: %d %.300s: %v, want %d", c.what, c.answer.status, c.answer.body, err, c.want)
		}
		delete(missing, method+" "+path+" "+status)
	}
	delete(missing, "GET /metrics 503") // the collector's own limit
	if len(missing) > 0 {
		t.Errorf("described, but they do not occur: %q", slices.Sorted(maps.Keys(missing)))
	}
}

// An apiCall is a request, and its answer.
type apiCall struct {
	what   string
	answer apiAnswer
	want   int
}

// openAPICalls returns calls that lead to every status of the API.
func openAPICalls(t *testing.T) (calls []apiCall) {
	media := t.TempDir()
	writePicture(t, filepath.Join(media, "a.png"))
	writeHugePicture(t, filepath.Join(media, "huge.png"))
	if err := os.CopyFS(media, os.DirFS(filepath.Join(sampleFolder(t), "Nobody"))); err != nil {
		t.Fatal(err)
	}
	server := startAPI(t, "--media", "music="+media, "--media", "photos="+filepath.Join(media, "none"), "--dir", t.TempDir(), "--addr", "127.0.0.1:0", "--token-file", writeToken(t))
	const sources = `{"provider":"music","paths":["a.png"]}`
	ask := func(want int, what, body string, headers ...string) apiAnswer {
		method, target, _ := strings.Cut(what, " ")
		a := server.ask(t, method, target, body, append([]string{"Authorization", "Bearer " + testToken}, headers...)...)
		calls = append(calls, apiCall{what, a, want})
		return a
	}
	tag := ask(200, "GET /thumb/?provider=music&path=a.png", "").header.Get("ETag")
	ask(200, "GET /thumb/?provider=music&path=a.png&size=20&dpr=2&fit=cover&format=png&v=1", "")
	ask(304, "GET /thumb/?provider=music&path=a.png", "", "If-None-Match", tag)
	for what, status := range map[string]int{"music&path=a.png&size=-1": 400, "none&path=a.png": 404, "music&path=No+Cover.mp3": 404, "music&path=huge.png": 413, "music&path=Broken.flac": 415} {
		ask(status, "GET /thumb/?provider="+what, "")
		ask(status, "GET /thumb/?provider="+what, "", "Accept", "application/json")
	}
	ask(503, "GET /thumb/?provider=photos&path=a.png", "") // its folder is missing
	for _, path := range []string{"/stats", "/metrics", "/healthz", "/openapi.json", "/"} {
		ask(200, "GET "+path, "")
	}
	ask(503, "GET /readyz", "")
	ask(204, "POST /invalidate", sources)
	ask(202, "POST /warm", sources)
	for _, what := range []string{"POST /invalidate", "POST /warm"} {
		ask(400, what, "[]")
		ask(404, what, `{"provider":"none","paths":["a"]}`)
		ask(413, what, `"`+strings.Repeat("x", maxBody)+`"`)
		ask(415, what, sources, "Content-Type", "text/plain")
		ask(401, what, sources, "Authorization", "Bearer wrong")
	}
	for _, path := range []string{"/thumb/", "/stats", "/metrics"} {
		ask(401, "GET "+path, "", "Authorization", "Bearer wrong")
	}
	for _, path := range []string{"/thumb/", "/stats", "/metrics", "/healthz", "/readyz", "/openapi.json", "/"} {
		ask(403, "GET "+path, "", "Sec-Fetch-Site", "cross-site")
	}

	plain := newTestService(t)
	add := func(want int, what, body string) {
		method, target, _ := strings.Cut(what, " ")
		calls = append(calls, apiCall{what, call(plain, method, target, body), want})
	}
	add(200, "GET /readyz", "")
	for range maxBatches {
		call(plain, "POST", "/warm", sources)
	}
	add(503, "POST /warm", sources)
	plain.cache.Close()
	add(503, "POST /invalidate", sources)
	plain.isSocket = false
	add(403, "POST /invalidate", sources)
	add(403, "POST /warm", sources)
	return calls
}

// writeHugePicture writes a PNG whose header says that it has 2^30 x 2^30 pixels.
func writeHugePicture(t *testing.T, name string) {
	t.Helper()
	small, err := encodePicture()
	if err != nil {
		t.Fatal(err)
	}
	huge := slices.Clone(small)
	binary.BigEndian.PutUint32(huge[16:], 1<<30)
	binary.BigEndian.PutUint32(huge[20:], 1<<30)
	binary.BigEndian.PutUint32(huge[29:], crc32.ChecksumIEEE(huge[12:29]))
	if err := os.WriteFile(name, huge, 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestOpenAPIParameters checks that openapi.json describes each parameter of a URL that the library makes.
func TestOpenAPIParameters(t *testing.T) {
	described := make(map[string]bool)
	for _, p := range readOpenAPI(t).Paths["/thumb/"]["get"].Parameters {
		described[p.Name] = true
	}
	names := make(map[string]bool)
	for _, req := range []thumbcache.Request{
		{Size: 1, Format: thumbcache.PNG, Profile: "dlna-tn", Version: "1"},
		{Width: 1, Height: 2, Fit: thumbcache.Cover, FocusX: 0.1, FocusY: 0.2},
		{Width: 1, Height: 2, Fit: thumbcache.Pad, Background: "blur"},
	} {
		req.Provider, req.Path = "music", "a//b"
		u, err := url.Parse(req.URL())
		if err != nil {
			t.Fatal(err)
		}
		for name := range u.Query() {
			names[name] = true
			if !described[name] {
				t.Errorf("%s is not described", name)
			}
		}
	}
	if len(names) < 11 {
		t.Errorf("%v", names)
	}
}
