package main

import (
	"context"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/thumbcache/thumbcache"
)

// The search finds songs by title, artist and album, also by initials, and together with names.
func TestSearchTags(t *testing.T) {
	t.Parallel()
	s := startSite(t, sampleFolder(t))
	for search, want := range map[string]string{
		"sunburst":         "02 Usual Tag.mp3",
		"ışın":             "03 Pencere.aiff",
		"celik unal isin":  "03 Pencere.aiff",
		"siw":              "01 Index at the End.m4a", // Stone in Water
		"galaxy bob":       "04 Opus.opus",
		"basket 02":        "02 Back Before Front.flac",
		"first light tide": "03 New Tag.mp3",
		"sunburst bob":     "",
	} {
		l := fetchList(t, s, "?search="+url.QueryEscape(search))
		for deadline := time.Now().Add(20 * time.Second); l.Reading && time.Now().Before(deadline); {
			l = fetchList(t, s, "?search="+url.QueryEscape(search))
		}
		var names []string
		for _, e := range l.Entries {
			names = append(names, e.Name)
		}
		if got := strings.Join(names, " "); got != want || l.Reading {
			t.Errorf("%s: %q, want %q", search, got, want)
		}
		if search == "sunburst" && (l.Entries[0].Tags == nil || *l.Entries[0].Tags != tagFacts{Title: "Sunburst", Artist: "Ada Rings", Album: "First Light"}) {
			t.Errorf("got %+v", l.Entries[0].Tags)
		}
	}
}

// A file that makes the reader panic has no tags.
func TestReadTagsPanics(t *testing.T) {
	t.Parallel()
	media := panickingProvider{thumbcache.Files(t.TempDir())}
	if tags, err := readTags(t.Context(), media, "a.mp3"); err == nil || tags != (tagFacts{}) || !strings.Contains(err.Error(), "crafted") {
		t.Errorf("%+v, %v", tags, err)
	}
}

type panickingProvider struct{ thumbcache.Provider }

func (panickingProvider) Open(context.Context, string) (*thumbcache.Source, error) { panic("crafted") }

func TestServeTags(t *testing.T) {
	t.Parallel()
	s := startSite(t, sampleFolder(t))
	get := func(path string) (int, string) {
		status, _, body := fetch(t, s.URL+"/tags.json?path="+url.QueryEscape(path))
		return status, strings.TrimSpace(string(body))
	}
	if status, body := get("Çelik Ünal/Şarkılar/02 Etiket.wv"); status != http.StatusOK || body != `{"title":"Halka","artist":"Çelik Ünal","album":"Şarkılar"}` {
		t.Errorf("%d %s", status, body)
	}
	if status, body := get("Nobody/No Cover.mp3"); status != http.StatusOK || body != "{}" {
		t.Errorf("%d %s", status, body)
	}
	for _, path := range []string{"none.mp3", "Pictures/Glass.png", ".hidden.mp3", "../x.mp3", ""} {
		if status, body := get(path); status != http.StatusNotFound || strings.Contains(body, string(filepath.Separator)) {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
}

// A pass reads new and changed files only, and forgets those that are gone.
func TestTagIndex(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root := t.TempDir()
		file := func(name string) string { return filepath.Join(root, name) }
		copySample(t, song, file("a.mp3"))
		copySample(t, song, file("b.mp3"))
		media := &countingProvider{Provider: thumbcache.Files(root)}
		x := newTagIndex(root, media)
		defer x.work.Wait()
		defer x.cancel()
		check := func(opened int, known ...string) {
			t.Helper()
			if !x.refresh(t.Context()) {
				t.Fatal("the pass has not ended")
			}
			if len(x.files) != len(known) || media.opened != opened {
				t.Errorf("%d files, %d opened, want %d and %d", len(x.files), media.opened, len(known), opened)
			}
			for _, name := range known {
				if got := x.get(name); got.tags.Title != "Ripples" || got.words != "ripples\x00ada rings\x00first light\x00" {
					t.Errorf("%s: %+v", name, got)
				}
			}
		}
		check(2, "a.mp3", "b.mp3")
		copySample(t, song, file("c.mp3"))
		check(2, "a.mp3", "b.mp3") // no pass yet
		time.Sleep(tagInterval)
		if err := os.Remove(file("a.mp3")); err != nil {
			t.Fatal(err)
		}
		now := time.Now().Add(time.Hour)
		if err := os.Chtimes(file("b.mp3"), now, now); err != nil {
			t.Fatal(err)
		}
		check(4, "b.mp3", "c.mp3")
		time.Sleep(tagInterval)
		check(4, "b.mp3", "c.mp3")
		x.cancel()
		time.Sleep(tagInterval)
		check(4, "b.mp3", "c.mp3")
	})
}

type countingProvider struct {
	thumbcache.Provider
	opened int
}

func (p *countingProvider) Open(ctx context.Context, path string) (*thumbcache.Source, error) {
	p.opened++
	return p.Provider.Open(ctx, path)
}
