package readfile

import (
	"os"
	"path/filepath"
	"testing"
)

// A file can be removed while it is open, which os.Open does not allow on Windows.
func TestRemoveOpenFile(t *testing.T) {
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
