package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"image"
	"image/color"
	"image/png"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	_ "golang.org/x/image/webp" // for TestGet

	"github.com/thumbcache/thumbcache"
	"github.com/thumbcache/thumbcache/internal/store"
)

// A commandResult is the exit code and the output of a command.
type commandResult struct {
	code     int
	out, err string
}

// runCommand runs the command as main does, except that its outputs are not terminals.
func runCommand(t *testing.T, args ...string) commandResult {
	t.Helper()
	return runCommandOn(t.Context(), &console{width: func() int { return 80 }}, args...)
}

// runCommandOn runs the command with the streams of c. It sets and records those that are nil.
func runCommandOn(ctx context.Context, c *console, args ...string) commandResult {
	var out, err bytes.Buffer
	if c.out == nil {
		c.out = &out
	}
	if c.err == nil {
		c.err = &err
	}
	code := run(ctx, args, c)
	return commandResult{code, out.String(), err.String()}
}

// runJSON runs a command with --json and decodes its output. The exit code must be code, and no field may be unknown.
func runJSON[T any](t *testing.T, code int, args ...string) (v T) {
	t.Helper()
	r := runCommand(t, append(args, "--json")...)
	d := json.NewDecoder(strings.NewReader(r.out))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil || d.More() || r.code != code {
		t.Fatalf("%v: %d, %v\n%s%s", args, r.code, err, r.out, r.err)
	}
	return v
}

// sampleFolder returns the path of the sample library.
func sampleFolder(t *testing.T) string {
	t.Helper()
	folder, err := findSampleLibrary()
	if err != nil {
		t.Fatal(err)
	}
	return folder
}

