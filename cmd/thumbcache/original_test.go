package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The page may fetch the media files that it shows, and nothing else.
func TestOriginal(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	secret := filepath.Join(t.TempDir(), "secret.jpg")
	for _, name := range []string{secret, filepath.Join(root, "a b.MP3"), filepath.Join(root, "page.svg"), filepath.Join(root, "notes.txt"), filepath.Join(root, ".hidden.jpg"), filepath.Join(root, ".dir", "a.jpg")} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte("0123456789"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	_ = os.Symlink(secret, filepath.Join(root, "link.jpg"))
	s := startSite(t, root)
	e := fetchList(t, s, "?filter=mp3").Entries[0]
	if e.Kind != "audio" {
		t.Errorf("got %+v", e)
	}
	status, h, body := fetch(t, s.URL+"/"+e.Original)
	if status != http.StatusOK || string(body) != "0123456789" || h.Get("Content-Type") != "audio/mpeg" || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("ETag") == "" {
		t.Errorf("%d %v %s", status, h, body)
	}
	for header, want := range map[string]int{"Range": http.StatusPartialContent, "If-None-Match": http.StatusNotModified} {
		status, body := fetchWith(t, s.URL+"/"+e.Original, func(r *http.Request) {
			r.Header.Set(header, map[string]string{"Range": "bytes=2-3", "If-None-Match": h.Get("ETag")}[header])
		})
		if status != want || header == "Range" && string(body) != "23" {
			t.Errorf("%s: %d %s", header, status, body)
		}
	}
	for _, path := range []string{"page.svg", "notes.txt", ".hidden.jpg", ".dir/a.jpg", "link.jpg", "none.jpg", "..%2f..%2fetc%2fpasswd.jpg", "..%2fsecret.jpg", ""} {
		if status, _, body := fetch(t, s.URL+"/original/"+path); status < 400 || strings.Contains(string(body), root) {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	if status, _ := fetchWith(t, s.URL+"/"+e.Original, func(r *http.Request) { r.Host = "rebound.example" }); status != http.StatusForbidden {
		t.Errorf("a foreign host: %d", status)
	}
	if status, _ := fetchWith(t, s.URL+"/"+e.Original, func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }); status != http.StatusForbidden {
		t.Errorf("another site: %d", status)
	}
}

// An explanation names the origin of each size, the steps that were taken, and what is stored.
func TestExplanation(t *testing.T) {
	t.Parallel()
	s := startSite(t, sampleFolder(t))
	explain := func(path string) (x explanation) {
		t.Helper()
		_, _, body := fetch(t, s.URL+"/explain.json?path="+strings.ReplaceAll(path, " ", "+"))
		if err := json.Unmarshal(body, &x); err != nil {
			t.Fatalf("%v %s", err, body)
		}
		return x
	}
	if x := explain(song); x.Answers == nil || x.Stages == nil || x.Stored == nil || len(x.Answers)+len(x.Stages)+len(x.Stored) > 0 {
		t.Errorf("before the first request: %+v", x)
	}
	fetch(t, s.URL+"/thumb/library/"+song+"?size=160")
	fetch(t, s.URL+"/thumb/library/"+song+"?size=320")
	fetch(t, s.URL+"/thumb/library/"+song+"?size=160")
	x := explain(song)
	if len(x.Answers) != 2 || x.Answers[0].Size != 160 || x.Answers[0].Origin != "memory" || x.Answers[1].Size != 320 || x.Answers[1].Origin != "made" || x.Answers[1].Seconds <= 0 {
		t.Errorf("got %+v", x.Answers)
	}
	var stages []string
	for _, f := range x.Stages {
		stages = append(stages, f.Stage)
	}
	if got := strings.Join(stages, " "); !strings.HasPrefix(got, "queue stat open extract render") {
		t.Errorf("got %s", got)
	}
	var stats struct {
		WorkSeconds float64 `json:"work_seconds"`
	}
	if _, _, body := fetch(t, s.URL+"/stats.json"); json.Unmarshal(body, &stats) != nil || stats.WorkSeconds <= 0 {
		t.Errorf("got %s", body)
	}
	fetch(t, s.URL+"/thumb/library/"+broken+"?size=160")
	x = explain(broken)
	if len(x.Answers) != 1 || x.Answers[0].Error != "file is corrupt" {
		t.Errorf("got %+v", x)
	}
}

// The memory for explanations is bounded.
func TestTracesAreBounded(t *testing.T) {
	t.Parallel()
	var tr trace
	for i := range 3 * maxAnswers {
		tr.addAnswer(answerFacts{Size: i})
		tr.addAnswer(answerFacts{Size: 1})
		for _, stage := range stageNames {
			tr.addStage(stageFacts{Stage: stage})
		}
	}
	if len(tr.answers) != maxAnswers || tr.answers[0].Size != 1 || len(tr.stages) != len(stageNames) {
		t.Errorf("got %+v", tr)
	}
	tr.addStage(stageFacts{Stage: "open"})
	if len(tr.stages) != slices.Index(stageNames, "open")+1 {
		t.Errorf("after opening the source again: %+v", tr.stages)
	}
	ts := newTraces()
	for i := range maxTraces + 10 {
		ts.edit(string(rune(i)), func(*trace) {})
	}
	if n := ts.sources.Len(); n != maxTraces {
		t.Errorf("%d traces", n)
	}
}
