package readfile

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

func TestRead(t *testing.T) { checkRead(t, t.TempDir()) }

// checkRead checks that Read returns a regular file within the limit, and an error for everything else. It may be called from any
// goroutine.
func checkRead(t *testing.T, dir string) {
	file := filepath.Join(dir, "file")
	want := bytes.Repeat([]byte("thumb"), 1000)
	when := time.Unix(1e9, 123456700) // Windows counts in units of 100 ns
	if err := errors.Join(os.WriteFile(file, want, 0o644), os.Chtimes(file, when, when)); err != nil {
		t.Error(err)
		return
	}
	data, modTime, err := Read(file, 5000)
	if err != nil || !bytes.Equal(data, want) || !modTime.Equal(when) {
		t.Errorf("%d bytes, %v, %v", len(data), modTime, err)
	}
	if _, _, err := Read(file, 4999); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("a file over the limit: %v", err)
	}
	if _, _, err := Read(dir, 1<<20); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("a folder: %v", err)
	}
	for _, missing := range []string{"none", filepath.Join("none", "none")} {
		if _, _, err := Read(filepath.Join(dir, missing), 1); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("no such file: %v", err)
		}
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(file, link); err != nil {
		t.Log("no symbolic links here:", err)
		return
	}
	if data, _, err := Read(link, 5000); err == nil || data != nil {
		t.Error("a link to a file was followed")
	}
	folder := filepath.Join(dir, "folder")
	if err := os.Symlink(dir, folder); err != nil {
		t.Error(err)
	}
	if data, _, err := Read(filepath.Join(folder, "file"), 5000); runtime.GOOS != "windows" && (err == nil || data != nil) {
		t.Error("a link to a folder was followed")
	}
}

// Cached returns what Read returns, or reports false.
func TestCached(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	want := bytes.Repeat([]byte("thumb"), 1000)
	if err := os.WriteFile(file, want, 0o644); err != nil {
		t.Fatal(err)
	}
	_, modTime, err := Read(file, 5000)
	if err != nil {
		t.Fatal(err)
	}
	data, when, ok := Cached(file, 5000)
	if ok && (!bytes.Equal(data, want) || !when.Equal(modTime)) {
		t.Errorf("%d bytes of %v", len(data), when)
	}
	t.Log("a file that was just written is cached:", ok)
	for _, path := range []string{dir, file + ".none"} {
		if _, _, ok := Cached(path, 5000); ok {
			t.Errorf("%s was read", path)
		}
	}
	if _, _, ok := Cached(file, 4999); ok {
		t.Error("over the limit")
	}
}

func BenchmarkRead(b *testing.B) {
	file := filepath.Join(b.TempDir(), "file")
	if err := os.WriteFile(file, make([]byte, 20_000), 0o644); err != nil {
		b.Fatal(err)
	}
	b.Run("Read", func(b *testing.B) {
		for b.Loop() {
			Read(file, 1<<20)
		}
	})
	b.Run("Cached", func(b *testing.B) {
		for b.Loop() {
			Cached(file, 1<<20)
		}
	})
	b.Run("os.ReadFile", func(b *testing.B) {
		for b.Loop() {
			os.ReadFile(file)
		}
	})
}
