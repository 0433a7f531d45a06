package thumbcache

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"image/color"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// brokenJPEG begins as a JPEG does, and cannot be decoded.
var brokenJPEG = []byte("\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x02\x00\x00\x01\x00\x01\x00\x00" + strings.Repeat("broken", 20))

// flacWith returns a FLAC file with pictures, of which the first is the front cover and the others are back covers.
func flacWith(pictures ...[]byte) []byte {
	be := binary.BigEndian
	file := append([]byte("fLaC\x00\x00\x00\x22"), make([]byte, 34)...)
	for i, pic := range pictures {
		b := be.AppendUint32(nil, uint32(3+min(i, 1)))
		b = append(be.AppendUint32(b, 10), "image/jpeg"...)
		b = append(be.AppendUint32(b, 0), make([]byte, 16)...)
		b = append(be.AppendUint32(b, uint32(len(pic))), pic...)
		file = append(append(file, 6, byte(len(b)>>16), byte(len(b)>>8), byte(len(b))), b...)
	}
	return append(file, 0x81, 0, 0, 0)
}

// writeFiles writes files below a new folder.
func writeFiles(t *testing.T, files map[string][]byte) (root string) {
	t.Helper()
	root = t.TempDir()
	for name, data := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// If a picture cannot be decoded, the next one is used, in the media or beside it.
func TestNextPicture(t *testing.T) {
	small, large := plain(20, 20, red), plain(60, 60, blue)
	for _, tt := range []struct {
		name        string
		files       map[string][]byte
		folderFirst bool
		want        color.NRGBA
		err         error
	}{
		{"the next one in the media", map[string][]byte{"s.flac": flacWith(brokenJPEG, small), "cover.png": large}, false, red, nil},
		{"the one in the folder", map[string][]byte{"s.flac": flacWith(brokenJPEG), "cover.png": large}, false, blue, nil},
		{"the next one in the folder", map[string][]byte{"s.flac": flacWith(), "cover.jpg": brokenJPEG, "folder.png": large}, false, blue, nil},
		{"the last of several", map[string][]byte{"s.flac": flacWith(brokenJPEG, brokenJPEG[:60]), "s.jpg": brokenJPEG[:70], "cover.jpg": brokenJPEG[:80], "folder.png": large}, false, blue, nil},
		{"the one in the media, with FolderFirst", map[string][]byte{"s.flac": flacWith(small), "cover.jpg": brokenJPEG}, true, red, nil},
		{"the next one in the media, with FolderFirst", map[string][]byte{"s.flac": flacWith(brokenJPEG, small), "cover.jpg": brokenJPEG[:80]}, true, red, nil},
		{"no picture can be decoded", map[string][]byte{"s.flac": flacWith(brokenJPEG, brokenJPEG[:80]), "cover.jpg": brokenJPEG[:60]}, false, color.NRGBA{}, ErrCorrupt},
		{"no picture can be decoded, with FolderFirst", map[string][]byte{"s.flac": flacWith(), "cover.jpg": brokenJPEG[:60]}, true, color.NRGBA{}, ErrCorrupt},
		{"a picture is not replaced by its folder's", map[string][]byte{"s.flac": brokenJPEG, "cover.png": large}, false, color.NRGBA{}, ErrCorrupt},
		{"broken media has the folder's picture", map[string][]byte{"s.flac": flacWith(small)[:60], "cover.png": large}, false, blue, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := writeFiles(t, tt.files)
			cfg := Config{Providers: map[string]Provider{"p": Files(root)}, Dir: t.TempDir(), FolderFirst: tt.folderFirst, Extractor: FirstOf(Images(), CoverArt())}
			c := mustNew(t, cfg)
			thumb, err := c.Get(t.Context(), "p", "s.flac", 10)
			if !errors.Is(err, tt.err) {
				t.Fatalf("got %v, want %v", err, tt.err)
			}
			if err == nil {
				checkColor(t, thumb, tt.want)
			}
			// The result is remembered: other sizes extract nothing again, and a failure is not tried again, even after a restart.
			before := c.Stats()
			c.Get(t.Context(), "p", "s.flac", 12)
			if now := c.Stats(); now.Extractions != before.Extractions {
				t.Errorf("another size made %d extractions", now.Extractions-before.Extractions)
			}
			c.Close()
			c = mustNew(t, cfg)
			c.Get(t.Context(), "p", "s.flac", 10)
			if n := c.Stats().Extractions; n != 0 {
				t.Errorf("%d extractions after a restart", n)
			}
		})
	}
}

