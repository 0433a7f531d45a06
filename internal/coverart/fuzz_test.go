package coverart

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"runtime/metrics"
	"slices"
	"strings"
	"testing"
)

// Each container has a fuzz target with its own seeds. All targets check the same invariants: no panic, bounded memory and
// reads, a picture that is part of the file, and texts that are safe to show.

func FuzzID3(f *testing.F)      { fuzz(f, "id3", "mp3", "aac") }
func FuzzAPE(f *testing.F)      { fuzz(f, "ape", "ape", "mpc", "wv", "tak", "ofr") }
func FuzzFLAC(f *testing.F)     { fuzz(f, "flac", "flac") }
func FuzzOgg(f *testing.F)      { fuzz(f, "ogg", "ogg", "oga", "opus", "spx") }
func FuzzMP4(f *testing.F)      { fuzz(f, "mp4", "m4a", "mp4", "m4b", "3gp") }
func FuzzRIFF(f *testing.F)     { fuzz(f, "riff", "wav", "aiff", "dsf", "dff") }
func FuzzASF(f *testing.F)      { fuzz(f, "asf", "wma") }
func FuzzMatroska(f *testing.F) { fuzz(f, "matroska", "mka", "mkv", "webm") }

// FuzzFindNth checks the order of the pictures in files of every container.
func FuzzFindNth(f *testing.F) {
	for _, s := range songs() {
		if len(s.data) <= maxSeed {
			f.Add(s.data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		checkOrder(t, data)
	})
}

const maxSeed = 16 << 10 // bytes; mutations of larger files find little

func fuzz(f *testing.F, container string, folders ...string) {
	for _, s := range songs() {
		if s.container == container && len(s.data) <= maxSeed {
			f.Add(s.data)
		}
	}
	for _, folder := range folders { // the corpus is optional
		names, _ := filepath.Glob(filepath.Join(corpusDir, folder, "*"))
		for _, name := range names {
			if data, err := os.ReadFile(name); err == nil && len(data) <= maxSeed {
				f.Add(data)
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		checkInvariants(t, data)
		checkTags(t, data)
	})
}

func checkInvariants(t *testing.T, data []byte) {
	t.Helper()
	allocated := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(allocated)
	before := allocated[0].Value.Uint64()
	r := &reader{r: bytes.NewReader(data)}
	pic, err := Find(context.Background(), r, int64(len(data)))
	metrics.Read(allocated)
	if got := allocated[0].Value.Uint64() - before; got > 64<<20 {
		t.Errorf("allocated %d bytes for a file of %d", got, len(data))
	}
	if r.reads > maxSteps {
		t.Errorf("%d reads", r.reads)
	}
	switch {
	case err == nil && (len(pic) < minPicture || !isPicture(pic)):
		t.Errorf("not a picture: %.40q", pic)
	case err == nil && !within(data, pic):
		t.Errorf("the picture is not in the file: %.40q", pic)
	case err != nil && pic != nil:
		t.Errorf("picture and error: %v", err)
	case err != nil && !errors.Is(err, ErrNoPicture) && !errors.Is(err, ErrUnsupported) && !errors.Is(err, ErrCorrupt):
		t.Error(err)
	}
}

// checkOrder checks that FindNth returns a bounded number of different pictures, each of which is in data, and the same
// pictures in a second call.
func checkOrder(t *testing.T, data []byte) {
	t.Helper()
	var pics [][]byte
	find := func(n int) ([]byte, error) {
		return FindNth(context.Background(), bytes.NewReader(data), int64(len(data)), n)
	}
	for {
		pic, err := find(len(pics))
		if err != nil {
			if pic != nil || !errors.Is(err, ErrNoPicture) && !errors.Is(err, ErrUnsupported) && (len(pics) > 0 || !errors.Is(err, ErrCorrupt)) {
				t.Errorf("picture %d: %d bytes, %v", len(pics), len(pic), err)
			}
			break
		}
		if len(pic) < minPicture || !isPicture(pic) || !within(data, pic) {
			t.Fatalf("picture %d is not a picture in the file: %.40q", len(pics), pic)
		}
		if slices.ContainsFunc(pics, func(p []byte) bool { return bytes.Equal(p, pic) }) {
			t.Fatalf("picture %d is the same as one before", len(pics))
		}
		if pics = append(pics, pic); len(pics) > maxCandidates+1 {
			t.Fatal("too many pictures")
		}
	}
	for n := range pics {
		if pic, err := find(n); err != nil || !bytes.Equal(pic, pics[n]) {
			t.Fatalf("picture %d differs in the second call: %v", n, err)
		}
	}
}

// within reports whether pic is in data, either unchanged or in an encoding that data uses: unsynchronised, compressed or
// base64.
func within(data, pic []byte) bool {
	if bytes.Contains(data, pic) {
		return true
	}
	if bytes.Contains(data, []byte("ID3")) && (bytes.Contains(data, []byte{0xFF, 0}) || bytes.Contains(data, []byte("\x78"))) {
		return true
	}
	if !bytes.Contains(data, []byte("OggS")) && !bytes.Contains(data, []byte("fLaC")) {
		return false
	}
	// Page headers and white space may interrupt the text anywhere, so only the beginning is compared.
	text := strings.Join(strings.Fields(string(data)), "")
	text = strings.NewReplacer("-", "+", "_", "/").Replace(text)
	for shift := range 3 {
		head := base64.RawStdEncoding.EncodeToString(pic[shift:min(len(pic), shift+12)])
		if strings.Contains(text, head[:8]) {
			return true
		}
	}
	return bytes.Contains(data, pic[:8])
}

// TestInvariants checks the invariants of the fuzz targets on every song.
func TestInvariants(t *testing.T) {
	for _, s := range songs() {
		t.Run(s.container+"/"+s.name, func(t *testing.T) {
			checkInvariants(t, s.data)
			checkTags(t, s.data)
			if !s.isBomb() {
				checkOrder(t, s.data)
			}
		})
	}
}
