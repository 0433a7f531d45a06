package coverart

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func TestLocal(t *testing.T) {
	dir := os.Getenv("COVERART_DIR")
	if dir == "" {
		t.Skip()
	}
	j, _ := os.ReadFile(dir + "/cover.jpg")
	p, _ := os.ReadFile(dir + "/cover.png")
	names, _ := filepath.Glob(dir + "/*")
	for _, n := range names {
		f, _ := os.Open(n)
		st, _ := f.Stat()
		r := &reader{r: f}
		pic, err := Find(t.Context(), r, st.Size())
		fmt.Println(filepath.Base(n), len(pic), err, bytes.Equal(pic, j), bytes.Equal(pic, p), r.reads, r.bytes-int64(len(pic)))
	}
}