// The picture of a caller's own extractor cannot be decoded. The folder's picture is used.
func TestNextPictureAfterCustomExtractor(t *testing.T) {
	root := writeFiles(t, map[string][]byte{"s.song": []byte("some song"), "cover.png": plain(20, 20, blue)})
	c := mustNew(t, Config{Providers: map[string]Provider{"p": Files(root)}, Extractor: ExtractorFunc(func(context.Context, *Source) (*Picture, error) {
		return &Picture{Data: brokenJPEG}, nil
	})})
	checkColor(t, mustGet(t, c, "p", "s.song", 10), blue)
}

// Once the picture that was just extracted is forgotten, another size goes straight to the picture that can be decoded.
func TestRejectedPictures(t *testing.T) {
	root := writeFiles(t, map[string][]byte{"s.flac": flacWith(brokenJPEG, plain(20, 20, red))})
	c := mustNew(t, Config{Providers: map[string]Provider{"p": Files(root)}, Extractor: CoverArt()})
	checkColor(t, mustGet(t, c, "p", "s.flac", 10), red)
	if n := c.Stats().Extractions; n != 2 {
		t.Errorf("%d extractions, want one for each picture", n)
	}
	c.memory.mu.Lock()
	c.memory.pictures.Purge()
	c.memory.mu.Unlock()
	checkColor(t, mustGet(t, c, "p", "s.flac", 12), red)
	if n := c.Stats().Extractions; n != 3 {
		t.Errorf("%d extractions, want one more", n)
	}
	// The file is repaired: its first picture can be decoded now.
	if err := os.WriteFile(filepath.Join(root, "s.flac"), flacWith(plain(20, 20, green), plain(20, 20, red)), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := c.Invalidate("p", "s.flac"); err != nil {
		t.Fatal(err)
	}
	checkColor(t, mustGet(t, c, "p", "s.flac", 12), green)
}

// A broken cover is replaced by another broken one, again and again. Covers that the file no longer has do not count against the
// limit of pictures that are tried.
func TestRejectedPicturesOfOldState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFolderProvider()
		p.set("d/cover.jpg", tag("1"), plain(20, 20, red))
		c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Extractor: CoverArt()})
		for i := range 2 * maxPictures {
			p.set("d/s.flac", tag(fmt.Sprint(i)), flacWith(append(slices.Clone(brokenJPEG), byte(i))))
			for range 2 { // the first is stale
				if _, err := c.Get(t.Context(), "p", "d/s.flac", 10); err != nil {
					t.Fatalf("change %d: %v", i, err)
				}
				synctest.Wait()
			}
			time.Sleep(2 * time.Minute)
		}
	})
}

// A song loses its broken cover while the cache tries to decode it. That failure is not remembered for the new state.
func TestFailureOfOldState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFolderProvider()
		p.set("s.flac", tag("1"), flacWith(brokenJPEG))
		c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Extractor: CoverArt(), Observer: &Observer{
			Stage: func(_, _, stage string, _ time.Duration, _ error) {
				if stage == "render" {
					p.set("s.flac", tag("2"), flacWith())
				}
			},
		}})
		c.Get(t.Context(), "p", "s.flac", 10)
		if _, err := c.Get(t.Context(), "p", "s.flac", 10); !errors.Is(err, ErrNoPicture) {
			t.Errorf("a song without a cover: %v", err)
		}
	})
}

