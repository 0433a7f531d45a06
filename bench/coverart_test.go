package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dhowden/tag"

	"github.com/thumbcache/thumbcache/internal/coverart"
)

// otherReader returns the picture that dhowden/tag finds, or nil.
func otherReader(data []byte) (pic []byte) {
	defer func() { recover() }() // dhowden/tag panics on some files
	m, err := tag.ReadFrom(bytes.NewReader(data))
	if err != nil || m.Picture() == nil || !strings.HasPrefix(http.DetectContentType(m.Picture().Data), "image/") {
		return nil
	}
	return m.Picture().Data
}

// TestOracle compares with another reader: every picture that it finds is found here, and every picture found here is a part of
// the file.
func TestOracle(t *testing.T) {
	both, only := 0, 0
	for _, root := range []string{"../testdata/library", "../../shared/corpus"} {
		if _, err := os.Stat(root); err != nil {
			t.Logf("without %s: %v", root, err)
			continue
		}
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			theirs := otherReader(data)
			ours, err := coverart.Find(t.Context(), bytes.NewReader(data), int64(len(data)))
			switch {
			case theirs != nil && ours == nil:
				t.Errorf("%s: they find %d bytes, we: %v", path, len(theirs), err)
			case theirs != nil && !bytes.Equal(theirs, ours):
				t.Logf("%s: another one of several", path)
				fallthrough
			case theirs != nil:
				both++
			case ours != nil:
				only++
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d found by both, %d only by us", both, only)
	if both == 0 {
		t.Error("nothing was compared")
	}
}

// realSongs has ffmpeg make songs of some 14 MB with a cover of 1400 x 1400.
func realSongs(b *testing.B, ffmpeg string) map[string]string {
	dir := b.TempDir()
	all, err := sources()
	if err != nil {
		b.Fatal(err)
	}
	cover := filepath.Join(dir, "cover.jpg")
	for _, s := range all {
		if s.edge == 1400 && !s.progressive {
			if err := os.WriteFile(cover, s.data, 0o644); err != nil {
				b.Fatal(err)
			}
			break
		}
	}
	songs := make(map[string]string)
	for name, args := range map[string]string{
		"song.flac": "anoisesrc=d=100:a=0.5 -c:a flac",
		"song.mp3":  "anoisesrc=d=350 -c:a libmp3lame -b:a 320k",
		"song.m4a":  "anoisesrc=d=100:a=0.5 -c:a alac",
	} {
		songs[name] = filepath.Join(dir, name)
		source, codec, _ := strings.Cut(args, " ")
		line := append([]string{"-v", "error", "-nostdin", "-f", "lavfi", "-i", source, "-i", cover, "-map", "0", "-map", "1", "-c:v", "copy", "-disposition:v", "attached_pic"}, strings.Fields(codec)...)
		if out, err := exec.Command(ffmpeg, append(line, songs[name])...).CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
	}
	return songs
}

// BenchmarkCover compares reading a cover in Go with the best command line for ffmpeg. Compare the times.
func BenchmarkCover(b *testing.B) {
	ffmpeg, err := exec.LookPath("ffmpeg")
	if err != nil {
		b.Skip("ffmpeg is not installed")
	}
	for name, path := range realSongs(b, ffmpeg) {
		b.Run(fmt.Sprint(name, "/thumbcache"), func(b *testing.B) {
			for b.Loop() {
				f, err := os.Open(path)
				if err != nil {
					b.Fatal(err)
				}
				info, err := f.Stat()
				if err != nil {
					b.Fatal(err)
				}
				if _, err := coverart.Find(context.Background(), f, info.Size()); err != nil {
					b.Fatal(err)
				}
				f.Close()
			}
		})
		b.Run(fmt.Sprint(name, "/ffmpeg"), func(b *testing.B) {
			for b.Loop() {
				out, err := exec.Command(ffmpeg, "-v", "error", "-nostdin", "-i", path, "-map", "0:v:0", "-frames:v", "1", "-c:v", "copy", "-f", "image2pipe", "-").Output()
				if err != nil || len(out) == 0 {
					b.Fatalf("%d bytes, %v", len(out), err)
				}
			}
		})
	}
}
