package thumbcache_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"go/format"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/thumbcache/thumbcache"
)

// readDoc returns the text of a page, with Unix line ends.
func readDoc(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(text), "\r\n", "\n")
}

// codeBlocks returns the code blocks of a language in a page. If mark is not empty, it returns only those after a line
// "<!-- mark -->".
func codeBlocks(page, language, mark string) (blocks []string) {
	if mark != "" {
		mark = "<!-- " + mark + " -->\n"
	}
	for {
		_, rest, ok := strings.Cut(page, mark+"```"+language+"\n")
		if !ok {
			return blocks
		}
		var block string
		block, page, _ = strings.Cut(rest, "```\n")
		blocks = append(blocks, block)
	}
}

// TestDocServer compiles the server in the README.
func TestDocServer(t *testing.T) {
	t.Parallel()
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("there is no go command to compile it")
	}
	blocks := codeBlocks(readDoc(t, "README.md"), "go", "")
	if len(blocks) == 0 {
		t.Fatal("the README has no code block")
	}
	file := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(file, []byte(blocks[0]), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(goTool, "vet", file).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestDocMoving checks that the code in docs/moving.md is that of the example, which is compiled and run.
func TestDocMoving(t *testing.T) {
	page, example := readDoc(t, "docs/moving.md"), readDoc(t, "example_test.go")
	after := codeBlocks(page, "go", "after")
	if len(after) < 4 {
		t.Errorf("%d blocks are marked as \"after\", want at least 4", len(after))
	}
	for _, block := range after {
		if !strings.Contains(example, "\n"+block+"\n") {
			t.Errorf("not in example_test.go:\n%s", block)
		}
	}
	// The page says how many lines go, and how many come. Those of scanned are counted apart.
	before := codeBlocks(page, "go", "before")
	codeLines := func(blocks []string) (lines []string) {
		for line := range strings.Lines(strings.Join(blocks, "")) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "//") {
				lines = append(lines, line)
			}
		}
		return lines
	}
	scanned := slices.IndexFunc(after, func(block string) bool { return strings.Contains(block, ") scanned(") })
	more := len(codeLines(after[scanned : scanned+1]))
	old, now := codeLines(before), codeLines(slices.Delete(slices.Clone(after), scanned, scanned+1))
	same := commonLines(old, now)
	gone, added := len(old)-same, len(now)-same
	says := fmt.Sprintf("%d lines go and %d come. `scanned`, which replaces nothing, has %d more.", gone, added, more)
	if !strings.Contains(page, says) || gone < 3*added {
		t.Errorf("the page does not say that %s", says)
	}
	for _, block := range append(before, after...) {
		if formatted, err := format.Source([]byte(block)); err != nil || string(formatted) != block {
			t.Errorf("not formatted by gofmt (%v):\n%s", err, block)
		}
	}
}

// commonLines returns the length of the longest common subsequence of a and b, as diff would find it.
func commonLines(a, b []string) int {
	best := make([]int, len(b)+1) // for the lines of a so far, and the first lines of b
	for _, line := range a {
		diagonal := 0
		for j := range b {
			above := best[j+1]
			best[j+1] = max(above, best[j])
			if line == b[j] {
				best[j+1] = diagonal + 1
			}
			diagonal = above
		}
	}
	return best[len(b)]
}

// noMedia is a provider of albums without a cover.
type noMedia struct{}

func (noMedia) Stat(context.Context, string) (thumbcache.Stamp, error) {
	return thumbcache.Stamp{}, thumbcache.ErrNoMedia
}

func (noMedia) Open(context.Context, string) (*thumbcache.Source, error) {
	return nil, thumbcache.ErrNoMedia
}