// TestFolderArtList checks each kind of entry of Config.FolderArt.
func TestFolderArtList(t *testing.T) {
	song, film := flacWith(), []byte("a film")
	pics := map[color.NRGBA][]byte{red: plain(20, 20, red), green: plain(30, 30, green), blue: plain(200, 200, blue)}
	frame := plain(20, 20, color.NRGBA{A: 255})
	for _, tt := range []struct {
		name, path string
		files      map[string][]byte
		list       []string
		want       color.NRGBA
	}{
		{"of the same name before the folder's", "s.flac", map[string][]byte{"s.flac": song, "s.jpg": pics[red], "cover.jpg": pics[blue]}, nil, red},
		{"of another song", "s.flac", map[string][]byte{"s.flac": song, "t.jpg": pics[red], "cover.jpg": pics[blue]}, nil, blue},
		{"poster of a film", "f.mkv", map[string][]byte{"f.mkv": film, "f-poster.jpg": pics[red]}, nil, red},
		{"thumb of a film", "f.mkv", map[string][]byte{"f.mkv": film, "f-thumb.png": pics[red]}, nil, red},
		{"a film has its frame, not its folder's picture", "f.mkv", map[string][]byte{"f.mkv": film, "folder.jpg": pics[red]}, nil, color.NRGBA{A: 255}},
		{"the largest of equals", "s.flac", map[string][]byte{"s.flac": song, "AlbumArtSmall.jpg": pics[red], "AlbumArt_{1}_Large.jpg": pics[blue]}, nil, blue},
		{"a better rank before a larger file", "s.flac", map[string][]byte{"s.flac": song, "cover.jpg": pics[red], "folder.jpg": pics[blue]}, nil, red},
		{"a disc has its album's picture", "album/CD1/s.flac", map[string][]byte{"album/CD1/s.flac": song, "album/cover.jpg": pics[red]}, nil, red},
		{"a disc in a disc", "album/Disc 1/cd 2/s.flac", map[string][]byte{"album/Disc 1/cd 2/s.flac": song, "album/cover.jpg": pics[red]}, nil, red},
		{"a disc has its own picture", "album/CD1/s.flac", map[string][]byte{"album/CD1/s.flac": song, "album/CD1/cover.jpg": pics[blue], "album/cover.jpg": pics[red]}, nil, blue},
		{"a disc as a folder", "album/CD1", map[string][]byte{"album/CD1/s.flac": song, "album/cover.jpg": pics[red]}, nil, red},
		{"one picture alone", "s.flac", map[string][]byte{"s.flac": song, "scan 12.jpeg": pics[green], "notes.txt": []byte("text")}, nil, green},
		{"a list of one's own", "s.flac", map[string][]byte{"s.flac": song, "art-s.png": pics[red], "cover.jpg": pics[blue]}, []string{"art-{name}.*", "cover.*"}, red},
		{"in the order of the list", "s.flac", map[string][]byte{"s.flac": song, "b.png": pics[red], "a.jpg": pics[blue]}, []string{"B.*", "a.*"}, red},
	} {
		t.Run(tt.name, func(t *testing.T) {
			films := ExtractorFunc(func(ctx context.Context, src *Source) (*Picture, error) {
				// As FFmpeg does, it first looks for a picture beside the film.
				if pic, err := searchOf(ctx).own(ctx); err == nil {
					return pic, nil
				}
				return &Picture{Data: frame}, nil
			})
			c := mustNew(t, Config{
				Providers: map[string]Provider{"p": Files(writeFiles(t, tt.files))},
				Extractor: FirstOf(Images(), CoverArt(), films), FolderArt: tt.list,
			})
			checkColor(t, mustGet(t, c, "p", tt.path, 10), tt.want)
		})
	}
	for _, tt := range []struct {
		name, path string
		files      map[string][]byte
	}{
		{"an artist's picture is not the album's", "artist/album/s.flac", map[string][]byte{"artist/album/s.flac": song, "artist/cover.jpg": pics[red]}},
		{"two pictures of unknown meaning", "s.flac", map[string][]byte{"s.flac": song, "1.jpg": pics[red], "2.jpg": pics[blue]}},
		{"no text", "s.flac", map[string][]byte{"s.flac": song, "s.txt": []byte("text"), "cover.nfo": []byte("text")}},
	} {
		c := mustNew(t, Config{Providers: map[string]Provider{"p": Files(writeFiles(t, tt.files))}, Extractor: FirstOf(Images(), CoverArt())})
		if _, err := c.Get(t.Context(), "p", tt.path, 10); !errors.Is(err, ErrNoPicture) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// ModTime is the latest time of what a thumbnail was made from.
func TestLastModified(t *testing.T) {
	root := writeFiles(t, map[string][]byte{"s.flac": flacWith(), "cover.jpg": plain(20, 20, red)})
	early, late := time.Unix(1_000_000_000, 0), time.Unix(1_500_000_000, 0)
	for name, at := range map[string]time.Time{"s.flac": early, "cover.jpg": late} {
		if err := os.Chtimes(filepath.Join(root, name), at, at); err != nil {
			t.Fatal(err)
		}
	}
	cfg := Config{Providers: map[string]Provider{"p": Files(root)}, Dir: t.TempDir(), Extractor: CoverArt()}
	for _, from := range []string{"made", "disk"} {
		c := mustNew(t, cfg)
		if thumb := mustGet(t, c, "p", "s.flac", 10); !thumb.ModTime.Equal(late) {
			t.Errorf("%s: %v", from, thumb.ModTime)
		}
		c.Close()
	}
}

// If a provider does not know times, a thumbnail has none, even if pictures beside the media were considered.
func TestNoTimes(t *testing.T) {
	p := newFolderProvider()
	p.set("d/s.flac", tag("1"), flacWith())
	p.set("d/cover.jpg", tag("1"), plain(20, 20, red))
	cfg := Config{Providers: map[string]Provider{"p": p}, Dir: t.TempDir(), Extractor: CoverArt()}
	for _, from := range []string{"made", "disk"} {
		c := mustNew(t, cfg)
		for _, path := range []string{"d/s.flac", "d"} {
			if thumb := mustGet(t, c, "p", path, 10); !thumb.ModTime.IsZero() {
				t.Errorf("%s: %s: %v", from, path, thumb.ModTime)
			}
		}
		c.Close()
	}
}

// With gives a provider its own settings.
func TestWith(t *testing.T) {
	root := writeFiles(t, map[string][]byte{"s.flac": flacWith(plain(20, 20, green)), "cover.png": plain(20, 20, red), "scan.png": plain(20, 20, blue)})
	c := mustNew(t, Config{Extractor: CoverArt(), Providers: map[string]Provider{
		"default": Files(root),
		"first":   With(Files(root), Settings{FolderFirst: true}),
		"scans":   With(Files(root), Settings{FolderFirst: true, FolderArt: []string{"scan.*"}}),
		"off":     With(Files(root), Settings{FolderFirst: true, FolderArt: []string{}}),
	}})
	for name, want := range map[string]color.NRGBA{"default": green, "first": red, "scans": blue, "off": green} {
		checkColor(t, mustGet(t, c, name, "s.flac", 10), want)
	}
	for _, p := range []Provider{With(Files(root), Settings{FolderArt: []string{"["}}), With(nil, Settings{}), nil} {
		if _, err := New(Config{Providers: map[string]Provider{"p": p}}); err == nil || !strings.Contains(err.Error(), "Config.Providers") {
			t.Errorf("got %v", err)
		}
	}
}

// A process serves an outdated thumbnail from disk and ends at once. The next process does not serve it again.
func TestShortLivedProcess(t *testing.T) {
	root := writeFiles(t, map[string][]byte{"a.png": plain(20, 20, red)})
	cfg := Config{Providers: map[string]Provider{"p": Files(root)}, Dir: t.TempDir(), Extractor: Images()}
	get := func() *Thumbnail {
		c := mustNew(t, cfg)
		defer c.Close()
		return mustGet(t, c, "p", "a.png", 10)
	}
	checkColor(t, get(), red)
	for _, want := range []color.NRGBA{blue, green, red} {
		if err := os.WriteFile(filepath.Join(root, "a.png"), plain(20, 20, want), 0o644); err != nil {
			t.Fatal(err)
		}
		later := time.Now().Add(time.Hour) // the same size, and perhaps the same time
		if err := os.Chtimes(filepath.Join(root, "a.png"), later, later); err != nil {
			t.Fatal(err)
		}
		get()
		checkColor(t, get(), want)
	}
}

// writeMedia writes a file below root: a picture of color c, or a song without a cover if c is nil.
func writeMedia(t *testing.T, root, name string, c color.Color) {
	t.Helper()
	name = filepath.Join(root, name)
	frame := "\xff\xfb\x90\x64" + strings.Repeat("\x00", 413) // of MPEG audio
	data := []byte(frame + frame)
	if c != nil {
		data = plain(20, 20, c)
	}
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, data, 0o644)); err != nil {
		t.Fatal(err)
	}
}

