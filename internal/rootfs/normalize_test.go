package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/thumbcache/thumbcache/internal/canonical"
)

// The same names in both forms.
var (
	nfc = canonical.Compose("Bj\u00f6rk/D\u00e9but/Human Behaviour \u00e9.flac")
	nfd = canonical.Decompose(nfc)
)

// noListing returns an FS that lists no folder in search of an equivalent name.
func noListing(root string) FS { return FS{root: New(root).root} }

// writeFile writes a file whose content is its own name, and makes its folders.
func writeFile(t *testing.T, root, name string) {
	t.Helper()
	file := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(name), 0o644); err != nil {
		t.Fatal(err)
	}
}

// requireBytes skips the test on file systems such as APFS, which find a name in every form by themselves.
func requireBytes(t *testing.T, root string) {
	t.Helper()
	writeFile(t, root, "probe\u00e9")
	defer os.Remove(filepath.Join(root, "probe\u00e9"))
	if _, err := os.Lstat(filepath.Join(root, "probee\u0301")); err == nil {
		t.Skip("the file system does not compare bytes")
	}
}

// check checks that Stat and Open of path find the file that was written as want. An empty want means that there is none.
func check(t *testing.T, f FS, path, want string) {
	t.Helper()
	info, err := f.Stat(path)
	file, opened, openErr := f.Open(path)
	if want == "" {
		if !errors.Is(err, fs.ErrNotExist) || !errors.Is(openErr, fs.ErrNotExist) {
			t.Errorf("%+q: Stat: %v, Open: %v, want that it does not exist", path, err, openErr)
		}
		return
	}
	if err != nil || openErr != nil {
		t.Errorf("%+q: Stat: %v, Open: %v", path, err, openErr)
		return
	}
	defer file.Close()
	content, err := io.ReadAll(file)
	if string(content) != want || err != nil {
		t.Errorf("%+q opens %+q, %v, want %+q", path, content, err, want)
	}
	if !os.SameFile(info, opened) {
		t.Errorf("%+q: Stat and Open find different files", path)
	}
}

// isRefused reports whether err matches fs.ErrInvalid. Windows has other errors for some links and names.
func isRefused(err error) bool {
	return errors.Is(err, fs.ErrInvalid) || runtime.GOOS == "windows" && err != nil
}

func TestEquivalentNames(t *testing.T) {
	for _, test := range []struct {
		name, stored, asked string
		listing             bool // no form of the name that was asked for is the stored one
	}{
		{name: "NFC asked, NFD stored", stored: nfd, asked: nfc},
		{name: "NFD asked, NFC stored", stored: nfc, asked: nfd},
		{name: "folder in NFD", stored: "Bjo\u0308rk/D\u00e9but.mp3", asked: "Bj\u00f6rk/D\u00e9but.mp3"},
		{name: "file in NFD", stored: "Bj\u00f6rk/De\u0301but.mp3", asked: "Bj\u00f6rk/D\u00e9but.mp3"},
		{name: "every element in the other form", stored: "Bj\u00f6rk/De\u0301but.mp3", asked: "Bjo\u0308rk/D\u00e9but.mp3"},
		{name: "below an ASCII folder", stored: "a/b/e\u0301.mp3", asked: "a/b/\u00e9.mp3"},
		{name: "above an ASCII folder", stored: "e\u0301/b/e\u0301/c.mp3", asked: "\u00e9/b/e\u0301/c.mp3"},
		{name: "both forms in one name", stored: "e\u0301\u00e9.mp3", asked: "\u00e9\u00e9.mp3", listing: true},
		{name: "Hangul", stored: canonical.Decompose("\ud55c\uad6d/\ubd04\ub0a0.flac"), asked: "\ud55c\uad6d/\ubd04\ub0a0.flac"},
		{name: "Vietnamese", stored: canonical.Decompose("Vi\u1ec7t \u1ebf.mp3"), asked: "Vi\u1ec7t \u1ebf.mp3"},
		{name: "Vietnamese, composed in part", stored: "Vi\u00ea\u0323t \u00ea\u0301.mp3", asked: "Vi\u1ec7t \u1ebf.mp3", listing: true},
		{name: "marks in another order", stored: "q\u0307\u0323.mp3", asked: "q\u0323\u0307.mp3", listing: true},
		{name: "Angstrom sign stored", stored: "\u212b.mp3", asked: "\u00c5.mp3", listing: true},
		{name: "Kelvin sign asked", stored: "K.mp3", asked: "\u212a.mp3"},
		{name: "kana", stored: "\u30c8\u3099.mp3", asked: "\u30c9.mp3"},
		{name: "dots in the path", stored: "e\u0301/f.mp3", asked: "./\u00e9/../\u00e9/./f.mp3"},
		{name: "two slashes", stored: "e\u0301/u\u0308.mp3", asked: "\u00e9//u\u0308.mp3"},
	} {
		t.Run(test.name, func(t *testing.T) {
			root := t.TempDir()
			writeFile(t, root, test.stored)
			check(t, New(root), test.asked, test.stored)
			check(t, New(root), test.stored, test.stored)
			check(t, New(root), filepath.Join(root, test.asked), test.stored)
			check(t, New(root), test.asked+".missing", "")
			if test.listing {
				requireBytes(t, root)
				check(t, noListing(root), test.asked, "")
			} else {
				check(t, noListing(root), test.asked, test.stored)
			}
		})
	}
}