// TestDocReader runs the script in docs/format.md on a folder with all kinds of files, and with all kinds of damage.
func TestDocReader(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed")
	}
	scripts := codeBlocks(readDoc(t, "docs/format.md"), "python", "")
	if len(scripts) != 1 {
		t.Fatalf("%d scripts, want 1", len(scripts))
	}
	script := filepath.Join(t.TempDir(), "reader.py")
	if err := os.WriteFile(script, []byte(scripts[0]), 0o600); err != nil {
		t.Fatal(err)
	}

	dir := t.TempDir()
	cache, err := thumbcache.New(thumbcache.Config{
		Providers: map[string]thumbcache.Provider{"music": thumbcache.Files("testdata/library"), "db": noMedia{}},
		Profiles:  map[string]thumbcache.Profile{"small": {Width: 90, Height: 60, MaxBytes: 2000}},
		Extractor: thumbcache.FirstOf(thumbcache.Images(), thumbcache.CoverArt()),
		Dir:       dir,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close()
	want := make(map[string]bool) // the lines of the script, without the names of files
	for _, req := range []thumbcache.Request{
		{Path: "Ada Rings/Lossless/01 One Cover.flac", Size: 100},
		{Path: "Ada Rings/Lossless/01 One Cover.flac", Size: 0},
		{Path: "Pictures/Glass.png", Size: 90, Format: thumbcache.PNG},
		{Path: "Pictures/Held Sideways.jpg", Size: 80, Fit: thumbcache.Cover, Version: "7"},
		{Path: "Pictures/Held Sideways.jpg", Size: 70, Fit: thumbcache.Cover, Format: thumbcache.PNG},
		{Path: "Çelik Ünal/Şarkılar/02 Etiket.wv", Size: 60},
		{Path: "Pictures/Held Sideways.jpg", Width: 70, Height: 50, Fit: thumbcache.Cover, FocusX: 0.1},
		{Path: "Pictures/Held Sideways.jpg", Width: 60, Height: 50, Fit: thumbcache.Pad, Background: "blur"},
		{Path: "Pictures/Held Sideways.jpg", Size: 40, Fit: thumbcache.Pad, Background: "0000ff"},
		{Path: "Pictures/Glass.png", Size: 91, Format: thumbcache.Auto},
		{Path: "Pictures/Held Sideways.jpg", Profile: "small"},
		{Path: "Pictures/Glass.png", Size: 92, Format: thumbcache.WebP},
		{Path: "Nobody/No Cover.mp3"},
		{Path: "Nobody/Broken.flac"},
		{Path: "Films/Over the Hills.mp4"}, // unknown to these extractors
		{Path: "al-1", Provider: "db"},
	} {
		req.Provider = cmp.Or(req.Provider, "music")
		thumb, err := cache.Do(t.Context(), req)
		var what string
		switch {
		case err == nil:
			what = fmt.Sprintf("%d x %d, %d bytes", thumb.Width, thumb.Height, len(thumb.Data))
		case errors.Is(err, thumbcache.ErrNoPicture):
			what = "no picture in it"
		case errors.Is(err, thumbcache.ErrNoMedia):
			what = "no media"
		case errors.Is(err, thumbcache.ErrUnsupported):
			what = "unsupported"
		case errors.Is(err, thumbcache.ErrCorrupt):
			what = "corrupt"
		default:
			t.Fatal(err)
		}
		want[what+", of "+req.Provider+"/"+req.Path] = true
	}
	if err := cache.Close(); err != nil {
		t.Fatal(err)
	}

	// read runs the script. It returns what the script says about each file, and whether its exit status says that all are
	// valid.
	read := func() (lines map[string]string, valid bool) {
		t.Helper()
		var stdout, stderr bytes.Buffer
		cmd := exec.Command(python, script, dir)
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		err := cmd.Run()
		if err != nil && (cmd.ProcessState.ExitCode() != 1 || stderr.Len() > 0) { // the status of an exception is 1 too
			t.Fatalf("%v\n%s", err, &stderr)
		}
		lines = make(map[string]string)
		for line := range strings.Lines(strings.ReplaceAll(stdout.String(), "\r\n", "\n")) {
			name, what, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
			lines[name] = what
		}
		return lines, err == nil
	}
	lines, valid := read()
	account := lines["account"]
	delete(lines, "account")
	var sum int64
	for name, what := range lines {
		if !want[what] {
			t.Errorf("%s: %s", name, what)
		}
		info, err := os.Stat(filepath.Join(dir, name[:2], name))
		if err != nil {
			t.Fatal(err)
		}
		sum += info.Size()
	}
	if !valid || len(lines) != len(want) {
		t.Errorf("%d files, want %d; all valid: %v", len(lines), len(want), valid)
	}
	switch runtime.GOOS {
	case "linux", "darwin", "windows": // other systems have no account
		if want := fmt.Sprintf("%d files, %d bytes", len(lines), sum); account != want {
			t.Errorf("account: %q, want %q", account, want)
		}
	}

	// The script must refuse damaged copies of the files, each with its own reason.
	damage := []struct {
		why string
		do  func(file []byte) []byte
	}{
		{"wrong checksum", func(file []byte) []byte { file[len(file)/3] ^= 1; return file }}, // mostly in a picture
		{"wrong checksum", func(file []byte) []byte { file[0] ^= 0x80; return file }},
		{"wrong checksum", func(file []byte) []byte { file[len(file)-9] ^= 4; return file }}, // in the texts
		{"wrong checksum", func(file []byte) []byte { file[len(file)-5] ^= 2; return file }}, // the checksum itself
		{"no trailer", func(file []byte) []byte { file[len(file)-4] ^= 1; return file }},
		{"no trailer", func(file []byte) []byte { return file[:len(file)-1] }},
		{"no trailer", func(file []byte) []byte { return append(file, 0) }},
		{"too short", func(file []byte) []byte { return nil }},
		{"another file's content", nil},
	}
	var previous []byte
	refused := make(map[string]string)
	for name := range lines {
		if strings.HasSuffix(name, ".none") {
			continue
		}
		file := filepath.Join(dir, name[:2], name)
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, d := range damage {
			if d.do == nil && previous == nil {
				continue
			}
			bad := previous
			if d.do != nil {
				bad = d.do(append([]byte(nil), data...))
			}
			// Only the size in the name differs.
			copyName := fmt.Sprintf("%s_%d.jpg", name[:64], 1000+i)
			if err := os.WriteFile(filepath.Join(dir, name[:2], copyName), bad, 0o600); err != nil {
				t.Fatal(err)
			}
			refused[copyName] = d.why
		}
		previous = data
	}
	if lines, valid = read(); valid {
		t.Error("damaged files count as valid")
	}
	for name, why := range refused {
		if lines[name] != why {
			t.Errorf("%s: %q, want %q", name, lines[name], why)
		}
	}
	if len(refused) < len(damage) || len(lines) != len(want)+len(refused)+1 {
		t.Errorf("%d damaged files, and %d lines about all files", len(refused), len(lines))
	}
}

// TestDocSecurity checks what SECURITY.md says about go.mod.
func TestDocSecurity(t *testing.T) {
	mod := readDoc(t, "go.mod")
	if strings.Contains(mod, "disintegration/imaging") {
		t.Error("go.mod requires imaging")
	}
	var minor int
	_, version, _ := strings.Cut(mod, "golang.org/x/image v0.")
	if _, err := fmt.Sscanf(version, "%d", &minor); err != nil || minor < 47 {
		t.Errorf("golang.org/x/image is v0.%d (%v), want at least v0.47", minor, err)
	}
}

var (
	docLink    = regexp.MustCompile(`\]\(([^)\s]+)\)|(?m:^\[[^\]]+\]:\s+(\S+))|src(?:set)?="([^"]+)"`)
	docHeading = regexp.MustCompile(`(?m)^#+ +(.+)$`)
	docCode    = regexp.MustCompile("(?ms)^```.*?^```$|`[^`\n]*`")
)

// findFiles returns the files of the repository with one of the endings, except those in hidden folders.
func findFiles(t *testing.T, endings ...string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && name != "." && strings.HasPrefix(d.Name(), ".") {
			return fs.SkipDir
		}
		if slices.Contains(endings, filepath.Ext(name)) {
			names = append(names, filepath.ToSlash(name))
		}
		return err
	})
	if err != nil || len(names) < 6 {
		t.Fatal(err, names)
	}
	return names
}

