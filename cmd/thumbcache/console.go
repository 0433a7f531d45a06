package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/thumbcache/thumbcache/internal/store"
)

// A console is what a command writes to.
type console struct {
	out, err                     io.Writer
	outIsTerminal, errIsTerminal bool
	width                        func() int // of the terminal that err is, in characters
}

func newConsole() *console {
	return &console{
		out:           os.Stdout,
		err:           os.Stderr,
		outIsTerminal: term.IsTerminal(int(os.Stdout.Fd())),
		errIsTerminal: term.IsTerminal(int(os.Stderr.Fd())),
		width: func() int {
			if w, _, err := term.GetSize(int(os.Stderr.Fd())); err == nil && w > 0 {
				return w
			}
			return 80
		},
	}
}

// A sink remembers the first failure to write, so that nobody else has to look for one.
type errWriter struct {
	io.Writer
	err error
}

func (s *errWriter) Write(b []byte) (int, error) {
	n, err := s.Writer.Write(b)
	if s.err == nil {
		s.err = err
	}
	return n, err
}

// json writes v to the output, as one document.
func (c *console) writeJSON(v any) error {
	e := json.NewEncoder(c.out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// A progress shows how far a command has come. On a terminal it is a line that is written over again and again; elsewhere it
// is a new line every so often, or nothing.
type progress struct {
	c    *console
	line func(width int) string
	done chan struct{}
	wg   sync.WaitGroup

	mu    sync.Mutex // protects what is written, and
	drawn int        // how many characters of the terminal's line are in use
}

const redrawInterval = 100 * time.Millisecond

// progress shows what line returns, of no more than width characters, until end is called. Where there is no terminal it does
// so each time that plain has passed, if that is positive; width is 0 then.
func (c *console) startProgress(plain time.Duration, line func(width int) string) *progress {
	p := &progress{c: c, line: line, done: make(chan struct{})}
	interval := plain
	if c.errIsTerminal {
		interval = redrawInterval
		p.draw()
	}
	if interval <= 0 {
		return p
	}
	p.wg.Go(func() {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-p.done:
				return
			case <-ticker.C:
				p.draw()
			}
		}
	})
	return p
}

func (p *progress) draw() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.c.errIsTerminal {
		fmt.Fprintln(p.c.err, p.line(0))
		return
	}
	line := []rune(p.line(p.c.width() - 1)) // in the last column some terminals begin a new line
	line = line[:min(len(line), max(0, p.c.width()-1))]
	// Blanks clear the rest of the line on every terminal.
	fmt.Fprintf(p.c.err, "\r%s%s", string(line), strings.Repeat(" ", max(0, p.drawn-len(line))))
	p.drawn = len(line)
}

// say writes a line that stays.
func (p *progress) printLine(w io.Writer, line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clearLocked()
	fmt.Fprintln(w, line)
}

func (p *progress) clearLocked() {
	if p.drawn > 0 {
		fmt.Fprintf(p.c.err, "\r%s\r", strings.Repeat(" ", p.drawn))
		p.drawn = 0
	}
}

// end takes the line away.
func (p *progress) finish() {
	close(p.done)
	p.wg.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clearLocked()
}

// bar returns a bar that shows how much of all is done, and which part that is. It takes a third of the width.
func formatBar(width int, done, all int64) string {
	part := 1.0
	if done < all {
		part = float64(done) / float64(all)
	}
	n := max(width/3-7, 5)
	full := int(part * float64(n))
	return fmt.Sprintf("[%s%s] %3.0f%%", strings.Repeat("#", full), strings.Repeat("-", n-full), math.Floor(part*100))
}

// shown returns a name as it can be shown to a person: quoted if there is anything in it that a terminal would not simply
// show.
func quoteName(name string) string {
	if name == "" || name != strings.TrimSpace(name) || escapeUnprintable(name) != name {
		return strconv.Quote(name)
	}
	return name
}

// clean returns a text without what a terminal would not simply show.
func escapeUnprintable(text string) string {
	var b strings.Builder
	for i, r := range text {
		_, n := utf8.DecodeRuneInString(text[i:])
		if strconv.IsPrint(r) && !(r == utf8.RuneError && n == 1) {
			b.WriteRune(r)
			continue
		}
		quoted := strconv.Quote(text[i : i+n])
		b.WriteString(quoted[1 : len(quoted)-1])
	}
	return b.String()
}