// writeAlbum writes an album with folder art below root.
func writeAlbum(t *testing.T, root string) {
	t.Helper()
	writeMedia(t, root, "album/1.mp3", nil)
	writeMedia(t, root, "album/2.mp3", nil)
	writeMedia(t, root, "album/own.png", green)
	writeMedia(t, root, "album/Folder.JPG", red)
	writeMedia(t, root, "album/AlbumArt_{x}_Large.jpg", green)
}

// The picture of a folder serves for the folder and for its songs without a cover.
func TestFolderArt(t *testing.T) {
	root := t.TempDir()
	writeAlbum(t, root)
	writeMedia(t, root, "bare/1.mp3", nil)
	writeMedia(t, root, "top.mp3", nil)
	for _, test := range []struct {
		name string
		cfg  Config
		path string
		want *color.NRGBA // nil: ErrNoPicture
	}{
		{"of a song", Config{}, "album/1.mp3", &red},
		{"of a folder", Config{}, "album", &red},
		{"of a folder, with a slash", Config{}, "album/", &red},
		{"not of a picture", Config{}, "album/own.png", &green},
		{"FolderFirst", Config{FolderFirst: true}, "album/own.png", &red},
		{"FolderFirst in a folder without a picture", Config{FolderFirst: true, FolderArt: []string{"none.*"}}, "album/own.png", &green},
		{"other names", Config{FolderArt: []string{"*large*"}}, "album/1.mp3", &green},
		{"a name that matches twice", Config{FolderArt: []string{"*large*", "*ART*", "own.*"}}, "album/1.mp3", &green},
		{"a song in a folder without a picture", Config{}, "bare/1.mp3", nil},
		{"a folder without a picture", Config{}, "bare", nil},
		{"the root", Config{}, ".", nil},
		{"a song in the root", Config{}, "top.mp3", nil},
		{"disabled", Config{FolderArt: []string{}}, "album/1.mp3", nil},
	} {
		cfg := test.cfg
		cfg.Providers = map[string]Provider{"p": Files(root)}
		c := mustNew(t, cfg)
		thumb, err := c.Get(t.Context(), "p", test.path, 10)
		switch {
		case test.want == nil && !errors.Is(err, ErrNoPicture), test.want != nil && err != nil:
			t.Errorf("%s: %v", test.name, err)
		case test.want != nil:
			checkColor(t, thumb, *test.want)
		}
	}
	// Folders outside the provider's root cannot be reached.
	c := mustNew(t, Config{Providers: map[string]Provider{"p": Files(filepath.Join(root, "bare"))}})
	for _, path := range []string{"..", "../album", filepath.Join(root, "album"), "/"} {
		if _, err := c.Get(t.Context(), "p", path, 10); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// FolderFirst applies also to thumbnails that were stored without it.
func TestFolderFirstAfterRestart(t *testing.T) {
	root := t.TempDir()
	writeAlbum(t, root)
	cfg := Config{Providers: map[string]Provider{"p": Files(root)}, Dir: t.TempDir()}
	c := mustNew(t, cfg)
	checkColor(t, mustGet(t, c, "p", "album/own.png", 10), green)
	c.Close()
	cfg.FolderFirst = true
	c = mustNew(t, cfg)
	eventually(t, "the folder's picture is served", func() bool { // after a check in the background
		return isSimilar(middleColor(t, mustGet(t, c, "p", "album/own.png", 10)), red)
	})
}

// If a picture of a folder may not be seen or opened, another one is used.
func TestFolderArtWithoutPermission(t *testing.T) {
	root := t.TempDir()
	writeAlbum(t, root)
	for _, op := range []string{"stat", "open"} {
		p := &artFails{Provider: Files(root), op: op, path: "album/Folder.JPG", err: fs.ErrPermission}
		c := mustNew(t, Config{Providers: map[string]Provider{"p": p}})
		for _, path := range []string{"album/1.mp3", "album"} {
			if thumb, err := c.Get(t.Context(), "p", path, 10); err != nil {
				t.Errorf("%s: %s: %v", op, path, err)
			} else {
				checkColor(t, thumb, green)
			}
		}
	}
}

// While a folder cannot be listed, its cached thumbnails are served. Other sizes fail with an error that may pass.
func TestFolderCannotBeListed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFolderProvider()
		p.set("d/cover.jpg", tag("1"), plain(40, 40, red))
		c := mustNew(t, Config{Providers: map[string]Provider{"p": p}})
		mustGet(t, c, "p", "d", 10)
		time.Sleep(2 * time.Minute)
		p.setHook(failOn("list", syscall.EIO))
		if _, err := c.Get(t.Context(), "p", "d", 20); !errors.Is(err, syscall.EIO) || HTTPStatus(err) != http.StatusServiceUnavailable {
			t.Errorf("not cached: %v", err)
		}
		checkColor(t, mustGet(t, c, "p", "d", 10), red)
		synctest.Wait()

		// The folder is known to have changed, and cannot be listed.
		p.setHook(nil)
		p.set("d/cover.jpg", tag("2"), plain(40, 40, blue))
		time.Sleep(2 * time.Minute)
		mustGet(t, c, "p", "d", 30)
		time.Sleep(2 * recentFor)
		p.setHook(failOn("list", syscall.EIO))
		checkColor(t, mustGet(t, c, "p", "d", 10), red)
	})
}