// docFile matches what a page, or a comment in code, names as a file of the repository.
var docFile = map[string]*regexp.Regexp{
	".md": regexp.MustCompile("`((?:[A-Za-z0-9_-]+/)*[A-Za-z0-9_-]+\\.(?:go|md|svg|yml|py)|(?:[a-z0-9_-]+/)+)`"),
	".go": regexp.MustCompile(`(?m)(?:^|\s)//.*?\b((?:[A-Za-z0-9_-]+/)*[A-Za-z0-9_-]+\.md)\b`),
}

// TestDocFiles checks that the files that pages and comments name exist, beside them or below the root.
func TestDocFiles(t *testing.T) {
	for _, name := range findFiles(t, ".md", ".go") {
		for _, m := range docFile[path.Ext(name)].FindAllStringSubmatch(readDoc(t, name), -1) {
			_, besideErr := os.Stat(path.Join(path.Dir(name), m[1]))
			if _, err := os.Stat(m[1]); err != nil && besideErr != nil {
				t.Errorf("%s names %s, which does not exist", name, m[1])
			}
		}
	}
}

// TestDocLinks checks that links between pages, and to files and headings, have a target.
func TestDocLinks(t *testing.T) {
	for _, page := range findFiles(t, ".md") {
		for _, m := range docLink.FindAllStringSubmatch(docCode.ReplaceAllString(readDoc(t, page), ""), -1) {
			link, err := url.Parse(m[1] + m[2] + m[3])
			if err != nil {
				t.Errorf("%s: %v", page, err)
				continue
			}
			if link.Scheme != "" || link.Host != "" {
				continue
			}
			target := page
			if link.Path != "" {
				target = path.Join(path.Dir(page), link.Path)
			}
			if _, err := os.Stat(target); err != nil || strings.HasPrefix(target, "../") {
				t.Errorf("%s links to %s, which does not exist", page, link)
				continue
			}
			if link.Fragment == "" {
				continue
			}
			found := false
			for _, h := range docHeading.FindAllStringSubmatch(readDoc(t, target), -1) {
				found = found || anchor(h[1]) == link.Fragment
			}
			if !found {
				t.Errorf("%s links to %s, but there is no such heading", page, link)
			}
		}
	}
}

// anchor returns the fragment that GitHub gives to a heading.
func anchor(heading string) string {
	heading = regexp.MustCompile(`[^\pL\pN _-]`).ReplaceAllString(strings.ToLower(heading), "")
	return strings.ReplaceAll(heading, " ", "-")
}
