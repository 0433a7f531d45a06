package readfile

import (
	"os"
	"path/filepath"
	"testing"
)

// What is being read may be removed, which os.Open forbids here.
func TestRemoveOpened(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("thumb"), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.Remove(file); err != nil {
		t.Error(err)
	}
	if _, err := f.Read(make([]byte, 5)); err != nil {
		t.Error(err)
	}
}