// Thumbnails follow the folder's picture when it appears, changes, is replaced by a better one, and disappears.
func TestFolderArtChanges(t *testing.T) {
	root := t.TempDir()
	writeMedia(t, root, "bare/1.mp3", nil)
	cfg := Config{Providers: map[string]Provider{"p": Files(root)}, Dir: t.TempDir(), Revalidate: time.Millisecond}
	c := mustNew(t, cfg)
	await := func(what string, want *color.NRGBA) {
		t.Helper()
		for _, path := range []string{"bare/1.mp3", "bare"} {
			eventually(t, what+": "+path, func() bool {
				thumb, err := c.Get(t.Context(), "p", path, 10)
				if want == nil {
					return errors.Is(err, ErrNoPicture)
				}
				return err == nil && isSimilar(middleColor(t, thumb), *want)
			})
		}
	}
	await("no picture yet", nil)
	writeMedia(t, root, "bare/front.png", red)
	await("it appears", &red)
	writeMedia(t, root, "bare/front.png", blue)
	await("it changes", &blue)
	writeMedia(t, root, "bare/COVER.png", red)
	await("a better one appears", &red)
	c.Close()
	c = mustNew(t, cfg)
	await("after a restart", &red)
	if err := os.WriteFile(filepath.Join(root, "bare/COVER.png"), []byte("<svg/>"), 0o644); err != nil {
		t.Fatal(err)
	}
	await("the better one is not a picture any more", &blue)
	os.Remove(filepath.Join(root, "bare/COVER.png"))
	os.Remove(filepath.Join(root, "bare/front.png"))
	await("all disappear", nil)
}

