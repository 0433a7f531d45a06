package thumbcache

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestArrows checks the table in CONTRIBUTING.md: what each file of the root may import, and that packages in internal do not
// import each other, with few exceptions.
func TestArrows(t *testing.T) {
	imports := func(file string) []string {
		t.Helper()
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, block, _ := strings.Cut(string(src), "import (")
		block, _, _ = strings.Cut(block, ")")
		var paths []string
		for line := range strings.Lines(block) {
			if _, path, ok := strings.Cut(line, `"`); ok {
				paths = append(paths, strings.TrimSuffix(strings.TrimSpace(path), `"`))
			}
		}
		return paths
	}
	const module = "github.com/thumbcache/thumbcache/"
	for file, banned := range map[string][]string{
		"http.go":       {"image", "os", "os/exec", "path/filepath", module},
		"thumbcache.go": {"image", "net/http", "os", "os/exec", "path/filepath", module + "internal/coverart", module + "internal/ffmpeg", module + "internal/proc", module + "internal/render", module + "internal/store"},
		"make.go":       {"image", "net/http", "os", "os/exec", "path/filepath", module + "internal/coverart", module + "internal/ffmpeg", module + "internal/proc", module + "internal/render"},
		"render.go":     {"image", "net/http", "os", "os/exec", "path/filepath", module + "internal/coverart", module + "internal/ffmpeg", module + "internal/proc", module + "internal/store"},
		"admission.go":  {"image", "net/http", "os", "os/exec", "path/filepath", module + "internal/coverart", module + "internal/ffmpeg", module + "internal/proc", module + "internal/render", module + "internal/store"},
		"memory.go":     {"image", "os", "net/http", module},
		"disk.go":       {"image", "net/http", module + "internal/render", module + "internal/coverart", module + "internal/ffmpeg"},
		"sealed.go":     {"image", "net/http", "os", module + "internal/render", module + "internal/flight"},
		"shared.go":     {"net", "os", module},
		"sharedtier.go": {"image", "net", "os", module + "internal/render", module + "internal/coverart", module + "internal/ffmpeg"},
		"folderart.go":  {"image", "net/http", "os", module + "internal/coverart", module + "internal/ffmpeg", module + "internal/render", module + "internal/flight", module + "internal/store"},
		"extract.go":    {"net/http", module + "internal/flight", module + "internal/store"},
		"provider.go":   {"image", "net/http", "os", module + "internal/coverart", module + "internal/ffmpeg", module + "internal/render", module + "internal/flight", module + "internal/store"},
		"files.go":      {"image", "net/http", "os", "os/exec", module + "internal/coverart", module + "internal/ffmpeg", module + "internal/render", module + "internal/flight", module + "internal/store"},
		"resolve.go":    {"image", "net/http", "os", "os/exec", module + "internal/coverart", module + "internal/ffmpeg", module + "internal/render", module + "internal/store"},
		"remote.go":     {"image", "os", "os/exec", module + "internal/coverart", module + "internal/ffmpeg", module + "internal/render", module + "internal/flight", module + "internal/store"},
	} {
		for _, path := range imports(file) {
			for _, ban := range banned {
				if path == ban || strings.HasPrefix(path, strings.TrimSuffix(ban, "/")+"/") {
					t.Errorf("%s imports %s", file, path)
				}
			}
		}
	}
	allowed := []string{"golang.org/x/sync", "golang.org/x/image", "golang.org/x/sys", "github.com/hashicorp/golang-lru/v2"}
	filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			t.Fatal(err)
		}
		if d.IsDir() && path != "." {
			if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil || d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") {
				return fs.SkipDir
			}
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		for _, imp := range imports(path) {
			if !strings.Contains(strings.Split(imp, "/")[0], ".") {
				continue
			}
			dir := filepath.ToSlash(filepath.Dir(path))
			ours := strings.HasPrefix(imp+"/", module)
			below := strings.HasPrefix(imp, module+dir+"/") || slices.Contains(map[string][]string{
				"internal/ffmpeg":         {module + "internal/proc", module + "internal/heif", module + "internal/jpegdec", module + "internal/turns"},
				"internal/flight":         {module + "internal/explore"}, // its test
				"internal/folderart":      {module + "internal/canonical"},
				"internal/rawphoto":       {module + "internal/tiff"},
				"internal/render":         {module + "internal/jpegdec", module + "internal/lzw", module + "internal/pngdec", module + "internal/reduce", module + "internal/tiff", module + "internal/webpdec"},
				"internal/pngdec":         {module + "internal/inflate", module + "internal/reduce"},
				"internal/tiff":           {module + "internal/inflate", module + "internal/jpegdec", module + "internal/lzw", module + "internal/reduce"},
				"internal/rootfs":         {module + "internal/canonical"},
				"internal/store":          {module + "internal/readfile"},
				"internal/webpdec":        {module + "internal/vp8"},
				"internal/render/webpenc": {module + "internal/vp8", module + "internal/webpdec"}, // the latter in tests
				"sharedtest":              {strings.TrimSuffix(module, "/"), module + "sharedtest"},
				"thumbcachetest":          {strings.TrimSuffix(module, "/"), module + "thumbcachetest"},
			}[dir], imp)
			switch {
			case ours && dir != "." && !below:
				t.Errorf("%s imports %s", path, imp)
			case !ours && !slices.ContainsFunc(allowed, func(a string) bool { return imp == a || strings.HasPrefix(imp, a+"/") }):
				t.Errorf("%s imports %s", path, imp)
			}
		}
		return nil
	})
}
