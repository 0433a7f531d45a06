package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestCompareNames(t *testing.T) {
	t.Parallel()
	sorted := []string{"", "01", "1", "1 a", "1a", "2", "02b", "10", "A", "a", "a1", "a1b", "a2", "a10", "a10b2", "a10b10", "a99999999999999999999", "a100000000000000000000", "b", "Track 2", "track 10"}
	for i, a := range sorted {
		for j, b := range sorted {
			if got := compareNames(a, b); (got < 0) != (i < j) || (got > 0) != (i > j) {
				t.Errorf("compareNames(%q, %q) = %d", a, b, got)
			}
		}
	}
}

func FuzzCompareNatural(f *testing.F) {
	f.Add("a1", "a01", "a2")
	f.Add("1x", "1", "x1")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		if compareNatural(a, b) != -compareNatural(b, a) {
			t.Errorf("%q and %q: not symmetric", a, b)
		}
		if compareNatural(a, b) <= 0 && compareNatural(b, c) <= 0 && compareNatural(a, c) > 0 {
			t.Errorf("%q, %q, %q: not transitive", a, b, c)
		}
		if a != b && compareNames(a, b) == 0 {
			t.Errorf("%q and %q are different", a, b)
		}
	})
}

func FuzzParsePosition(f *testing.F) {
	f.Add("f0/a")
	f.Add("d-12/a/b")
	f.Fuzz(func(t *testing.T, text string) {
		if e, err := parsePosition(text); err == nil {
			if again, err := parsePosition(e.position()); err != nil || compareItems(e, again) != 0 {
				t.Errorf("%q becomes %q, %v", text, e.position(), err)
			}
		}
	})
}

// fetchNames returns the names on all pages of a listing.
func fetchNames(t *testing.T, fetch func(after string) listing) (names []string) {
	t.Helper()
	for after := ""; ; {
		l := fetch(after)
		for _, e := range l.Entries {
			names = append(names, e.Name)
		}
		if after = l.Next; after == "" {
			if l.Total != len(names) {
				t.Errorf("%d entries, but the total is %d", len(names), l.Total)
			}
			return names
		}
	}
}

func TestSorting(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	start := time.Now().Add(-time.Hour)
	for i, name := range []string{"10.jpg", "2.jpg", "B/1.jpg", "A/30.jpg"} { // the oldest and largest first
		full := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, make([]byte, 100-i), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(full, start, start.Add(time.Duration(i)*time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	s := startSite(t, root)
	for sort, want := range map[string]string{
		"":       "2.jpg 10.jpg 30.jpg 1.jpg",
		"folder": "2.jpg 10.jpg 30.jpg 1.jpg",
		"name":   "1.jpg 2.jpg 10.jpg 30.jpg",
		"date":   "30.jpg 1.jpg 2.jpg 10.jpg",
		"size":   "10.jpg 2.jpg 1.jpg 30.jpg",
		"other":  "2.jpg 10.jpg 30.jpg 1.jpg",
	} {
		names := fetchNames(t, func(string) listing { return fetchList(t, s, "?sort="+sort) })
		if got := strings.Join(names, " "); got != want {
			t.Errorf("by %q: %s, want %s", sort, got, want)
		}
	}
	if e := fetchList(t, s, "").Entries[0]; e.Size != 99 || e.Modified == nil || !e.Modified.Equal(start.Add(time.Minute)) && e.Modified.Sub(start.Add(time.Minute)).Abs() > time.Second || e.Kind != "image" || e.Original != "original/2.jpg" || e.ID != "2.jpg" {
		t.Errorf("got %+v", e)
	}
}

// The pages of a long folder are those of one sorted list, also if a file vanishes between two of them.
func TestSortedPages(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	start := time.Now().Add(-time.Hour)
	var byDate []string
	for i := range 2*maxPageEntries + 10 {
		name := fmt.Sprintf("%d.txt", i)
		full := filepath.Join(root, name)
		if err := os.WriteFile(full, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		at := start.Add(-time.Duration(i/2) * time.Second) // two files of each time
		if err := os.Chtimes(full, at, at); err != nil {
			t.Fatal(err)
		}
		byDate = append(byDate, name)
	}
	if err := os.Mkdir(filepath.Join(root, "zz"), 0o755); err != nil {
		t.Fatal(err)
	}
	s := startSite(t, root)
	names := fetchNames(t, func(after string) listing { return fetchList(t, s, "?sort=date&after="+after) })
	if want := append([]string{"zz"}, byDate...); !slices.Equal(names, want) {
		t.Errorf("got %v", names)
	}
	names = nil
	fetchNames(t, func(after string) listing {
		l := fetchList(t, s, "?after="+after)
		for _, e := range l.Entries {
			names = append(names, e.Name)
		}
		if after == "" { // the position remains valid without its file
			if err := os.Remove(filepath.Join(root, names[len(names)-1])); err != nil {
				t.Fatal(err)
			}
			return l
		}
		l.Total++
		return l
	})
	if want := append([]string{"zz"}, byDate...); !slices.Equal(names, want) {
		t.Errorf("got %v", names)
	}
	for _, after := range []string{"x", "x0/a", "f/a", "fx/a"} {
		if status, _, _ := fetch(t, s.URL+"/list.json?after="+after); status != 404 {
			t.Errorf("%s: %d", after, status)
		}
	}
}