// While folder art cannot be seen or read, the failure is not remembered. A folder that may not be listed counts as one without
// a picture.
func TestFolderArtUnreachable(t *testing.T) {
	root := t.TempDir()
	writeAlbum(t, root)
	os.Rename(filepath.Join(root, "album/own.png"), filepath.Join(root, "album/own")) // no source that is a picture itself
	for _, test := range []struct {
		name string
		op   string // that fails for the folder or its pictures
		err  error
		want error
	}{
		{"Stat", "stat", syscall.EIO, syscall.EIO},
		{"List", "list", syscall.EIO, syscall.EIO},
		{"Open", "open", syscall.EIO, syscall.EIO},
		{"List is not permitted", "list", fs.ErrPermission, ErrNoPicture},
		{"List knows no folder", "list", fs.ErrNotExist, ErrNoPicture},
	} {
		for _, first := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/FolderFirst=%v", test.name, first), func(t *testing.T) {
				p := &artFails{Provider: Files(root), op: test.op, err: test.err}
				c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, FolderFirst: first})
				if _, err := c.Get(t.Context(), "p", "album/1.mp3", 10); !errors.Is(err, test.want) {
					t.Errorf("got %v, want %v", err, test.want)
				}
				if test.want == ErrNoPicture {
					return
				}
				if _, err := c.Get(t.Context(), "p", "album", 10); err == nil || errors.Is(err, ErrNoPicture) || errors.Is(err, fs.ErrNotExist) {
					t.Errorf("the folder: %v", err)
				}
				p.op = ""
				checkColor(t, mustGet(t, c, "p", "album/1.mp3", 10), red)
				checkColor(t, mustGet(t, c, "p", "album", 10), red)
			})
		}
	}
}