func TestNotEquivalentNames(t *testing.T) {
	root := t.TempDir()
	writeFile(t, root, "\u00e9.mp3")
	for _, asked := range []string{"e.mp3", "\u00e8.mp3", "\u00e9.mp4", "\u00e9", "x/\u00e9.mp3", "\u00e9.mp3/\u00e9.mp3", "\u00e9\u0301.mp3"} {
		check(t, New(root), asked, "")
	}
	if runtime.GOOS != "windows" {
		check(t, New(root), "e\u0301.mp3/", "")
	}
	// Compatibility characters and case are other names. APFS may ignore case.
	writeFile(t, root, "\ufb01.mp3")
	check(t, New(root), "fi.mp3", "")
	check(t, New(root), "\uff46\u0069.mp3", "")
	requireBytes(t, root)
	writeFile(t, root, "\u00fc.mp3")
	check(t, New(root), "U\u0308.mp3", "")
}

func TestExactNameWins(t *testing.T) {
	root := t.TempDir()
	requireBytes(t, root)
	writeFile(t, root, nfc)
	writeFile(t, root, nfd)
	for _, f := range []FS{New(root), noListing(root)} {
		check(t, f, nfc, nfc)
		check(t, f, nfd, nfd)
	}

	// Twin folders: a name that only one of them has is found by the path in one form.
	writeFile(t, root, "Bj\u00f6rk/composed.mp3")
	writeFile(t, root, "Bjo\u0308rk/decomposed.mp3")
	check(t, New(root), "Bjo\u0308rk/composed.mp3", "Bj\u00f6rk/composed.mp3")
	check(t, New(root), "Bj\u00f6rk/decomposed.mp3", "Bjo\u0308rk/decomposed.mp3")
}

// Of several names that are equivalent, the first in byte order is taken, whatever order the folder lists them in.
func TestFirstOfSeveral(t *testing.T) {
	names := []string{"e\u0302\u0301e\u0301", "\u00ea\u0301\u00e9", "\u00ea\u0301e\u0301", "\u1ebfe\u0301"}
	slices.Sort(names[1:])
	for _, order := range [][]int{{1, 2, 3}, {3, 2, 1}, {2, 3, 1}} {
		root := t.TempDir()
		requireBytes(t, root)
		for _, i := range order {
			writeFile(t, root, names[i])
		}
		check(t, New(root), "e\u0302\u0301\u00e9", names[1])
	}
}

