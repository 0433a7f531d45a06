package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/thumbcache/thumbcache/internal/folderart"
)

// The version of a file changes with each picture that may represent it, and with no other one.
func TestFolderArtVersions(t *testing.T) {
	t.Parallel()
	if _, err := folderart.Parse(folderart.Default); err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(folder, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("album/CD1/s.mp3", "song")
	write("album/CD1/t.mp3", "song")
	version := func() string {
		t.Helper()
		r, err := os.OpenRoot(folder)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		entries, err := readFolder(r, "album/CD1")
		if err != nil {
			t.Fatal(err)
		}
		return fileVersion(r, "album/CD1/s.mp3", readArt(r, "album/CD1", entries).versionFor("s.mp3"))
	}
	before := version()
	for _, step := range []struct {
		name    string
		changes bool
	}{
		{"album/CD1/t-poster.jpg", true}, // the only picture in the folder
		{"album/CD1/t.jpg", true},        // now there are two
		{"album/CD1/t-thumb.jpg", false},
		{"album/CD1/s.jpg", true},
		{"album/CD1/s-poster.png", true},
		{"album/CD1/cover.png", true},
		{"album/CD1/notes.txt", false},
		{"album/folder.jpg", true},
		{"album/scan.jpg", false},
		{"cover.jpg", false},
	} {
		write(step.name, "picture of "+step.name)
		after := version()
		if (after != before) != step.changes {
			t.Errorf("%s: the version has changed: %v", step.name, after != before)
		}
		before = after
	}
}
