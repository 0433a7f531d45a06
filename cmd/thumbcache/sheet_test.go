package main

import (
	"fmt"
	"image"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSheet(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	in := func(name string) string { return filepath.Join(folder, name) }
	if err := os.Mkdir(in("more"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a.jpg", "b.jpg", ".hidden.jpg", "more/c.jpg"} {
		copySample(t, photo, in(name))
	}
	copySample(t, song, in("song.mp3")) // has a cover, but is no image
	sheetSize := func(name string) image.Point {
		t.Helper()
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		img, format, err := image.DecodeConfig(f)
		if err != nil || format != "jpeg" {
			t.Fatal(err, format)
		}
		return image.Pt(img.Width, img.Height)
	}
	for range 2 { // the second sheet does not show the first one
		r := runCommand(t, "sheet", folder, "-o", in("sheet.jpg"), "--columns", "2", "--size", "40")
		if r.code != exitOK || r.err != "" || !strings.Contains(r.out, "sheet.jpg: 3 images, ") {
			t.Fatalf("got %+v", r)
		}
		if got := sheetSize(in("sheet.jpg")); got != image.Pt(2*42+2, 2*42+2) {
			t.Errorf("the sheet has %v pixels", got)
		}
	}
	r := runCommand(t, "sheet", folder, "-o", "-")
	if _, format, err := image.DecodeConfig(strings.NewReader(r.out)); err != nil || format != "jpeg" || r.code != exitOK || r.err != "" {
		t.Errorf("%v %d %s", err, r.code, r.err)
	}

	// An image that cannot be read is reported, and the others are shown.
	if err := os.WriteFile(in("bad.png"), []byte("\x89PNG\r\n\x1a\nno picture"), 0o644); err != nil {
		t.Fatal(err)
	}
	r = runCommand(t, "sheet", folder, "-o", in("sheet.jpg"))
	if r.code != exitFailed || !strings.HasPrefix(r.err, "bad.png: ") || strings.Count(r.err, "\n") != 1 || !strings.Contains(r.out, ": 3 images, ") {
		t.Errorf("got %+v", r)
	}
}

func TestSheetErrors(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	out := filepath.Join(t.TempDir(), "sheet.jpg")
	check := func(code int, want string, args ...string) {
		t.Helper()
		r := runCommand(t, append([]string{"sheet"}, args...)...)
		if _, err := os.Stat(out); err == nil || r.code != code || r.out != "" || !strings.Contains(r.err, want) {
			t.Errorf("%v: %+v", args, r)
		}
	}
	check(exitFailed, "no images", folder, "-o", out)
	check(exitFailed, "", filepath.Join(folder, "none"), "-o", out)
	bad := filepath.Join(folder, "bad.jpg")
	if err := os.WriteFile(bad, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	check(exitFailed, "no image can be read", folder, "-o", out)
	for i := range maxOnSheet + 1 {
		if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("%04d.jpg", i)), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	check(exitFailed, "use a smaller --size", folder, "-o", out, "--size", "2048")
	check(exitFailed, "only the first 1,000 images are shown", folder, "-o", out, "--size", "2048")
	for want, args := range map[string][]string{
		"-o is required":       {folder},
		"does not end in .jpg": {folder, "-o", filepath.Join(folder, "sheet.png")},
		"--columns must be":    {folder, "-o", out, "--columns", "0"},
		"--size must be":       {folder, "-o", out, "--size", "15"},
	} {
		check(exitUsage, want, args...)
	}
}