// number returns n in groups of three digits.
func formatCount[T int | int64](n T) string {
	s := strconv.FormatInt(int64(n), 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// many returns n and the word for it.
func pluralize[T int | int64](n T, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return formatCount(n) + " " + more
}

func countFiles[T int | int64](n T) string { return pluralize(n, "file", "files") }

// amount returns n bytes in the unit that suits a person.
func formatBytes(n int64) string {
	const units = "KMGTPE"
	if n < 1<<10 {
		return pluralize(n, "byte", "bytes")
	}
	v, i := float64(n)/(1<<10), 0
	for v >= 1023.95 && i < len(units)-1 {
		v /= 1 << 10
		i++
	}
	return fmt.Sprintf("%.1f %ciB", v, units[i])
}

// when returns a time, and how long ago that was.
func formatTime(t, now time.Time) string {
	return t.Local().Format("2006-01-02 15:04:05") + " (" + formatAge(now.Sub(t)) + ")"
}

func formatAge(d time.Duration) string {
	switch {
	case d < -time.Minute:
		return "in the future"
	case d < time.Minute:
		return "just now"
	case d < 2*time.Hour:
		return pluralize(int(d/time.Minute), "minute", "minutes") + " ago"
	case d < 48*time.Hour:
		return pluralize(int(d/time.Hour), "hour", "hours") + " ago"
	}
	return pluralize(int(d/(24*time.Hour)), "day", "days") + " ago"
}

// A byteCount is a flag that is a number of bytes, with a unit if one likes.
type byteCount int64

var byteUnits = map[string]float64{
	"": 1, "B": 1,
	"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40,
	"KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40,
	"KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
}

const byteHelp = "as in 1000, 2GB (10^9 bytes each), 500MiB or 500M (2^20 each)"

func (b *byteCount) Set(s string) error {
	digits := strings.TrimRight(strings.TrimSpace(s), "BKMGTibkmgt ")
	unit, ok := byteUnits[strings.ToUpper(strings.TrimSpace(strings.TrimSpace(s)[len(digits):]))]
	v, err := strconv.ParseFloat(digits, 64)
	// Nothing but digits and a point: ParseFloat knows "Inf", "0x1p3" and "1_0" too.
	if strings.Trim(digits, "0123456789.") != "" || err != nil || !ok || v*unit >= 1<<62 {
		return fmt.Errorf("a number of bytes is needed, %s", byteHelp)
	}
	*b = byteCount(v * unit)
	return nil
}

func (b *byteCount) String() string {
	if *b >= 1<<20 && *b%(1<<20) == 0 {
		return strconv.FormatInt(int64(*b>>20), 10) + "MiB"
	}
	return strconv.FormatInt(int64(*b), 10)
}

func (b *byteCount) Type() string { return "BYTES" }

// A choice is a flag with a few names as its values, which stand for 0, 1, and so on.
type choice[T ~uint8] struct {
	value *T
	names []string
}

func (c choice[T]) Set(s string) error {
	s = strings.ToLower(s)
	if s == "jpg" {
		s = "jpeg"
	}
	i := slices.Index(c.names, s)
	if i < 0 {
		return fmt.Errorf("it must be %s", strings.Join(c.names, " or "))
	}
	*c.value = T(i)
	return nil
}

func (c choice[T]) String() string {
	if c.value == nil {
		return ""
	}
	return c.names[*c.value]
}

func (c choice[T]) Type() string { return strings.Join(c.names, "|") }

var (
	fits    = []string{"contain", "cover"} // by thumbcache.Fit
	formats = []string{"jpeg", "png"}      // by thumbcache.Format
)

// choose adds a flag that is a choice.
func addChoiceFlag[T ~uint8](cmd *cobra.Command, value *T, name string, names []string, usage string) {
	cmd.Flags().Var(choice[T]{value, names}, name, usage)
	_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp)) // it fails only for no flag
}

// completeFolder completes the first argument by folders and nothing else.
func completeFolderArg(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return nil, cobra.ShellCompDirectiveFilterDirs
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}

func addJSONFlag(cmd *cobra.Command, asked *bool) {
	cmd.Flags().BoolVar(asked, "json", false, "write one JSON document instead, as in the example")
}

// openStore opens a folder of thumbnails to look after it. A folder that is none is left as it is.
func openStore(dir string) (*store.Store, error) {
	s, err := store.Existing(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no folder %s", quoteName(dir))
	case errors.Is(err, store.ErrForeign):
		return nil, fmt.Errorf("%s is not a folder of thumbnails", quoteName(dir))
	}
	return s, err
}