func TestListEquivalentFolder(t *testing.T) {
	root := t.TempDir()
	writeFile(t, root, "Bjo\u0308rk/D\u00e9but/cover.jpg")
	names, err := New(root).List(t.Context(), "Bj\u00f6rk/De\u0301but", 10)
	if err != nil || !slices.Equal(names, []string{"cover.jpg"}) {
		t.Errorf("List returns %q, %v", names, err)
	}
	if names, err := New(root).List(t.Context(), "Bj\u00f6rk/Post\u00e9", 10); !errors.Is(err, fs.ErrNotExist) || len(names) > 0 {
		t.Errorf("List of a missing folder returns %q, %v", names, err)
	}
}

// A canceled call stops searching. It must not say that the folder does not exist.
func TestCanceledSearch(t *testing.T) {
	root := t.TempDir()
	requireBytes(t, root)
	writeFile(t, root, "\u00e9e\u0301/cover.jpg")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := New(root).List(ctx, "\u00e9\u00e9", 10); !errors.Is(err, context.Canceled) {
		t.Errorf("List returns %v, want context.Canceled", err)
	}
}

// An ASCII name is equivalent to few others, and no folder is listed for it. U+212A is the Kelvin sign, which is equivalent to K.
func TestNoSearchForASCII(t *testing.T) {
	root := t.TempDir()
	requireBytes(t, root)
	writeFile(t, root, "\u212a/\u212a.mp3")
	check(t, New(root), "K/K.mp3", "")
	check(t, New(root), "\u212a/K.mp3", "")

	// The form of the root itself does not matter.
	root = filepath.Join(root, "\u00e9")
	writeFile(t, root, "\u212a.mp3")
	check(t, New(root), filepath.Join(root, "K.mp3"), "")
}

// The limit is for all folders of one call together.
func TestSearchIsBounded(t *testing.T) {
	root := t.TempDir()
	requireBytes(t, root)
	stored, asked := "\u00e9e\u0301/\u00e9e\u0301.mp3", "\u00e9\u00e9/\u00e9\u00e9.mp3"
	writeFile(t, root, stored)
	for i := range 9 {
		writeFile(t, root, fmt.Sprintf("other \u00e9 %d", i))
		writeFile(t, root, fmt.Sprintf("\u00e9e\u0301/other \u00e9 %d", i))
	}
	f := New(root)
	if f.maxListed != maxListed {
		t.Errorf("maxListed is %d", f.maxListed)
	}
	f.maxListed = 20
	check(t, f, asked, stored)
	f.maxListed = 10
	check(t, f, asked, "")
	check(t, f, stored, stored)
}

// A name may be too long in one form only.
func TestLongNames(t *testing.T) {
	root := t.TempDir()
	composed := strings.Repeat("\ud55c", 80) + ".mp3" // 244 bytes, and 724 in NFD
	writeFile(t, root, composed)
	check(t, New(root), canonical.Decompose(composed), composed)

	check(t, New(root), strings.Repeat("\ud55c", 70)+".mp3", "")
	tooLong := strings.Repeat("\ud55c", 300)
	if _, err := New(root).Stat(tooLong); !isRefused(err) {
		t.Errorf("a name that is too long in every form: %v, want fs.ErrInvalid", err)
	}
}

func TestInvalidUTF8(t *testing.T) {
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "\xff"), nil, 0o644); err != nil || runtime.GOOS == "windows" {
		t.Skip("file names are UTF-8 here:", err)
	}
	requireBytes(t, root)
	writeFile(t, root, "e\u0301\xe9.mp3")
	check(t, New(root), "\u00e9\xe9.mp3", "e\u0301\xe9.mp3")
	check(t, New(root), "e\u0301\u00e9.mp3", "")
	check(t, New(root), "e\u0301\xe8.mp3", "")
}

