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

	"github.com/thumbcache/thumbcache"
	"github.com/thumbcache/thumbcache/internal/store"
)

// A console is the pair of output streams of a command.
type console struct {
	out, err                     io.Writer
	outIsTerminal, errIsTerminal bool
	width                        func() int // of the terminal that err writes to, in characters
}

// newConsole returns the streams of this process.
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

// An errWriter remembers the first write error. The commands ignore write errors, and run checks for one at the end.
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

// writeJSON writes v to standard output as one indented document.
func (c *console) writeJSON(v any) error {
	e := json.NewEncoder(c.out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// A progress displays the progress of a command on stderr. On a terminal it redraws one line in place. Otherwise it prints
// a new line at a fixed interval, or nothing.
type progress struct {
	c    *console
	line func(width int) string
	done chan struct{}
	wg   sync.WaitGroup

	mu    sync.Mutex // serializes output, and protects drawn
	drawn int        // characters of the progress line now on the terminal
}

const redrawInterval = 100 * time.Millisecond // looks smooth, and costs next to nothing

// startProgress displays the text that line returns until finish is called. On a terminal, line gets the width available.
// Otherwise line gets 0, and a line is printed at each plainInterval; if that is 0, nothing is printed.
func (c *console) startProgress(plainInterval time.Duration, line func(width int) string) *progress {
	p := &progress{c: c, line: line, done: make(chan struct{})}
	interval := plainInterval
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
	line := []rune(p.line(p.c.width() - 1)) // some terminals wrap after the last column
	line = line[:min(len(line), max(0, p.c.width()-1))]
	// Overwrite the rest with blanks. Unlike an escape sequence, this works on every terminal.
	fmt.Fprintf(p.c.err, "\r%s%s", string(line), strings.Repeat(" ", max(0, p.drawn-len(line))))
	p.drawn = len(line)
}

// printLine clears the progress line and writes line to w.
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

// finish stops the display and clears the progress line.
func (p *progress) finish() {
	close(p.done)
	p.wg.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clearLocked()
}

// formatBar returns a progress bar and a percentage, which together take a third of width.
func formatBar(width int, done, total int64) string {
	fraction := 1.0
	if done < total {
		fraction = float64(done) / float64(total)
	}
	n := max(width/3-7, 5)
	full := int(fraction * float64(n))
	return fmt.Sprintf("[%s%s] %3.0f%%", strings.Repeat("#", full), strings.Repeat("-", n-full), math.Floor(fraction*100))
}

// quoteName returns a file or provider name for display. It quotes the name if it is empty, begins or ends with a space,
// or contains unprintable characters, which could be escape sequences for the terminal.
func quoteName(name string) string {
	if name == "" || name != strings.TrimSpace(name) || escapeUnprintable(name) != name {
		return strconv.Quote(name)
	}
	return name
}

// escapeUnprintable returns text with unprintable characters and invalid UTF-8 replaced by Go escapes such as \x1b.
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

// formatCount returns n with commas between groups of three digits.
func formatCount[T int | int64](n T) string {
	s := strconv.FormatInt(int64(n), 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// pluralize returns n followed by the matching form of a noun.
func pluralize[T int | int64](n T, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return formatCount(n) + " " + more
}

func countFiles[T int | int64](n T) string { return pluralize(n, "file", "files") }

// formatBytes returns a number of bytes with one decimal and a binary unit, such as "1.5 MiB".
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

// formatTime returns t in the local time zone, and its age.
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

// A byteCount is the value of a flag: a number of bytes with an optional unit.
type byteCount int64

// byteUnits holds the units in upper case. As in GNU tools, "M" and "MiB" are binary and "MB" is decimal.
var byteUnits = map[string]float64{
	"": 1, "B": 1,
	"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40,
	"KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40,
	"KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
}

const byteHelp = "such as 1000, 2GB (decimal) or 500MiB (binary, same as 500M)"

func (b *byteCount) Set(s string) error {
	digits := strings.TrimRight(strings.TrimSpace(s), "BKMGTibkmgt ")
	unit, ok := byteUnits[strings.ToUpper(strings.TrimSpace(strings.TrimSpace(s)[len(digits):]))]
	v, err := strconv.ParseFloat(digits, 64)
	// Accept digits and a point only. ParseFloat also accepts "Inf", "0x1p3" and "1_0".
	if strings.Trim(digits, "0123456789.") != "" || err != nil || !ok || v*unit >= 1<<62 {
		return fmt.Errorf("must be a number of bytes, %s", byteHelp)
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

// A choice is the value of a flag that takes one of a few names. The index of the name is stored in value.
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
		return fmt.Errorf("must be %s", strings.Join(c.names, " or "))
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
	fits    = []string{"contain", "cover", "pad"}     // indexed by thumbcache.Fit
	formats = []string{"jpeg", "png", "auto", "webp"} // indexed by thumbcache.Format
)

// addChoiceFlag adds a flag that takes one of names, with completion.
func addChoiceFlag[T ~uint8](cmd *cobra.Command, value *T, name string, names []string, usage string) {
	cmd.Flags().Var(choice[T]{value, names}, name, usage)
	_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp)) // fails only for an unknown flag
}

// A focus is the value of a flag: the focus of a request, as in a URL.
type focus struct{ req *thumbcache.Request }

func (f focus) Set(s string) error {
	left, top, _ := strings.Cut(s, ",")
	var at [2]float64
	for i, part := range []string{left, top} {
		v, err := strconv.ParseFloat(part, 64)
		if err != nil || v > 1 || strings.Trim(part, "0123456789.") != "" {
			return errors.New("must be two numbers from 0 to 1, such as 0.3,0.7")
		}
		at[i] = max(v, 0.01) // 0 is the center in a Request
	}
	f.req.FocusX, f.req.FocusY = at[0], at[1]
	return nil
}

func (f focus) String() string { return "" } // the default is the center, as the usage says

func (f focus) Type() string { return "X,Y" }

// addFocusFlag adds a flag for the focus of a request. The command calls checkFocus.
func addFocusFlag(cmd *cobra.Command, req *thumbcache.Request) {
	cmd.Flags().Var(focus{req}, "focus", "of cover: the point to keep in the middle, from the left and the top, such as 0.3,0.7 (default: 0.5,0.5)")
}

func checkFocus(req *thumbcache.Request) error {
	if req.Fit != thumbcache.Cover && (req.FocusX != 0 || req.FocusY != 0) {
		return usageError{errors.New("--focus needs --fit cover")}
	}
	return nil
}

// completeFolderArg completes the first argument with folder names, and the others with nothing.
func completeFolderArg(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return nil, cobra.ShellCompDirectiveFilterDirs
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}

func addJSONFlag(cmd *cobra.Command, value *bool) {
	cmd.Flags().BoolVar(value, "json", false, "print the result as JSON, as in the example")
}

// openStore opens an existing thumbnail folder for maintenance. It never creates one, and returns an error for a folder
// that holds other things.
func openStore(dir string) (*store.Store, error) {
	s, err := store.Existing(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("folder %s does not exist", quoteName(dir))
	case errors.Is(err, store.ErrForeign):
		return nil, fmt.Errorf("%s is not a thumbnail folder", quoteName(dir))
	}
	return s, err
}
