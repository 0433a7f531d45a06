package thumbcache

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// Without a folder for temporary files, media that is not a file is spooled to memory. What is too large for that is an error of the
// configuration, which is logged once.
func TestNoTempDir(t *testing.T) {
	needFFmpeg(t)
	if runtime.GOOS != "linux" {
		t.Skip("files in memory are a feature of Linux")
	}
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "missing"))
	// A video of red frames without compression.
	header := "YUV4MPEG2 W256 H256 F1:1 C420\n"
	frame := "FRAME\n" + strings.Repeat("\x55", 256*256) + strings.Repeat("\x67", 128*128) + strings.Repeat("\xcb", 128*128)
	small := []byte(header + frame)
	large := []byte(header + strings.Repeat(frame, 65<<20/len(frame)+1))
	p := newTestProvider()
	p.set("small", tag("1"), small)
	p.set("large", tag("1"), large)
	var log bytes.Buffer
	c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	checkColor(t, mustGet(t, c, "p", "small", 10), red)
	for range 3 {
		_, err := c.Get(t.Context(), "p", "large", 10)
		if status := HTTPStatus(err); !needsTempDir(err) || isPermanent(err) || status != 503 || strings.Contains(err.Error(), "missing") {
			t.Errorf("%v, status %d", err, status)
		}
	}
	if n := strings.Count(log.String(), "temporary files"); n != 2 { // the message and its error, in one line
		t.Errorf("%d times:\n%s", n, log.String())
	}
	c = mustNew(t, Config{Providers: map[string]Provider{"p": p}, Dir: t.TempDir()})
	checkColor(t, mustGet(t, c, "p", "large", 10), red)
}