// artFails is the Provider of Files in which one operation fails for folders and their pictures.
type artFails struct {
	Provider
	op   string
	path string // of the only picture for which it fails; "": for all
	err  error
}

// fails reports whether an operation fails for a path.
func (p *artFails) fails(op, path string) bool {
	if p.path != "" && p.path != path {
		return false
	}
	return p.op == op && path != "album" && path != "album/1.mp3"
}

func (p *artFails) Stat(ctx context.Context, path string) (Stamp, error) {
	if p.fails("stat", path) {
		return Stamp{}, p.err
	}
	return p.Provider.Stat(ctx, path)
}

func (p *artFails) Open(ctx context.Context, path string) (*Source, error) {
	if p.fails("open", path) {
		return nil, p.err
	}
	return p.Provider.Open(ctx, path)
}

func (p *artFails) List(ctx context.Context, path string) ([]string, error) {
	if p.op == "list" {
		return nil, p.err
	}
	return p.Provider.(Lister).List(ctx, path)
}

// A picture is itself: what lies beside it with the same name, or represents its folder, is another picture.
func TestPictureIsItself(t *testing.T) {
	needFFmpeg(t)
	heic, err := os.ReadFile(filepath.Join("internal", "heif", "testdata", "odd.heic"))
	if err != nil {
		t.Fatal(err)
	}
	yellow := plain(50, 50, color.NRGBA{250, 220, 20, 255})
	root := writeFiles(t, map[string][]byte{"IMG_1.heic": heic, "IMG_1.jpg": yellow, "cover.png": yellow, "broken.heic": heic[:len(heic)/2]})
	c := mustNew(t, Config{Providers: map[string]Provider{"p": Files(root)}})
	if got := middleColor(t, mustGet(t, c, "p", "IMG_1.heic", 0)); isSimilar(got, color.NRGBA{250, 220, 20, 255}) {
		t.Errorf("color %v of another picture", got)
	}
	if _, err := c.Get(t.Context(), "p", "broken.heic", 20); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a broken picture: %v", err)
	}
}

