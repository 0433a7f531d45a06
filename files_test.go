package thumbcache

import (
	"archive/zip"
	"bytes"
	"context"
	"embed"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

// makeFolder writes files below a folder. The content of each says where it is.
func makeFolder(t *testing.T, folder string, names ...string) string {
	t.Helper()
	for _, name := range names {
		file := filepath.Join(folder, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(name+" in "+filepath.Base(folder)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

// readSource returns the content of a source. It checks that Stat and Open agree.
func readSource(t *testing.T, p Provider, path string) (string, error) {
	t.Helper()
	stamp, statErr := p.Stat(t.Context(), path)
	src, err := p.Open(t.Context(), path)
	if (err == nil) != (statErr == nil) || errors.Is(err, fs.ErrInvalid) != errors.Is(statErr, fs.ErrInvalid) ||
		errors.Is(err, fs.ErrNotExist) != errors.Is(statErr, fs.ErrNotExist) {
		t.Errorf("%s: Stat: %v, Open: %v", path, statErr, err)
	}
	if err != nil {
		return "", err
	}
	defer src.Content.Close()
	if !src.Stamp.equal(stamp) || !src.isSteady(stamp) && !isStream(src) {
		t.Errorf("%s: Stat: %+v, Open: %+v", path, stamp, src.Stamp)
	}
	data, err := io.ReadAll(io.NewSectionReader(src.Content, 0, src.Size))
	if err == nil && int64(len(data)) != src.Size {
		t.Errorf("%s: %d bytes, want %d", path, len(data), src.Size)
	}
	return string(data), err
}

// isStream reports whether the content of src is read by an adapter, which cannot tell whether the file has changed.
func isStream(src *Source) bool {
	switch src.Content.(type) {
	case *seekContent, *streamContent:
		return true
	}
	return false
}

// describe returns the content of a source, or what its error matches.
func describe(t *testing.T, p Provider, path string) string {
	t.Helper()
	content, err := readSource(t, p, path)
	switch {
	case errors.Is(err, fs.ErrInvalid):
		return "invalid"
	case errors.Is(err, fs.ErrNotExist):
		return "missing"
	case err != nil:
		return "unreachable"
	}
	return content
}

// Of several roots, the first that has the file is used. An absolute path belongs to the roots that contain it.
func TestFilesRoots(t *testing.T) {
	dir := t.TempDir()
	one := makeFolder(t, filepath.Join(dir, "one"), "both", "only one", "folder here/x", "sub/deep")
	two := makeFolder(t, filepath.Join(dir, "two"), "both", "only two", "folder here/y", "file there")
	three := makeFolder(t, filepath.Join(dir, "three"), "folder here", "file there/z")
	p := Files(one, two, three, filepath.Join(one, "sub"))
	for path, want := range map[string]string{
		"both":                               "both in one",
		"only one":                           "only one in one",
		"only two":                           "only two in two",
		"folder here":                        "folder here in three", // folders make way for a file
		"folder here/y":                      "folder here/y in two",
		"file there":                         "file there in two",
		"file there/z":                       "file there/z in three",
		"deep":                               "sub/deep in one",
		"sub":                                "invalid", // a folder
		"neither":                            "missing",
		"../two/both":                        "invalid",
		"":                                   "invalid",
		filepath.Join(two, "both"):           "both in two",
		filepath.Join(one, "sub/deep"):       "sub/deep in one",
		filepath.Join(three, "file there"):   "invalid", // a folder
		filepath.Join(one, "only two"):       "missing",
		filepath.Join(one, "sub/only one"):   "missing",
		one + "/../two/only two":             "only two in two",
		filepath.Join(dir, "one and a half"): "invalid",
		dir:                                  "invalid",
	} {
		if got := describe(t, p, path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}

	// A folder that several roots have holds the files of all of them.
	for path, want := range map[string]string{
		"folder here":                     "x y",
		filepath.Join(two, "folder here"): "y",
		"file there":                      "z",
		".":                               "both,deep,file there,folder here,only one,only two,sub",
	} {
		names, err := p.(Lister).List(t.Context(), path)
		if err != nil || strings.Join(names, " ") != want && strings.Join(names, ",") != want {
			t.Errorf("List(%s): %q, %v", path, names, err)
		}
	}
	for path, want := range map[string]error{"neither": fs.ErrNotExist, "both": fs.ErrInvalid, "..": fs.ErrInvalid, dir: fs.ErrInvalid} {
		if names, err := p.(Lister).List(t.Context(), path); !errors.Is(err, want) || len(names) > 0 {
			t.Errorf("List(%s): %q, %v", path, names, err)
		}
	}
}

// While a root cannot be reached, the files of the others can. What none of them has may be in the one that is away.
func TestFilesRootOffline(t *testing.T) {
	dir := t.TempDir()
	one := makeFolder(t, filepath.Join(dir, "one"), "a", "both", "album/cover.jpg")
	two := makeFolder(t, filepath.Join(dir, "two"), "b", "both", "album/song.mp3")
	for _, p := range []Provider{Files(one, two), Files(two, one)} {
		if err := os.Rename(one, one+" away"); err != nil {
			t.Fatal(err)
		}
		for path, want := range map[string]string{
			"a": "unreachable", "b": "b in two", "both": "both in two", "none": "unreachable", "../b": "invalid", "album": "invalid",
			filepath.Join(one, "a"): "unreachable", filepath.Join(two, "a"): "missing", filepath.Join(dir, "a"): "invalid",
		} {
			if got := describe(t, p, path); got != want {
				t.Errorf("%s: %q, want %q", path, got, want)
			}
		}
		if names, err := p.(Lister).List(t.Context(), "album"); err != nil || !slices.Equal(names, []string{"song.mp3"}) {
			t.Errorf("List: %q, %v", names, err)
		}
		if err := os.Rename(one+" away", one); err != nil {
			t.Fatal(err)
		}
		if got := describe(t, p, "a"); got != "a in one" {
			t.Errorf("back: %q", got)
		}
	}
	if _, err := New(Config{Providers: map[string]Provider{"p": Files()}}); err == nil || !strings.Contains(err.Error(), `"p"`) {
		t.Errorf("no root at all: %v", err)
	}
	if got := describe(t, Files(), "a"); got != "invalid" {
		t.Errorf("no root at all: %q", got)
	}
}

// An exact name in any root is found before an equivalent one, and an equivalent one in any root is found.
func TestFilesRootsUnicode(t *testing.T) {
	const nfc, nfd = "Bj\u00f6rk", "Bjo\u0308rk"
	dir := t.TempDir()
	one := makeFolder(t, filepath.Join(dir, "one"), nfd+"/a", nfd+"/both")
	if _, err := os.Stat(filepath.Join(one, nfc)); err == nil {
		t.Skip("the file system finds a name in every form by itself")
	}
	two := makeFolder(t, filepath.Join(dir, "two"), nfc+"/b", nfc+"/both")
	p := Files(one, two)
	for path, want := range map[string]string{
		nfc + "/both": nfc + "/both in two", nfd + "/both": nfd + "/both in one", nfc + "/a": nfd + "/a in one", nfd + "/b": nfc + "/b in two",
		nfc + "/none": "missing", filepath.Join(one, nfc, "both"): nfd + "/both in one",
	} {
		if got := describe(t, p, path); got != want {
			t.Errorf("%+q: %+q, want %+q", path, got, want)
		}
	}
	if names, err := p.(Lister).List(t.Context(), nfc); err != nil || !slices.Equal(names, []string{"b", "both"}) {
		t.Errorf("List: %q, %v", names, err)
	}
}

// A song in one root has the cover that is in the same folder of another root.
func TestFilesRootsFolderArt(t *testing.T) {
	dir := t.TempDir()
	songs := makeFolder(t, filepath.Join(dir, "songs"), "album/song.mp3")
	covers := makeFolder(t, filepath.Join(dir, "covers"), "album/x")
	if err := os.WriteFile(filepath.Join(covers, "album", "cover.png"), plain(30, 30, red), 0o644); err != nil {
		t.Fatal(err)
	}
	none := ExtractorFunc(func(context.Context, *Source) (*Picture, error) { return nil, ErrNoPicture })
	c := mustNew(t, Config{Providers: map[string]Provider{"p": Files(songs, covers)}, Extractor: FirstOf(Images(), none)})
	checkColor(t, mustGet(t, c, "p", "album/song.mp3", 10), red)
	checkColor(t, mustGet(t, c, "p", "album", 10), red)
	if _, err := c.Get(t.Context(), "p", filepath.Join(songs, "album/song.mp3"), 10); !errors.Is(err, ErrNoPicture) {
		t.Errorf("an absolute path is in one root: %v", err)
	}
}

//go:embed testdata/library/Pictures
var embedded embed.FS

// zipped returns a file system in an archive, with files that are compressed. Its files can only be read from the beginning.
func zipped(t *testing.T, modified time.Time, files map[string][]byte) fs.FS {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for name, data := range files {
		file, err := w.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate, Modified: modified})
		if err == nil {
			_, err = file.Write(data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// seekOnly is a file system whose files are no ReaderAt.
type seekOnly struct{ fs.FS }

func (s seekOnly) Open(name string) (fs.File, error) {
	file, err := s.FS.Open(name)
	if err != nil {
		return nil, err
	}
	seeker, ok := file.(io.ReadSeeker)
	if info, err := file.Stat(); !ok || err != nil || info.IsDir() {
		return file, err
	}
	return struct {
		fs.File
		io.Seeker
	}{file, seeker}, nil
}

// FS serves the same from every kind of file system.
func TestFS(t *testing.T) {
	names := []string{"a.txt", "folder/b.txt", "folder/empty", "folder/c d\u00e9.txt"}
	dir := makeFolder(t, filepath.Join(t.TempDir(), "fs"), names...)
	old := time.Unix(1e9, 0)
	inMemory, packed := make(fstest.MapFS), make(map[string][]byte)
	for _, name := range names {
		content := []byte(name + " in fs")
		if name == "folder/empty" {
			content = nil
			if err := os.Truncate(filepath.Join(dir, name), 0); err != nil {
				t.Fatal(err)
			}
		}
		packed[name], inMemory[name] = content, &fstest.MapFile{Data: content}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for kind, fsys := range map[string]fs.FS{
		"folder": os.DirFS(dir), "root": root.FS(), "memory": inMemory, "zip": zipped(t, old, packed), "zip without times": zipped(t, time.Time{}, packed),
		"seeker": seekOnly{os.DirFS(dir)}, "seeker without times": seekOnly{inMemory},
	} {
		p := FS(fsys)
		for path, want := range map[string]string{
			"a.txt": "a.txt in fs", "folder/b.txt": "folder/b.txt in fs", "folder/empty": "", names[3]: names[3] + " in fs",
			"folder": "invalid", ".": "invalid", "": "invalid", "/a.txt": "invalid", "./a.txt": "invalid", "folder/../a.txt": "invalid",
			"../fs/a.txt": "invalid", "folder/": "invalid", filepath.ToSlash(filepath.Join(dir, "a.txt")): "invalid",
			"none": "missing", "folder/none": "missing", "none/a.txt": "missing",
		} {
			if runtime.GOOS == "windows" && filepath.IsAbs(path) {
				want = describe(t, p, path) // C:/... is a valid path of a file system, and there is no such file
			}
			if got := describe(t, p, path); got != want {
				t.Errorf("%s: %q: %q, want %q", kind, path, got, want)
			}
		}
		listed, err := p.(Lister).List(t.Context(), "folder")
		slices.Sort(listed)
		if err != nil || !slices.Equal(listed, []string{"b.txt", "c d\u00e9.txt", "empty"}) {
			t.Errorf("%s: List: %q, %v", kind, listed, err)
		}
		for path, want := range map[string]error{"a.txt": fs.ErrInvalid, "none": fs.ErrNotExist, "../fs": fs.ErrInvalid, "": fs.ErrInvalid} {
			if names, err := p.(Lister).List(t.Context(), path); !errors.Is(err, want) || len(names) > 0 {
				t.Errorf("%s: List(%q): %q, %v", kind, path, names, err)
			}
		}
		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		_, statErr := p.Stat(canceled, "a.txt")
		_, openErr := p.Open(canceled, "a.txt")
		_, listErr := p.(Lister).List(canceled, "folder")
		for _, err := range []error{statErr, openErr, listErr} {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%s: canceled: %v", kind, err)
			}
		}
	}
	if _, err := New(Config{Providers: map[string]Provider{"p": FS(nil)}}); err == nil || !strings.Contains(err.Error(), `"p"`) {
		t.Errorf("no file system: %v", err)
	}
}

// Errors contain no path of the host, whatever the file system puts into them.
func TestFSErrors(t *testing.T) {
	for _, cause := range []error{fs.ErrNotExist, fs.ErrPermission, errors.New("connection refused")} {
		p := FS(failingFS{&fs.PathError{Op: "open", Path: "/srv/secret/a", Err: cause}})
		_, statErr := p.Stat(t.Context(), "a")
		_, openErr := p.Open(t.Context(), "a")
		_, listErr := p.(Lister).List(t.Context(), "a")
		for _, err := range []error{statErr, openErr, listErr} {
			if !errors.Is(err, cause) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%v, want %v", err, cause)
			}
		}
	}
	// A path that goes on below a file does not exist.
	dir := makeFolder(t, filepath.Join(t.TempDir(), "fs"), "a")
	if got := describe(t, FS(os.DirFS(dir)), "a/b"); got != "missing" {
		t.Errorf("below a file: %q", got)
	}
}

type failingFS struct{ err error }

func (f failingFS) Open(string) (fs.File, error) { return nil, f.err }

// A FIFO is not opened, because that would block.
func TestFSSpecial(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command("mkfifo", filepath.Join(dir, "fifo")).CombinedOutput(); err != nil {
		t.Skipf("no FIFO can be made: %v %s", err, out)
	}
	if got := describe(t, FS(os.DirFS(dir)), "fifo"); got != "invalid" {
		t.Errorf("got %q", got)
	}
	if _, err := FS(os.DirFS(dir)).(Lister).List(t.Context(), "fifo"); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("List: %v", err)
	}
}

// A file without a time that changes has another stamp, even if its size is the same.
func TestFSWithoutTimes(t *testing.T) {
	stamp := func(data string) Stamp {
		t.Helper()
		for _, fsys := range []fs.FS{fstest.MapFS{"a": {Data: []byte(data)}}, zipped(t, time.Time{}, map[string][]byte{"a": []byte(data)})} {
			if got, err := FS(fsys).Stat(t.Context(), "a"); err != nil || got.Size != int64(len(data)) || got.Tag == "" {
				t.Errorf("%+v, %v", got, err)
			}
		}
		s, _ := FS(fstest.MapFS{"a": {Data: []byte(data)}}).Stat(t.Context(), "a")
		return s
	}
	if stamp("one").equal(stamp("two")) || !stamp("one").equal(stamp("one")) || stamp("").equal(stamp("x")) {
		t.Error("the stamps do not follow the content")
	}
	at := FS(fstest.MapFS{"a": {ModTime: time.Unix(1e9, 0)}})
	if s, err := at.Stat(t.Context(), "a"); err != nil || s.Tag != "" || !s.ModTime.Equal(time.Unix(1e9, 0)) {
		t.Errorf("%+v, %v", s, err)
	}
}

// Pictures and songs in an embed.FS and in an archive have thumbnails.
func TestFSThumbnails(t *testing.T) {
	song, err := os.ReadFile("testdata/library/Ada Rings/Lossless/01 One Cover.flac")
	if err != nil {
		t.Fatal(err)
	}
	archive := zipped(t, time.Now(), map[string][]byte{"album/song.flac": song, "album/bare.mp3": nil, "album/cover.png": plain(30, 30, red)})
	c := mustNew(t, Config{
		Providers: map[string]Provider{"embed": FS(embedded), "zip": FS(archive), "seeker": FS(seekOnly{os.DirFS("testdata/library")})},
		Extractor: FirstOf(Images(), CoverArt(), ExtractorFunc(func(context.Context, *Source) (*Picture, error) { return nil, ErrNoPicture })),
		Dir:       t.TempDir(),
	})
	mustGet(t, c, "embed", "testdata/library/Pictures/Glass.png", 10)
	mustGet(t, c, "zip", "album/song.flac", 10)
	mustGet(t, c, "seeker", "Ada Rings/Lossless/01 One Cover.flac", 10)
	checkColor(t, mustGet(t, c, "zip", "album/bare.mp3", 10), red)
	checkColor(t, mustGet(t, c, "zip", "album", 10), red)
}

// A file that can only be read from its beginning is read as far as it is needed, and not beyond a limit.
func TestStream(t *testing.T) {
	data := make([]byte, 100_000)
	for i := range data {
		data[i] = byte(i * i >> 8)
	}
	file := &countingFile{Reader: bytes.NewReader(data)}
	c := &streamContent{ctx: t.Context(), file: file}
	for _, at := range []struct{ off, n int }{{0, 10}, {500, 20}, {3, 1}, {0, 0}, {40_000, 1000}, {39_000, 1500}, {99_990, 10}, {99_990, 20}, {100_000, 1}, {1 << 30, 1}} {
		p := make([]byte, at.n)
		n, err := c.ReadAt(p, int64(at.off))
		want := data[min(at.off, len(data)):min(at.off+at.n, len(data))]
		if !bytes.Equal(p[:n], want) || (err == io.EOF) != (n < at.n) || err != nil && err != io.EOF {
			t.Errorf("%d bytes at %d: %d, %v", at.n, at.off, n, err)
		}
		if at.off == 500 && file.n > 2000 {
			t.Errorf("%d bytes were read for the first 520", file.n)
		}
	}
	if _, err := c.ReadAt(make([]byte, 1), -1); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("a negative offset: %v", err)
	}
	if c.Close(); !file.closed {
		t.Error("not closed")
	}

	endless := &streamContent{ctx: t.Context(), file: &countingFile{Reader: zeros{}}}
	if n, err := endless.ReadAt(make([]byte, 10), maxStream-10); n != 10 || err != nil {
		t.Errorf("below the limit: %d, %v", n, err)
	}
	for _, off := range []int64{maxStream - 5, maxStream, 1 << 62, 1<<63 - 1} {
		if n, err := endless.ReadAt(make([]byte, 10), off); n != max(0, int(min(maxStream-off, 10))) || !errors.Is(err, ErrTooLarge) {
			t.Errorf("at %d: %d, %v", off, n, err)
		}
	}
	if n := cap(endless.data); n > maxStream*3/2 {
		t.Errorf("%d bytes are kept", n)
	}

	ctx, cancel := context.WithCancel(t.Context())
	canceled := &streamContent{ctx: ctx, file: &countingFile{Reader: zeros{}}}
	cancel()
	if _, err := canceled.ReadAt(make([]byte, 1), 0); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

// A countingFile counts the bytes that were read.
type countingFile struct {
	io.Reader
	fs.File
	n      int
	closed bool
}

func (f *countingFile) Read(p []byte) (int, error) {
	n, err := f.Reader.Read(p[:min(len(p), 1000)])
	f.n += n
	return n, err
}

func (f *countingFile) Close() error {
	f.closed = true
	return nil
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
