package store

import (
	"log/slog"
	"slices"
	"testing"
	"time"
)

func TestSource(t *testing.T) {
	s, err := Open(t.TempDir(), -1, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if files, err := s.Source("p", "a"); err != nil || len(files) > 0 {
		t.Errorf("of nothing: %v %v", files, err)
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