// A JPEG of which next to nothing is there makes way for the next picture, and so does a broken cover of a film for its frame.
func TestNearlyEmptyPictures(t *testing.T) {
	whole := noisy(300, 300, 90)
	headers := whole[:bytes.Index(whole, []byte{0xff, 0xda})+14]
	zeros := append(slices.Clone(headers), make([]byte, 4000)...)
	short := append(slices.Clone(headers), whole[len(headers):len(headers)+60]...)
	for name, front := range map[string][]byte{"zeros": zeros, "first bytes": short} {
		root := writeFiles(t, map[string][]byte{"s.flac": flacWith(front, plain(40, 40, blue)), "alone.jpg": front})
		c := mustNew(t, Config{Providers: map[string]Provider{"p": Files(root)}, Extractor: FirstOf(Images(), CoverArt())})
		checkColor(t, mustGet(t, c, "p", "s.flac", 20), blue)
		if _, err := c.Get(t.Context(), "p", "alone.jpg", 20); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: alone: %v", name, err)
		}
	}
}

// A broken preview of a RAW photo makes way for a smaller one, and no preview for another file.
func TestBrokenPreview(t *testing.T) {
	small, large := jpegOf(corners{blue, blue, blue, blue}.draw(160, 120)), noisy(800, 600, 90)
	headers := large[:bytes.Index(large, []byte{0xff, 0xda})+14]
	large = append(slices.Clone(headers), make([]byte, 4000)...)
	dng := func(previews ...[]byte) []byte {
		return tiffFile("II*\x00\x00\x00\x00\x00", previews, func(at []int) [][]field {
			directories := [][]field{{num(256, 6000), num(257, 4000), {tag: 50706, bytes: []byte{1, 4, 0, 0}}}}
			for i := range previews {
				directories = append(directories, []field{num(513, at[i]), num(514, len(previews[i]))})
			}
			return directories
		})
	}
	root := writeFiles(t, map[string][]byte{"two.dng": dng(small, large), "one.dng": dng(large), "cover.png": plain(50, 50, red)})
	c := mustNew(t, Config{Providers: map[string]Provider{"p": Files(root)}, Extractor: FirstOf(Images(), &FFmpeg{})})
	checkColor(t, mustGet(t, c, "p", "two.dng", 300), blue)
	if _, err := c.Get(t.Context(), "p", "one.dng", 300); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a RAW photo without another preview: %v", err)
	}
	if n := c.Stats().Processes; n != 0 {
		t.Errorf("%d processes", n)
	}
}

// TestBrokenCoverOfFilm makes a film whose attached cover is broken. The film has its frame.
func TestBrokenCoverOfFilm(t *testing.T) {
	needFFmpeg(t)
	dir := t.TempDir()
	cover := filepath.Join(dir, "cover.jpg")
	if err := os.WriteFile(cover, append(slices.Clone(brokenJPEG), bytes.Repeat([]byte("x"), 3000)...), 0o644); err != nil {
		t.Fatal(err)
	}
	film := filepath.Join(dir, "film.mkv")
	cmd := exec.Command("ffmpeg", "-v", "error", "-f", "lavfi", "-i", "color=0xc81e1e:s=64x48:d=2:r=5", "-attach", cover,
		"-metadata:s:t", "mimetype=image/jpeg", "-c:v", "mpeg4", "-q:v", "2", film)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := os.Remove(cover); err != nil {
		t.Fatal(err)
	}
	c := mustNew(t, Config{Providers: map[string]Provider{"p": Files(dir)}})
	checkColor(t, mustGet(t, c, "p", "film.mkv", 20), red)
}
