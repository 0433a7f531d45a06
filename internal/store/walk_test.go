package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// Source returns the files of one source, and Read what they contain.
func TestSource(t *testing.T) {
	s := openStore(t, t.TempDir(), -1)
	if files, err := s.Source("p", "a"); err != nil || len(files) > 0 {
		t.Errorf("in an empty store: %v %v", files, err)
	}
	keys := []Key{{Provider: "p", Path: "a", Size: 300}, {Provider: "p", Path: "a", Size: 300, Cover: true, PNG: true}, {Provider: "p", Path: "a", None: true}}
	for _, k := range append(keys, Key{Provider: "p", Path: "b", Size: 300}) {
		e := &Entry{Key: k, Made: time.Now(), Data: []byte("x")}
		if k.None {
			e.Cause = NoPicture
		}
		s.Put(e)
	}
	files, err := s.Source("p", "a")
	if err != nil || len(files) != len(keys) {
		t.Fatalf("%v %v", files, err)
	}
	for _, k := range keys {
		at := FileOf(&k)
		i := slices.IndexFunc(files, func(f File) bool { return f.Folder == at.Folder && f.Name == at.Name })
		if i < 0 {
			t.Fatalf("no %s in %v", at.Name, files)
		}
		if e, err := s.Read(files[i]); err != nil || e.Key != k || files[i].Size == 0 || files[i].Temp {
			t.Errorf("%+v: %+v %v", files[i], e, err)
		}
	}
}

// A file in the wrong one of the 256 folders, where no Get finds it, counts and is evicted like any other.
func TestMisplacedFile(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, -1)
	s.wg.Wait()
	e := numbered(1, 1, 1000)
	put(t, s, e)
	from := pathOf(s, e.Key)
	wrong := "00"
	if filepath.Base(filepath.Dir(from)) == wrong {
		wrong = "01"
	}
	to := filepath.Join(dir, wrong, filepath.Base(from))
	long := time.Now().Add(-time.Hour)
	if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.Rename(from, to), os.Chtimes(to, long, long)); err != nil {
		t.Fatal(err)
	}
	put(t, s, numbered(2, 1, 1000))
	within(t, 10*time.Second, "trim", func() {
		if err := s.Trim(t.Context(), sealedSize(t, e), nil); err != nil {
			t.Error(err)
		}
	})
	if _, err := os.Stat(to); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the misplaced file was not evicted:", err)
	}
	if want := (Usage{1, sealedSize(t, e)}); s.Usage() != want || !exists(s, numbered(2, 1, 1000).Key) {
		t.Errorf("usage %+v, want %+v", s.Usage(), want)
	}
}