// copySample copies a file of the sample library to a new file.
func copySample(t *testing.T, path, to string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(sampleFolder(t), path))
	if err == nil {
		err = os.WriteFile(to, data, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// openCache returns a cache of folder with its thumbnails in dir. It is closed at the end of the test.
func openCache(t *testing.T, folder, dir string) *thumbcache.Cache {
	t.Helper()
	c, err := thumbcache.New(thumbcache.Config{
		Providers:     map[string]thumbcache.Provider{providerName: thumbcache.Files(folder)},
		Dir:           dir,
		MemoryEntries: -1,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

const (
	song    = "Ada Rings/First Light/01 Old Tag.mp3"
	glass   = "Pictures/Glass.png"
	photo   = "Pictures/Held Sideways.jpg"
	noCover = "Nobody/No Cover.mp3"
	broken  = "Nobody/Broken.flac"
)

// fillFolder returns a thumbnail folder that a cache has filled with five thumbnails of three sources, and with failure
// records of two more.
func fillFolder(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "thumbs")
	c := openCache(t, sampleFolder(t), dir)
	defer c.Close()
	for _, req := range []thumbcache.Request{
		{Path: song, Size: 64}, {Path: song, Size: 32},
		{Path: glass, Size: 64, Format: thumbcache.PNG}, {Path: photo, Size: 64, Fit: thumbcache.Cover}, {Path: photo},
		{Path: noCover, Size: 64}, {Path: broken, Size: 64},
	} {
		req.Provider = providerName
		if _, err := c.Do(t.Context(), req); err != nil && req.Path != noCover && req.Path != broken {
			t.Fatal(err)
		}
	}
	return dir
}

// thumbnailFile returns the path of a stored file.
func thumbnailFile(dir string, k store.Key) string {
	k.Provider = providerName
	f := store.FileOf(&k)
	return filepath.Join(dir, f.Folder, f.Name)
}

// rewriteFile replaces the content of a file by the result of edit.
func rewriteFile(t *testing.T, name string, edit func(data []byte) []byte) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err == nil {
		err = os.WriteFile(name, edit(data), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func fileExists(name string) bool {
	_, err := os.Lstat(name)
	return err == nil
}

// checkContains fails the test unless text contains all parts.
func checkContains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%q is missing in:\n%s", p, text)
		}
	}
}

func TestStat(t *testing.T) {
	t.Parallel()
	dir := fillFolder(t)
	old := time.Now().Add(-50 * time.Hour)
	if err := os.Chtimes(thumbnailFile(dir, store.Key{Path: song, Size: 32}), old, old); err != nil {
		t.Fatal(err)
	}
	rewriteFile(t, thumbnailFile(dir, store.Key{Path: broken, None: true}), func(b []byte) []byte { return b[:20] })
	temp := thumbnailFile(dir, store.Key{Path: song, Size: 64}) + ".0123456789abcdef.tmp"
	if err := os.WriteFile(temp, []byte("half"), 0o644); err != nil {
		t.Fatal(err)
	}
	st := runJSON[statResult](t, exitOK, "stat", dir)
	var kinds []string
	for _, k := range st.Thumbnails {
		kinds = append(kinds, k.String())
	}
	if want := []string{"original", "32 px", "64 px", "64 px, PNG", "64 px, square"}; !slices.Equal(kinds, want) {
		t.Errorf("got %q", kinds)
	}
	if st.Files != 8 || st.NoPicture["no_picture"].Files != 1 || st.NoPicture["unreadable"].Files != 1 || st.Temporary != (tally{1, 4}) {
		t.Errorf("got %+v", st)
	}
	if !st.LeastRecent.Equal(old) && st.LeastRecent.Sub(old).Abs() > time.Second || time.Since(*st.MostRecent) > time.Minute {
		t.Errorf("least recent %v, most recent %v", st.LeastRecent, st.MostRecent)
	}
	r := runCommand(t, "stat", dir)
	checkContains(t, r.out, "\n64 px, square                     1 ", "\nno picture                        1 ", "\nno picture: unreadable ", "\ntemporary ", "\ntotal                             8 ", "(2 days ago)")
	if r.code != exitOK || r.err != "" {
		t.Errorf("got %+v", r)
	}
	empty := t.TempDir()
	openCache(t, sampleFolder(t), empty).Close()
	if st := runJSON[statResult](t, exitOK, "stat", empty); st.Files != 0 || st.LeastRecent != nil {
		t.Errorf("got %+v", st)
	}
	if err := os.WriteFile(filepath.Join(empty, "00"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"stat", "verify"} {
		if r := runCommand(t, name, empty); r.code != exitFailed || r.err != "thumbcache: 1 folder could not be read\n" {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	dir := fillFolder(t)
	r := runCommand(t, "verify", dir)
	if r != (commandResult{exitOK, "7 files good, 0 bad\n", ""}) {
		t.Errorf("got %+v", r)
	}
	flipped, cut := thumbnailFile(dir, store.Key{Path: song, Size: 64}), thumbnailFile(dir, store.Key{Path: photo})
	moved, other := thumbnailFile(dir, store.Key{Path: song, Size: 32}), thumbnailFile(dir, store.Key{Path: glass, Size: 64, PNG: true})
	rewriteFile(t, flipped, func(b []byte) []byte { b[len(b)/3] ^= 4; return b })
	rewriteFile(t, cut, func(b []byte) []byte { return b[:len(b)-100] })
	rewriteFile(t, other, func(b []byte) []byte { b[bytes.LastIndex(b, []byte("TCSEAL"))+6]++; return b })
	data, err := os.ReadFile(thumbnailFile(dir, store.Key{Path: photo, Size: 64, Cover: true}))
	if err != nil {
		t.Fatal(err)
	}
	rewriteFile(t, moved, func([]byte) []byte { return data })

	r = runCommand(t, "verify", dir)
	checkContains(t, r.out, filepath.Base(flipped)+": wrong checksum\n", filepath.Base(cut)+": no trailer\n", filepath.Base(moved)+": another file's content\n",
		"3 files good, 3 bad (use --repair to remove them), 1 in another format version\n")
	if r.code != exitFailed || r.err != "" || strings.Contains(r.out, filepath.Base(other)) {
		t.Errorf("got %+v", r)
	}
	v := runJSON[verifyResult](t, exitFailed, "verify", dir)
	if v.Good != 3 || v.OtherVersion != 1 || len(v.Bad) != 3 || v.Bad[0].Removed {
		t.Errorf("got %+v", v)
	}
	v = runJSON[verifyResult](t, exitOK, "verify", dir, "--repair")
	if len(v.Bad) != 3 || !v.Bad[0].Removed || fileExists(flipped) || fileExists(cut) || fileExists(moved) || !fileExists(other) {
		t.Errorf("got %+v", v)
	}
	r = runCommand(t, "verify", dir, "--repair")
	if r != (commandResult{exitOK, "3 files good, 0 bad, 1 in another format version\n", ""}) {
		t.Errorf("got %+v", r)
	}
	// On a terminal it shows progress, and clears it at the end.
	rewriteFile(t, thumbnailFile(dir, store.Key{Path: broken, None: true}), func([]byte) []byte { return nil })
	r = runCommandOn(t.Context(), &console{errIsTerminal: true, width: func() int { return 80 }}, "verify", dir, "--repair")
	checkContains(t, r.out, ".none: too short, removed\n2 files good, 1 bad (removed), 1 in")
	if !strings.HasPrefix(r.err, "\r[---") || !strings.HasSuffix(r.err, " \r") || strings.Contains(r.err, "\n") || r.code != exitOK {
		t.Errorf("got %+v", r)
	}
}

func TestGC(t *testing.T) {
	t.Parallel()
	dir := fillFolder(t)
	oldest := thumbnailFile(dir, store.Key{Path: photo})
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(oldest, old, old); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(oldest)
	if err != nil {
		t.Fatal(err)
	}
	before := runJSON[gcResult](t, exitOK, "gc", dir, "--max-bytes", "1GiB")
	if before.Removed.Files != 0 || before.Left.Files != 7 {
		t.Errorf("got %+v", before)
	}
	limit := formatCount(before.Left.Bytes - 1)
	limit = strings.ReplaceAll(limit, ",", "")
	dry := runJSON[gcResult](t, exitOK, "gc", dir, "--max-bytes", limit, "--dry-run")
	if !fileExists(oldest) || !dry.DryRun {
		t.Errorf("the dry run removed files: %+v", dry)
	}
	g := runJSON[gcResult](t, exitOK, "gc", dir, "--max-bytes", limit)
	if g.Removed != (tally{1, info.Size()}) || fileExists(oldest) {
		t.Errorf("got %+v", g)
	}
	if g.DryRun = true; g != dry {
		t.Errorf("the dry run reported %+v, but then gc reported %+v", dry, g)
	}
	if r := runCommand(t, "gc", dir, "--max-bytes", "0", "--dry-run"); !strings.HasPrefix(r.out, "Would remove 6 files (") {
		t.Errorf("got %+v", r)
	}
	if r := runCommand(t, "gc", dir, "--max-bytes", "0"); !strings.HasPrefix(r.out, "Removed 6 files (") || !strings.HasSuffix(r.out, "; 0 files (0 bytes) left.\n") {
		t.Errorf("got %+v", r)
	}
}

// Commands that change the folder of a running server cause no failed request and no wrong byte.
func TestCommandsWhileServing(t *testing.T) {
	t.Parallel()
	dir := fillFolder(t)
	c := openCache(t, sampleFolder(t), dir)
	reqs := []thumbcache.Request{
		{Path: song, Size: 64}, {Path: song, Size: 32}, {Path: glass, Size: 64, Format: thumbcache.PNG}, {Path: photo, Size: 64, Fit: thumbcache.Cover},
	}
	var want [4][]byte
	for i := range reqs {
		reqs[i].Provider = providerName
		first, err := c.Do(t.Context(), reqs[i])
		if err != nil {
			t.Fatal(err)
		}
		want[i] = first.Data
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	for i, req := range reqs {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if got, err := c.Do(t.Context(), req); err != nil || !bytes.Equal(got.Data, want[i]) {
					t.Errorf("%+v: %v", req, err)
					return
				}
			}
		})
	}
	for range 3 {
		for _, args := range [][]string{
			{"stat", dir}, {"gc", dir, "--max-bytes", "5000"}, {"verify", dir, "--repair"}, {"rm", dir, providerName, song},
			{"explain", dir, providerName, song, "64"}, {"gc", dir, "--max-bytes", "0", "--dry-run"},
		} {
			if r := runCommand(t, args...); r.code != exitOK || strings.Contains(r.out, "bad (") {
				t.Errorf("%v: %+v", args, r)
			}
		}
	}
	close(done)
	wg.Wait()
	if s := c.Stats(); s.Corrupt > 0 || s.DiskErrors > 0 || s.Failures > 0 {
		t.Errorf("got %+v", s)
	}
}

func TestRm(t *testing.T) {
	t.Parallel()
	dir := fillFolder(t)
	if r := runJSON[rmResult](t, exitOK, "rm", dir, providerName, song); r != (rmResult{Provider: providerName, Path: song, Removed: 2}) {
		t.Errorf("got %+v", r)
	}
	c := openCache(t, sampleFolder(t), dir)
	for path, extractions := range map[string]uint64{song: 1, photo: 0} {
		before := c.Stats().Extractions
		req := thumbcache.Request{Provider: providerName, Path: path, Size: 64}
		if path == photo {
			req.Fit = thumbcache.Cover
		}
		if _, err := c.Do(t.Context(), req); err != nil || c.Stats().Extractions-before != extractions {
			t.Errorf("%s: %v, %+v", path, err, c.Stats())
		}
	}
	for _, tc := range []struct{ path, want string }{
		{noCover, "Removed 1 file for Nobody/No Cover.mp3 in library.\n"},
		{noCover, "Nothing was stored for Nobody/No Cover.mp3 in library.\n"},
		{"\x1b[31mred\n", "Nothing was stored for \"\\x1b[31mred\\n\" in library.\n"},
	} {
		if r := runCommand(t, "rm", dir, providerName, tc.path); r != (commandResult{exitOK, tc.want, ""}) {
			t.Errorf("got %+v", r)
		}
	}
}

func TestGet(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	in := func(name string) string { return filepath.Join(folder, name) }
	link := in("link")
	_ = os.Symlink(filepath.Join(sampleFolder(t), song), link)
	if _, err := os.Stat(link); err != nil { // symbolic links are not available
		link = filepath.Join(sampleFolder(t), song)
	}
	for _, tc := range []struct {
		file, out, format, contentType string
		more                           []string
		width, height                  int
	}{
		{link, "a.jpg", "jpeg", "image/jpeg", nil, 300, 300},
		{filepath.Join(sampleFolder(t), glass), "b.PNG", "png", "image/png", []string{"--size", "50"}, 50, 50},
		{filepath.Join(sampleFolder(t), glass), "d.webp", "webp", "image/webp", []string{"--size", "50"}, 50, 50},
		{filepath.Join(sampleFolder(t), photo), "c.png", "jpeg", "image/jpeg", []string{"--format", "jpg", "--fit", "cover", "--size", "40"}, 40, 40},
		{filepath.Join(sampleFolder(t), photo), "a.jpg", "jpeg", "image/jpeg", []string{"--size", "0"}, 0, 0}, // replaces the first
	} {
		args := append([]string{"get", tc.file, "-o", in(tc.out)}, tc.more...)
		m := runJSON[getResult](t, exitOK, args...)
		data, err := os.ReadFile(in(tc.out))
		if err != nil {
			t.Fatal(err)
		}
		img, format, err := image.DecodeConfig(bytes.NewReader(data))
		if err != nil || format != tc.format || m.Type != tc.contentType || m.Width != img.Width || m.Height != img.Height || m.Bytes != len(data) {
			t.Errorf("%v: %v, format %s, result %+v", args, err, format, m)
		}
		if tc.width > 0 && (img.Width != tc.width || img.Height != tc.height) {
			t.Errorf("%v: %d x %d", args, img.Width, img.Height)
		}
	}
	r := runCommand(t, "get", filepath.Join(sampleFolder(t), song), "-o", "-", "--size", "20")
	if _, format, err := image.DecodeConfig(strings.NewReader(r.out)); err != nil || format != "jpeg" || r.code != exitOK || r.err != "" {
		t.Errorf("%v %d %s", err, r.code, r.err)
	}
}

// The option --focus decides which part of the picture a cropped thumbnail shows.
func TestGetFocus(t *testing.T) {
	t.Parallel()
	file, out := filepath.Join(t.TempDir(), "wide.png"), filepath.Join(t.TempDir(), "out.png")
	wide := image.NewGray(image.Rect(0, 0, 90, 30))
	for x := range 90 {
		for y := range 30 {
			wide.SetGray(x, y, color.Gray{Y: uint8(x / 30 * 100)})
		}
	}
	var b bytes.Buffer
	if err := cmp.Or(png.Encode(&b, wide), os.WriteFile(file, b.Bytes(), 0o644)); err != nil {
		t.Fatal(err)
	}
	for focus, want := range map[string]uint32{"0,0.5": 0, "0.5,0.5": 100, "1,1": 200} {
		if r := runCommand(t, "get", file, "-o", out, "--size", "30", "--fit", "cover", "--focus", focus); r.code != exitOK {
			t.Fatalf("%+v", r)
		}
		data, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		m, err := png.Decode(bytes.NewReader(data))
		if err != nil || m.Bounds() != image.Rect(0, 0, 30, 30) {
			t.Fatal(err)
		}
		if got, _, _, _ := m.At(15, 15).RGBA(); got>>8 != want {
			t.Errorf("focus %s: %d in the middle, want %d", focus, got>>8, want)
		}
	}
}

// A failing get writes nothing.
func TestGetErrors(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	in := func(name string) string { return filepath.Join(folder, name) }
	bad, text := in("broken.flac"), in("notes.txt")
	copySample(t, broken, bad)
	copySample(t, photo, in("a.jpg"))
	copySample(t, photo, in("b.jpg")) // a single picture would represent the folder
	if err := os.WriteFile(text, []byte("no picture at all"), 0o644); err != nil {
		t.Fatal(err)
	}
	before := listTree(t, folder)
	for _, tc := range []struct {
		code int
		want string // in stderr
		args []string
	}{
		{exitFailed, "broken.flac: " + describeError(thumbcache.ErrCorrupt), []string{bad, "-o", in("x.jpg")}},
		{exitFailed, "broken.flac: " + describeError(thumbcache.ErrCorrupt), []string{bad, "-o", "-"}},
		{exitFailed, "notes.txt: ", []string{text, "-o", in("x.jpg")}}, // unsupported, or ffmpeg is not installed
		{exitFailed, "none: ", []string{in("none"), "-o", in("x.jpg")}},
		{exitFailed, describeError(thumbcache.ErrNoPicture), []string{filepath.Join(sampleFolder(t), noCover), "-o", in("x.jpg")}},
		{exitFailed, "a.jpg: output and input are the same file", []string{in("a.jpg"), "-o", in("a.jpg")}},
		{exitFailed, "", []string{in("a.jpg"), "-o", filepath.Join(folder, "none", "x.jpg")}},
		{exitUsage, "-o is required", []string{bad}},
		{exitUsage, "--format is required", []string{bad, "-o", in("x.txt")}},
		{exitUsage, "SIZE must be a number", []string{bad, "-o", in("x.jpg"), "--size", "-1"}},
		{exitUsage, "SIZE must be a number", []string{bad, "-o", in("x.jpg"), "--size", "300x"}},
		{exitUsage, "contain or cover", []string{bad, "-o", in("x.jpg"), "--fit", "fill"}},
		{exitUsage, "--focus needs --fit cover", []string{bad, "-o", in("x.jpg"), "--focus", "0.3,0.7"}},
		{exitUsage, "must be two numbers", []string{bad, "-o", in("x.jpg"), "--fit", "cover", "--focus", "0.3"}},
		{exitUsage, "must be two numbers", []string{bad, "-o", in("x.jpg"), "--fit", "cover", "--focus", "0.3,"}},
		{exitUsage, "must be two numbers", []string{bad, "-o", in("x.jpg"), "--fit", "cover", "--focus", "0.3,1.1"}},
		{exitUsage, "must be two numbers", []string{bad, "-o", in("x.jpg"), "--fit", "cover", "--focus", "0.3,1e-1"}},
		{exitUsage, "must be two numbers", []string{bad, "-o", in("x.jpg"), "--fit", "cover", "--focus", "0,0,0"}},
		{exitUsage, "cannot be combined", []string{bad, "-o", "-", "--json"}},
	} {
		r := runCommand(t, append([]string{"get"}, tc.args...)...)
		if r.code != tc.code || r.out != "" || !strings.Contains(r.err, tc.want) {
			t.Errorf("%v: %+v", tc.args, r)
		}
	}
	if after := listTree(t, folder); !slices.Equal(after, before) {
		t.Errorf("the files changed from %v to %v", before, after)
	}
	r := runCommandOn(t.Context(), &console{outIsTerminal: true}, "get", filepath.Join(sampleFolder(t), song), "-o", "-")
	if r.code != exitUsage || r.out != "" || !strings.Contains(r.err, "terminal") {
		t.Errorf("got %+v", r)
	}
}

// listTree returns the paths of all files and folders below folder, and folder itself.
func listTree(t *testing.T, folder string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(folder, func(name string, _ fs.DirEntry, err error) error {
		found = append(found, name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestWarm(t *testing.T) {
	for _, name := range []string{"XDG_CACHE_HOME", "HOME", "LocalAppData"} { // os.UserCacheDir uses one of these
		t.Setenv(name, t.TempDir())
	}
	folder := t.TempDir()
	for _, name := range []string{"b.png", "c/a.png", "c/d/a.png", ".hidden.png", ".git/a.png"} {
		writePicture(t, filepath.Join(folder, filepath.FromSlash(name)))
	}
	copySample(t, broken, filepath.Join(folder, "broken.flac"))
	for _, link := range []struct{ to, name string }{{"/etc", "out"}, {"/etc/hosts", "out.png"}, {"c", "in"}, {"b.png", "c/in.png"}} {
		if err := os.Symlink(link.to, filepath.Join(folder, link.name)); err != nil {
			t.Log(err)
		}
	}
	first := runJSON[warmResult](t, exitOK, "warm", folder, "--sizes", "30,20", "--jobs", "2")
	if first.Warmed != (thumbcache.Warmed{Extracted: 3, NoPicture: 1}) || first.Provider != providerName || len(first.Failures) > 0 {
		t.Errorf("got %+v", first)
	}
	r := runCommand(t, "warm", folder, "--sizes", "30,20")
	if r.code != exitOK || !strings.HasPrefix(r.out, "Done: 4 files in ") || !strings.Contains(r.out, "s: 0 extracted, 3 reused, 1 without a picture, 0 failed\n") {
		t.Errorf("got %+v", r)
	}
	if n := storedBytes(first.Dir); n < 1000 || storedBytes(t.TempDir()) != 0 || first.MaxBytes != int64(defaultLimit) {
		t.Errorf("%d bytes stored; got %+v", n, first)
	}
	// The thumbnails are in the folder that serve uses.
	dir, err := defaultThumbnailDir(folder)
	if err != nil || dir != first.Dir {
		t.Fatalf("%s, %s %v", first.Dir, dir, err)
	}
	c := openCache(t, folder, dir)
	if _, err := c.Do(t.Context(), thumbcache.Request{Provider: providerName, Path: "c/d/a.png", Size: 20}); err != nil || c.Stats().DiskHits != 1 {
		t.Errorf("%v %+v", err, c.Stats())
	}
	// explain uses the same folder.
	if x := runJSON[explainResult](t, exitOK, "explain", providerName, "c/d/a.png", "20", "--media", folder); !x.Thumbnail.Usable {
		t.Errorf("got %+v", x.Thumbnail)
	}
	if r := runCommand(t, "warm", folder, "--dir", t.TempDir(), "--provider", "mine", "--max-bytes", "1"); r.code != exitOK {
		t.Errorf("got %+v", r)
	}
	// The format may be that of another server.
	dir = t.TempDir()
	for _, format := range []string{"jpeg", "webp"} {
		if w := runJSON[warmResult](t, exitOK, "warm", folder, "--dir", dir, "--sizes", "20", "--format", format); w.Extracted != 3 || w.Format != format {
			t.Errorf("%s: got %+v", format, w)
		}
	}
	if st := runJSON[statResult](t, exitOK, "stat", dir); st.Files != 7 { // with the failure
		t.Errorf("%d files, want 3 thumbnails in 2 formats, and a failure", st.Files)
	}
	unwritable := t.TempDir()
	openCache(t, folder, unwritable).Close()
	if err := os.WriteFile(filepath.Dir(thumbnailFile(unwritable, store.Key{Path: "b.png"})), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if r := runCommand(t, "warm", folder, "--dir", unwritable); r.code != exitFailed || !strings.Contains(r.err, "some thumbnails may not be stored") {
		t.Errorf("got %+v", r)
	}
	if r := runCommand(t, "warm", folder, "--dir", folder); r.code != exitFailed || !strings.Contains(r.err, store.ErrForeign.Error()) {
		t.Errorf("got %+v", r)
	}
}

// A writerFunc is a writer that calls a function.
type writerFunc func(string)

func (h writerFunc) Write(p []byte) (int, error) {
	h(string(p))
	return len(p), nil
}

// Ctrl-C stops warming, and the next run continues. Failed files are listed.
func TestWarmInterrupted(t *testing.T) {
	t.Setenv("PATH", "") // ffmpeg is not found
	folder, dir := t.TempDir(), t.TempDir()
	for i := range 40 {
		writePicture(t, filepath.Join(folder, string(rune('a'+i/10))+string(rune('0'+i%10))+".png"))
	}
	film, err := os.ReadFile(filepath.Join(sampleFolder(t), "Films", "Over the Hills.mp4"))
	if err != nil {
		t.Fatal(err)
	}
	name := "a3\n\x1b[2J.mp4"
	if err := os.WriteFile(filepath.Join(folder, name), film, 0o644); err != nil {
		t.Skip(err) // the system does not allow this name
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var output string
	c := &console{err: writerFunc(func(s string) {
		output += s
		if strings.Contains(s, "a3") {
			stop()
		}
	})}
	r := runCommandOn(ctx, c, "warm", folder, "--dir", dir, "--sizes", "20", "--jobs", "1", "--json")
	var w warmResult
	if err := json.Unmarshal([]byte(r.out), &w); err != nil || r.code != exitInterrupted || !w.Interrupted || w.Extracted == 0 || w.Extracted > 20 || w.Failed != 1 {
		t.Fatalf("%v %+v %+v", err, r, w)
	}
	if len(w.Failures) != 1 || w.Failures[0].Path != name {
		t.Errorf("got %+v", w.Failures)
	}
	checkContains(t, output, `"a3\n\x1b[2J.mp4": `, "ffmpeg", "\nffmpeg was not found; ", "\nthumbcache: interrupted\n")
	if strings.Contains(output, "\x1b") {
		t.Errorf("got %q", output)
	}
	again := runJSON[warmResult](t, exitFailed, "warm", folder, "--dir", dir, "--sizes", "20")
	// Up to two more may have been stored while the first run was being canceled.
	if again.Reused < w.Extracted || again.Reused > w.Extracted+2 || again.Reused+again.Extracted != 40 || again.Failed != 1 {
		t.Errorf("first %+v, then %+v", w, again)
	}
	r = runCommandOn(ctx, &console{}, "warm", folder, "--dir", dir)
	checkContains(t, r.out, "Interrupted; run the same command to continue. So far: 0 files")
	if r.code != exitInterrupted {
		t.Errorf("got %+v", r)
	}
}

// explainedFolder returns a media folder with a.png and a corrupt song, and a thumbnail folder with three thumbnails of a.png
// and a failure record.
func explainedFolder(t *testing.T) (folder, dir string) {
	t.Helper()
	folder, dir = t.TempDir(), t.TempDir()
	writePicture(t, filepath.Join(folder, "a.png"))
	copySample(t, photo, filepath.Join(folder, "b.jpg")) // a single picture would represent the folder
	copySample(t, broken, filepath.Join(folder, "broken.flac"))
	c := openCache(t, folder, dir)
	defer c.Close()
	for _, req := range []thumbcache.Request{
		{Path: "a.png", Size: 20, Version: "v1"}, {Path: "a.png", Size: 30, Fit: thumbcache.Cover}, {Path: "a.png"},
		{Path: "broken.flac", Size: 20},
	} {
		req.Provider = providerName
		if _, err := c.Do(t.Context(), req); (err != nil) != (req.Path == "broken.flac") {
			t.Fatal(err)
		}
	}
	return folder, dir
}

// explainJSON runs the command explain, which must succeed.
func explainJSON(t *testing.T, args ...string) *explainResult {
	t.Helper()
	x := runJSON[explainResult](t, exitOK, append([]string{"explain"}, args...)...)
	return &x
}

// checkWhyNot fails the test unless f is not usable for a reason that contains want, or usable if want is "".
func checkWhyNot(t *testing.T, f *fileFacts, want string) {
	t.Helper()
	if got := strings.Join(f.WhyNot, "; "); !strings.Contains(got, want) || (got == "") != (want == "") || f.Usable != (want == "") {
		t.Errorf("usable %v, reasons %q, want %q", f.Usable, got, want)
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	folder, dir := explainedFolder(t)
	x := explainJSON(t, dir, providerName, "a.png", "20")
	checkWhyNot(t, x.Thumbnail, "")
	content := x.Thumbnail.Content
	if content.Width != 20 || content.Quality != 85 || content.Version != "v1" || *content.Kind != (kind{Size: 20, Fit: "contain", Format: "jpeg"}) || len(x.Others) != 2 || x.NoPicture != nil {
		t.Errorf("got %+v, content %+v", x, content)
	}
	x = explainJSON(t, dir, providerName, "a.png", "20", "--media", folder)
	checkWhyNot(t, x.Thumbnail, "")
	var stages []string
	for _, s := range x.Media.Stages {
		stages = append(stages, s.Stage)
	}
	if x.Media.Width != 20 || x.Media.Error != "" || !reflect.DeepEqual(x.Media.Source, content.Source) || strings.Join(stages, " ") != "stat open extract render" {
		t.Errorf("media %+v, stages %v", x.Media, stages)
	}
	checkWhyNot(t, explainJSON(t, dir, providerName, "a.png", "20", "--quality", "90").Thumbnail, "quality 85; the server uses 90")
	checkWhyNot(t, explainJSON(t, dir, providerName, "a.png", "0").Thumbnail, "")
	checkWhyNot(t, explainJSON(t, dir, providerName, "a.png", "0", "--max-size", "1000").Thumbnail, "limited to 2048 px; the server's limit is 1000 px")
	if x := explainJSON(t, dir, providerName, "a.png", "30"); x.Thumbnail.Stored || x.Thumbnail.File == "" {
		t.Errorf("not stored: got %+v", x.Thumbnail)
	}
	if x := explainJSON(t, dir, providerName, "a.png", "30", "--fit", "cover"); !x.Thumbnail.Stored || !x.Thumbnail.Usable {
		t.Errorf("square: got %+v", x.Thumbnail)
	}
	x = explainJSON(t, dir, providerName, "broken.flac", "20", "--media", folder)
	if x.Thumbnail.Stored || x.NoPicture.Content.Holds != "corrupt" || x.Media.Error == "" || x.Media.Source == nil {
		t.Errorf("corrupt song: got %+v", x)
	}
	checkWhyNot(t, x.NoPicture, "")
	checkWhyNot(t, explainJSON(t, dir, providerName, "broken.flac", "20", "--failure-ttl", "0s").NoPicture, "--failure-ttl")

	r := runCommand(t, "explain", dir, providerName, "a.png", "20", "--media", folder)
	checkContains(t, r.out, "\nSource     a.png in library\n", "\n           requested as version v1\n", "\nContent    picture of 20 x 15, requested as 20 px\n",
		"\nUsable     yes, the source is unchanged\n", "\nOther thumbnails of the same source:\n", "\nResult now thumbnail of 20 x 15, ", "\n           extract ")
}

// The options of explain select each kind of thumbnail.
func TestExplainKinds(t *testing.T) {
	t.Parallel()
	folder, dir := t.TempDir(), t.TempDir()
	writePicture(t, filepath.Join(folder, "a.png"))
	c, err := thumbcache.New(thumbcache.Config{
		Providers: map[string]thumbcache.Provider{providerName: thumbcache.Files(folder)},
		Dir:       dir,
		Profiles:  thumbcache.DLNAProfiles(),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	tests := []struct {
		req  thumbcache.Request
		kind string
		args []string
	}{
		{thumbcache.Request{Size: 3000}, "2048 px", []string{"3000"}}, // no larger one is made
		{thumbcache.Request{Size: 20, Format: thumbcache.WebP}, "20 px, WebP", []string{"20", "--format", "webp"}},
		{thumbcache.Request{Size: 20, Fit: thumbcache.Cover, FocusX: 0.3, FocusY: 1}, "20 px, square, focus 0.3,1", []string{"20", "--fit", "cover", "--focus", "0.3,1"}},
		{thumbcache.Request{Size: 20, Fit: thumbcache.Cover}, "20 px, square", []string{"20", "--fit", "cover", "--focus", "0.5,0.5"}},
		{thumbcache.Request{Width: 20, Height: 9, Fit: thumbcache.Pad, Background: "blur"}, "20 x 9 px, padded with blur", []string{"20x9", "--fit", "pad", "--background", "blur"}},
		{thumbcache.Request{Size: 20, Fit: thumbcache.Pad}, "20 px, padded with ffffff", []string{"20", "--fit", "pad"}},
		{thumbcache.Request{Profile: "dlna-sm"}, "640 x 480 px", []string{"--profile", "dlna-sm"}},
		{thumbcache.Request{Profile: "dlna-png-tn"}, "160 px, PNG", []string{"--profile", "dlna-png-tn"}},
	}
	for _, test := range tests {
		test.req.Provider, test.req.Path = providerName, "a.png"
		if _, err := c.Do(t.Context(), test.req); err != nil {
			t.Fatal(err)
		}
	}
	c.Close()
	for _, test := range tests {
		x := explainJSON(t, append([]string{dir, providerName, "a.png", "--media", folder}, test.args...)...)
		if !x.Thumbnail.Stored {
			t.Errorf("%v: not stored; others are %v", test.args, x.Others)
			continue
		}
		checkWhyNot(t, x.Thumbnail, "")
		if got := x.Thumbnail.Content.Kind.String(); got != test.kind || x.Media.Error != "" {
			t.Errorf("%v: %s, want %s; %s", test.args, got, test.kind, x.Media.Error)
		}
	}
	// Without DIR, a profile has no SIZE either.
	checkContains(t, runCommand(t, "explain", providerName, "a.png", "--profile", "dlna-tn", "--media", folder, "--json").err, "does not exist")
	for want, args := range map[string][]string{
		`profile "none"`:            {"--profile", "none"},
		`background "red"`:          {"20", "--fit", "pad", "--background", "red"},
		"--focus needs --fit cover": {"20", "--focus", "0,0"},
		"but got 4 arguments":       {"20", "--profile", "dlna-tn"},
	} {
		if r := runCommand(t, append([]string{"explain", dir, providerName, "a.png"}, args...)...); r.code == exitOK || !strings.Contains(r.err, want) {
			t.Errorf("%v: %+v", args, r)
		}
	}
}

func TestExplainSingleFile(t *testing.T) {
	t.Parallel()
	folder, dir := explainedFolder(t)
	name := thumbnailFile(dir, store.Key{Path: "a.png", Size: 30, Cover: true})
	x := explainJSON(t, name)
	checkWhyNot(t, x.Thumbnail, "")
	if x.Path != "a.png" || x.Provider != providerName || x.Thumbnail.Content.Kind.Fit != "cover" {
		t.Errorf("got %+v", x)
	}
	checkWhyNot(t, explainJSON(t, name, "--media", folder).Thumbnail, "")
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := filepath.Join(t.TempDir(), "x.jpg")
	if err := os.WriteFile(elsewhere, data, 0o644); err != nil {
		t.Fatal(err)
	}
	checkWhyNot(t, explainJSON(t, elsewhere).Thumbnail, filepath.Base(name))
	if x := explainJSON(t, filepath.Join(folder, "a.png")); x.Thumbnail.Content != nil || x.Thumbnail.Damage == "" || x.Thumbnail.Usable {
		t.Errorf("foreign file: got %+v", x.Thumbnail)
	}
}

func TestExplainUnusableThumbnail(t *testing.T) {
	t.Parallel()
	folder, dir := explainedFolder(t)
	source, name := filepath.Join(folder, "a.png"), thumbnailFile(dir, store.Key{Path: "a.png", Size: 30, Cover: true})
	now := time.Now().Add(time.Hour)
	if err := os.Chtimes(source, now, now); err != nil {
		t.Fatal(err)
	}
	checkWhyNot(t, explainJSON(t, dir, providerName, "a.png", "20", "--media", folder).Thumbnail, "the source has changed")
	if err := os.Remove(source); err != nil {
		t.Fatal(err)
	}
	checkWhyNot(t, explainJSON(t, dir, providerName, "a.png", "20", "--media", folder).Thumbnail, "no longer exists")
	rewriteFile(t, name, func(b []byte) []byte { b[5] ^= 1; return b })
	if x := explainJSON(t, dir, providerName, "a.png", "30", "--fit", "cover"); x.Thumbnail.Damage != "wrong checksum" || x.Thumbnail.Usable || !fileExists(name) {
		t.Errorf("damaged file: got %+v", x.Thumbnail)
	}
	rewriteFile(t, name, func(b []byte) []byte { b[bytes.LastIndex(b, []byte("TCSEAL"))+6]++; return b })
	checkContains(t, runCommand(t, "explain", dir, providerName, "a.png", "30", "--fit", "cover").out, "Usable     no: it was written by another version of thumbcache")
}

// The thumbnail of a song without a cover depends on the cover images in its folder.
func TestExplainFolderArt(t *testing.T) {
	t.Parallel()
	folder, dir := t.TempDir(), t.TempDir()
	copySample(t, noCover, filepath.Join(folder, "a.mp3"))
	writePicture(t, filepath.Join(folder, "cover.png"))
	c := openCache(t, folder, dir)
	if _, err := c.Get(t.Context(), providerName, "a.mp3", 20); err != nil {
		t.Fatal(err)
	}
	c.Close()
	args := []string{"explain", dir, providerName, "a.mp3", "20", "--media", folder}
	checkContains(t, runCommand(t, args...).out, ", 1 cover image in its folder", "yes, the source is unchanged")
	now := time.Now().Add(time.Hour)
	if err := os.Chtimes(filepath.Join(folder, "cover.png"), now, now); err != nil {
		t.Fatal(err)
	}
	checkContains(t, runCommand(t, args...).out, "no: the cover images in the folder of the source have changed")
}

// A folder that is not a thumbnail folder is refused and left unchanged.
func TestForeignFolderIsRefused(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	writePicture(t, filepath.Join(folder, "ab", strings.Repeat("ab", 32)+"_300.jpg"))
	before := listTree(t, folder)
	missing := "none\x1b"
	if runtime.GOOS == "windows" {
		missing = "none" // control characters are not allowed in names
	}
	for _, args := range [][]string{{"stat"}, {"verify", "--repair"}, {"gc", "--max-bytes", "0"}, {"rm", providerName, "a"}, {"explain", providerName, "a", "300"}} {
		for dir, want := range map[string]string{
			folder:                         "is not a thumbnail folder",
			before[len(before)-1]:          "is not a thumbnail folder",
			filepath.Join(folder, missing): "does not exist",
		} {
			args := slices.Insert(slices.Clone(args), 1, dir)
			if r := runCommand(t, args...); r.code != exitFailed || r.out != "" || !strings.Contains(r.err, want) || strings.Contains(r.err, "\x1b") {
				t.Errorf("%v: %+v", args, r)
			}
		}
	}
	if after := listTree(t, folder); !slices.Equal(after, before) {
		t.Errorf("the files changed from %v to %v", before, after)
	}
}

func TestInterruptedCommands(t *testing.T) {
	t.Parallel()
	dir := fillFolder(t)
	ctx, stop := context.WithCancel(t.Context())
	stop()
	for _, args := range [][]string{
		{"stat", dir}, {"verify", dir}, {"verify", dir, "--json"}, {"gc", dir, "--max-bytes", "0"}, {"gc", dir, "--max-bytes", "0", "--dry-run"},
		{"get", filepath.Join(sampleFolder(t), song), "-o", "-"}, {"explain", dir, providerName, song, "64"},
	} {
		if r := runCommandOn(ctx, &console{}, args...); r.code != exitInterrupted || r.err != "thumbcache: interrupted\n" {
			t.Errorf("%v: %+v", args, r)
		}
	}
	if st := runJSON[statResult](t, exitOK, "stat", dir); st.Files != 7 {
		t.Errorf("got %+v", st)
	}
	// An interrupt is the normal way to stop serve.
	if r := runCommandOn(ctx, &console{}, "serve", sampleFolder(t), "--addr", "127.0.0.1:0", "--dir", t.TempDir()); r.code != exitOK || r.err != "" {
		t.Errorf("got %+v", r)
	}
}

// A command fails if its output cannot be written, whether that is text or JSON.
func TestWriteErrorFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	openCache(t, sampleFolder(t), dir).Close()
	for _, args := range [][]string{{"stat", dir}, {"stat", dir, "--json"}, {"verify", dir}, {"gc", dir, "--max-bytes", "0"}, {"rm", dir, providerName, song}, {"--help"}} {
		full, out := io.Pipe()
		full.CloseWithError(errors.New("no space left"))
		if r := runCommandOn(t.Context(), &console{out: out}, args...); r.code != exitFailed || r.err != "thumbcache: no space left\n" {
			t.Errorf("%v: %+v", args, r)
		}
	}
}

func TestUsageErrors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, args := range [][]string{
		{"none"}, {"stat"}, {"stat", dir, dir}, {"stat", dir, "--none"}, {"verify"}, {"gc", dir}, {"gc", dir, "--max-bytes", "-1"}, {"gc", dir, "--max-bytes", "1XB"},
		{"rm", dir, providerName}, {"rm", dir, "a/b", "c"}, {"get"}, {"sheet"}, {"warm"}, {"warm", dir, "--jobs", "0"}, {"warm", dir, "--sizes", "-1"}, {"warm", dir, "--max-bytes", "0"},
		{"warm", dir, "--provider", ""}, {"warm", dir, "--format", "png"}, {"explain"}, {"explain", dir, providerName}, {"explain", dir, providerName, "a", "x"}, {"explain", dir, providerName, "a", "-1"}, {"explain", dir}, {"explain", providerName, "a", "20"},
		{"serve", "--max-bytes", "0"}, {"doctor", dir, dir},
	} {
		r := runCommand(t, args...)
		if r.code != exitUsage || r.out != "" || !strings.HasPrefix(r.err, "thumbcache: ") || !strings.Contains(r.err, " --help'.\n") {
			t.Errorf("%v: %+v", args, r)
		}
	}
	if found := listTree(t, dir); len(found) != 1 {
		t.Errorf("got %v", found)
	}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"serve", "warm", "get", "sheet", "stat", "verify", "gc", "rm", "explain", "doctor"} {
		r := runCommand(t, name, "--help")
		checkContains(t, r.out, "Examples:\n  thumbcache "+name+" ")
		if name != "serve" && name != "sheet" {
			checkContains(t, r.out, "--json")
		}
		if r.code != exitOK || r.err != "" {
			t.Errorf("got %+v", r)
		}
	}
	if r := runCommand(t, "--version"); r.code != exitOK || !strings.HasPrefix(r.out, "thumbcache version ") || !strings.Contains(r.out, " go1.") {
		t.Errorf("got %+v", r)
	}
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"get", "--fit", ""}, "contain\ncover\npad\n:4\n"},
		{[]string{"explain", "--format", ""}, "jpeg\npng\nauto\nwebp\n:4\n"},
		{[]string{"stat", ""}, ":16\n"},
		{[]string{"stat", "a", ""}, ":4\n"},
		{[]string{"rm", "a", ""}, "library\n:4\n"},
		{[]string{"warm", "--dir", ""}, ":16\n"},
		{[]string{"warm", "--format", ""}, "jpeg\nwebp\n:4\n"},
	} {
		if r := runCommand(t, append([]string{"__complete"}, tc.args...)...); r.code != exitOK || r.out != tc.want {
			t.Errorf("%v: %q", tc.args, r.out)
		}
	}
	if r := runCommand(t, "completion", "bash"); r.code != exitOK || !strings.Contains(r.out, "__start_thumbcache") {
		t.Errorf("got %d", r.code)
	}
}

func TestProgress(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		c    console
		want string
	}{
		{"terminal", console{errIsTerminal: true, width: func() int { return 8 }}, "\r1234567\r       \rstop\n\r123    \r       \r"},
		{"no terminal", console{}, "123456789\nstop\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var b bytes.Buffer
				tc.c.err = &b
				var text atomic.Value
				text.Store("123456789")
				p := tc.c.startProgress(time.Second, func(int) string { return text.Load().(string) })
				if !tc.c.errIsTerminal {
					time.Sleep(time.Second)
				}
				synctest.Wait()
				p.printLine(p.c.err, "stop")
				if tc.c.errIsTerminal {
					text.Store("123    ")
					time.Sleep(redrawInterval)
					synctest.Wait()
				}
				p.finish()
				if b.String() != tc.want {
					t.Errorf("got %q", b.String())
				}
			})
		})
	}
}

func TestMeter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := progressMeter{start: time.Now()}
		show := func(width int, w thumbcache.Warmed, found int64, counted bool, want string) {
			t.Helper()
			m.latest.Store(&w)
			m.found.Store(found)
			m.isCounted.Store(counted)
			if got := m.format(width); got != want || width > 0 && len(got) >= width {
				t.Errorf("got %q", got)
			}
		}
		show(80, thumbcache.Warmed{}, 0, false, "0 of more than 0 files, 0.0 made/s")
		time.Sleep(10 * time.Second)
		show(80, thumbcache.Warmed{Extracted: 40, Reused: 10}, 2000, false, "50 of more than 2,000 files, 4.0 made/s")
		show(80, thumbcache.Warmed{Extracted: 40, Reused: 10}, 2000, true, "[-------------------]   2%  50 of 2,000 files, 4.0 made/s, 8m07s left")
		show(0, thumbcache.Warmed{Extracted: 40, Failed: 10}, 100, true, "50 of 100 files, 4.0 made/s, 10s left, 10 failed")
		for range 2 * maxMarks { // no progress
			time.Sleep(markInterval)
			m.format(80)
		}
		show(0, thumbcache.Warmed{Extracted: 40, NoPicture: 10}, 100, true, "50 of 100 files, 0.0 made/s")
		// A run that is resumed begins with reused files. They say nothing about the rate.
		m = progressMeter{start: time.Now()}
		time.Sleep(10 * time.Second)
		show(0, thumbcache.Warmed{Reused: 900}, 1000, true, "900 of 1,000 files, 0.0 made/s")
		time.Sleep(10 * time.Second)
		show(0, thumbcache.Warmed{Reused: 900, Extracted: 50}, 1000, true, "950 of 1,000 files, 2.5 made/s, 20s left")
	})
}

