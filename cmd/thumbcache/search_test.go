package main

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSearch(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for _, name := range []string{"Anna Berg/Night Bus/01 Rain.png", "Anna Berg/Night Bus/02 Bus Stop.png", "Anna Berg/Day/10 sun.png", "Anna Berg/Day/2 sun.png", "Blue Hours/Bus/a.png", ".hidden/bus.png", "top.png"} {
		writePicture(t, filepath.Join(root, filepath.FromSlash(name)))
	}
	if err := os.Symlink("..", filepath.Join(root, "Blue Hours", "loop")); err != nil {
		t.Log(err)
	}
	s := startSite(t, root)
	for query, want := range map[string]string{
		"bus":                   "/Night Bus /Bus 02 Bus Stop.png 01 Rain.png a.png", // folders, names, folders of files
		"BUS berg":              "/Night Bus 02 Bus Stop.png 01 Rain.png",
		"nb":                    "/Night Bus 01 Rain.png 02 Bus Stop.png",
		"ab sun":                "2 sun.png 10 sun.png",
		"sun&sort=name":         "2 sun.png 10 sun.png",
		"none":                  "",
		"bus none":              "",
		"  &sort=name":          "01 Rain.png 02 Bus Stop.png 2 sun.png 10 sun.png a.png top.png", // no search
		"bus&folder=Anna+Berg":  "/Night Bus 02 Bus Stop.png 01 Rain.png",
		"berg&folder=Anna+Berg": "",
		"top":                   "top.png 02 Bus Stop.png", // in "Stop" too
	} {
		text, rest, _ := strings.Cut(query, "&")
		l := fetchList(t, s, "?search="+url.QueryEscape(text)+"&"+rest)
		var names []string
		for _, e := range l.Entries {
			name := e.Name
			if e.Folder != "" {
				name = "/" + name
			}
			names = append(names, name)
			if status, _, body := fetch(t, s.URL+"/"+setSize(e.Thumb, 160)); status != 200 {
				t.Errorf("%+v: %d %s", e, status, body)
			}
		}
		if got := strings.Join(names, " "); got != want || l.Total != len(names) || l.Partial || l.Entries == nil {
			t.Errorf("%q: %s, want %s", query, got, want)
		}
	}
	if status, _, _ := fetch(t, s.URL+"/list.json?search=a&folder=none"); status != 404 {
		t.Errorf("a missing folder: %d", status)
	}
}

func TestSearchIsBounded(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for i := range maxSearchResults + 50 {
		if err := os.WriteFile(filepath.Join(root, fmt.Sprintf("file %d.txt", i)), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	l := fetchList(t, startSite(t, root), "?search=file")
	if len(l.Entries) != maxSearchResults || l.Total != maxSearchResults+50 || l.Next != "" || l.Entries[2].Name != "file 2.txt" {
		t.Errorf("%d of %d entries", len(l.Entries), l.Total)
	}
}

func TestInitials(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"night bus": "nb", "01 don't stop": "0ds", "": "", "--": "", "şarkı ünal": "şü", "a_b-c.d": "abcd", "\xff x": "x"} {
		if got := initials(in); got != want {
			t.Errorf("initials(%q) = %q, want %q", in, got, want)
		}
	}
}

func BenchmarkSearch(b *testing.B) {
	root := b.TempDir()
	for artist := range 50 {
		for album := range 10 {
			folder := filepath.Join(root, fmt.Sprintf("Artist %d", artist), fmt.Sprintf("Album %d", album))
			if err := os.MkdirAll(folder, 0o755); err != nil {
				b.Fatal(err)
			}
			for track := range 10 {
				if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("%02d Track.mp3", track)), nil, 0o644); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
	for b.Loop() {
		l, err := search(b.Context(), root, query{search: "artist 7 track", sort: byFolder}, func(string) taggedFile { return taggedFile{} })
		if err != nil || l.Total == 0 {
			b.Fatalf("%v, %d entries", err, l.Total)
		}
	}
}

func TestFoldText(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"Night BUS": "night bus", "Ève": "eve", "E\u0300ve": "eve", "Işın ÇELİK": "isin celik", "日本 Ω": "日本 ω", "": ""} {
		if got := foldText(in); got != want {
			t.Errorf("foldText(%q) = %q, want %q", in, got, want)
		}
	}
}