// What is refused under its exact name is also refused under an equivalent one.
func TestEquivalentNameIsChecked(t *testing.T) {
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	writeFile(t, dir, "secret.mp3")
	writeFile(t, root, "inside.mp3")
	writeFile(t, root, "ordner e\u0301\u00e9/x")
	refused := []string{"ordner e\u0301\u00e9"}

	for target, link := range map[string]string{
		"../secret.mp3":                   "out e\u0301\u00e9",
		filepath.Join(dir, "secret.mp3"):  "absolute e\u0301\u00e9",
		"..":                              "up e\u0301\u00e9",
		"loop e\u0301\u00e9":              "loop e\u0301\u00e9",
		filepath.Join(root, "inside.mp3"): "absolute inside e\u0301\u00e9",
	} {
		if err := os.Symlink(target, filepath.Join(root, link)); err != nil {
			t.Skip("no symbolic links:", err)
		}
		refused = append(refused, link)
	}
	refused = append(refused, "up e\u0301\u00e9/secret.mp3", "up e\u0301\u00e9/root/inside.mp3")
	if mkfifo, err := exec.LookPath("mkfifo"); err == nil {
		if out, err := exec.Command(mkfifo, filepath.Join(root, "fifo e\u0301\u00e9")).CombinedOutput(); err != nil {
			t.Fatalf("mkfifo: %v, %s", err, out)
		}
		refused = append(refused, "fifo e\u0301\u00e9")
	}
	for _, stored := range refused {
		for _, asked := range []string{stored, canonical.Compose(stored), canonical.Decompose(stored)} {
			if _, err := New(root).Stat(asked); !isRefused(err) {
				t.Errorf("Stat(%+q): %v, want fs.ErrInvalid", asked, err)
			}
			if file, _, err := New(root).Open(asked); !isRefused(err) {
				t.Errorf("Open(%+q): %v, want fs.ErrInvalid", asked, err)
				file.Close()
			}
		}
	}

	// A link that stays inside is followed.
	if err := os.Symlink("inside.mp3", filepath.Join(root, "in e\u0301\u00e9")); err != nil {
		t.Fatal(err)
	}
	check(t, New(root), "in \u00e9\u00e9", "inside.mp3")
	check(t, New(root), "..\u00e9/secret.mp3", "")
	if _, err := New(root).Stat("../\u00e9/../secret.mp3"); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("a path out of the root: %v, want fs.ErrInvalid", err)
	}
}

// An entry that is replaced between the search and the opening does not lead out of the root.
func TestEquivalentNameRace(t *testing.T) {
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	writeFile(t, dir, "secret")
	writeFile(t, root, "inside")
	name := filepath.Join(root, "e\u0301\u00e9")
	if err := os.Symlink("../secret", name); err != nil {
		t.Skip("no symbolic links:", err)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		temp := filepath.Join(root, "temp")
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if i%2 == 0 {
				os.Link(filepath.Join(root, "inside"), temp)
			} else {
				os.Symlink("../secret", temp)
			}
			os.Rename(temp, name)
		}
	}()
	defer func() { close(stop); <-stopped }()
	opened := 0
	for range 1000 {
		file, _, err := New(root).Open("\u00e9\u00e9")
		if err != nil {
			continue
		}
		opened++
		content, err := io.ReadAll(file)
		file.Close()
		if string(content) != "inside" || err != nil {
			t.Fatalf("read %q, %v", content, err)
		}
	}
	t.Logf("%d of 1000 opened", opened)
}

func BenchmarkMissing(b *testing.B) {
	root := b.TempDir()
	for i := range 20_000 {
		if err := os.WriteFile(filepath.Join(root, fmt.Sprintf("%05d Beyonc\u00e9 - D\u00e9j\u00e0 Vu.flac", i)), nil, 0o644); err != nil {
			b.Fatal(err)
		}
	}
	for name, path := range map[string]string{"ascii": "missing.flac", "non-ASCII": "missing \u00e9.flac"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := New(root).Stat(path); !errors.Is(err, fs.ErrNotExist) {
					b.Fatal(err)
				}
			}
		})
	}
}