func TestFormatting(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"Şarkı 01 – a.flac": "Şarkı 01 – a.flac", "": `""`, " a": `" a"`, "a\nb": `"a\nb"`, "\x1b]0;x\a": `"\x1b]0;x\a"`, "\xff": `"\xff"`,
		"a\u202egpj.exe": `"a\u202egpj.exe"`, `say "hi"\`: `say "hi"\`, "�": "�",
	} {
		if got := quoteName(in); got != want {
			t.Errorf("quoteName(%q) = %s, want %s", in, got, want)
		}
	}
	for in, want := range map[int64]string{0: "0 bytes", 1: "1 byte", 1023: "1,023 bytes", 1024: "1.0 KiB", 1<<20 - 1: "1.0 MiB", 5 << 30: "5.0 GiB", 1<<63 - 1: "8.0 EiB"} {
		if got := formatBytes(in); got != want {
			t.Errorf("formatBytes(%d) = %s, want %s", in, got, want)
		}
	}
	for in, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000", -100: "-100"} {
		if got := formatCount(in); got != want {
			t.Errorf("formatCount(%d) = %s, want %s", in, got, want)
		}
	}
	for in, want := range map[time.Duration]string{-time.Hour: "in the future", time.Second: "just now", time.Minute: "1 minute ago", 3 * time.Hour: "3 hours ago", 100 * time.Hour: "4 days ago"} {
		if got := formatAge(in); got != want {
			t.Errorf("formatAge(%v) = %s, want %s", in, got, want)
		}
	}
	for in, want := range map[time.Duration]string{1234 * time.Millisecond: "1.2s", 59 * time.Second: "59s", 65 * time.Second: "1m05s", 3 * time.Hour: "3h00m"} {
		if got := formatDuration(in); got != want {
			t.Errorf("formatDuration(%v) = %s, want %s", in, got, want)
		}
	}
	for in, want := range map[string]int64{
		"1000": 1000, "0": 0, "500MiB": 500 << 20, "2GB": 2e9, "1.5k": 1536, "1 gib": 1 << 30, "7B": 7, "500M": 500 << 20, "1TiB": 1 << 40,
		"": -1, "-1": -1, "x": -1, "1XB": -1, "Inf": -1, "NaN": -1, "1e3": -1, "0x10": -1, "1_000": -1, "99999999TiB": -1, "MiB": -1, "1 2": -1, "1iB": -1,
	} {
		var b byteCount
		if err := b.Set(in); (err != nil) != (want < 0) || want >= 0 && int64(b) != want {
			t.Errorf("byteCount.Set(%q) gives %d, %v; want %d", in, b, err, want)
		}
	}
	if r := describeError(&thumbcache.Error{Op: "open", Provider: "p", Path: "x", Err: errors.Join(fs.ErrInvalid, errors.New("a\x1b"))}); r != `invalid argument\na\x1b` {
		t.Error(r)
	}
}

// A thumbnail with a limit in bytes is a kind of its own.
func TestKindWithLimit(t *testing.T) {
	name := store.FileOf(&store.Key{Provider: "p", Path: "a", Size: 160, Height: 120, MaxBytes: 20000}).Name
	want := kind{Size: 160, Height: 120, Fit: "contain", MaxBytes: 20000, Format: "jpeg"}
	if k, ok := parseKind(name); !ok || k != want || k.String() != "160 x 120 px, at most 20000 bytes" {
		t.Errorf("%s: %+v, %s", name, k, k)
	}
}

// The name of a stored file, its key and the request for it say the same.
func TestKinds(t *testing.T) {
	for want, req := range map[string]thumbcache.Request{
		"original":                            {},
		"300 px":                              {Size: 300},
		"300 x 200 px, PNG":                   {Width: 300, Height: 200, Format: thumbcache.PNG},
		"300 px, JPEG or PNG":                 {Size: 300, Format: thumbcache.Auto},
		"300 px, WebP":                        {Size: 300, Format: thumbcache.WebP},
		"300 px, square":                      {Size: 300, Fit: thumbcache.Cover},
		"300 px, square, focus 0.3,0.5":       {Size: 300, Fit: thumbcache.Cover, FocusX: 0.3},
		"300 x 200 px, cropped, focus 0.5,1":  {Width: 300, Height: 200, Fit: thumbcache.Cover, FocusY: 1},
		"300 px, padded with ffffff":          {Size: 300, Fit: thumbcache.Pad},
		"30 x 20 px, padded with blur":        {Width: 30, Height: 20, Fit: thumbcache.Pad, Background: "blur"},
		"30 px, padded with transparent, PNG": {Size: 30, Fit: thumbcache.Pad, Background: "transparent", Format: thumbcache.PNG},
	} {
		req.Provider, req.Path = providerName, "a.png"
		trial, err := makeTrial(t.Context(), pixelProvider{}, req, explainOptions{quality: 85, maxSize: 2048})
		if err != nil || trial.entry == nil {
			t.Fatal(err)
		}
		key := trial.entry.Key
		if k, ok := parseKind(store.FileOf(&key).Name); !ok || k.String() != want {
			t.Errorf("%+v: kind %s, want %s", req, k, want)
		}
		if req.Fit == thumbcache.Pad && req.Background == "" {
			req.Background = "ffffff"
		}
		if got := requestFor(&key); got != req {
			t.Errorf("request %+v, want %+v", got, req)
		}
	}
}
