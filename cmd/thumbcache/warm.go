package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/thumbcache/thumbcache"
	"github.com/thumbcache/thumbcache/internal/store"
)

// serveSizes are the sizes that serve makes unless it is told otherwise.
var serveSizes = []int{160, 320, 640, 1280}

// warmOptions are the flags of warm.
type warmOptions struct {
	dir        string
	provider   string
	sizes      []int
	jobs       int
	limit      byteCount
	limitGiven bool // limit is what the user said
	asJSON     bool
}

// What warm came to.
type warmResult struct {
	Folder   string `json:"folder"`
	Dir      string `json:"dir"`
	Provider string `json:"provider"`
	Sizes    []int  `json:"sizes"`
	MaxBytes int64  `json:"max_bytes"`
	thumbcache.Warmed
	Evicted     uint64          `json:"evicted"`
	DiskErrors  uint64          `json:"disk_errors"`
	Seconds     float64         `json:"seconds"`
	Interrupted bool            `json:"interrupted"`
	Failures    []failureReport `json:"failures"` // the first ones
}

type failureReport struct {
	Path  string `json:"path"`
	Error string `json:"error"`
}

func warmCommand(c *console) *cobra.Command {
	var o warmOptions
	cmd := &cobra.Command{
		Use:   "warm FOLDER",
		Short: "Make the thumbnails of a folder before somebody asks for them",
		Long: "Make the thumbnails of all files in FOLDER, hidden ones left out, before somebody asks for them. What is there is\n" +
			"reused, so it may be interrupted and called again at any time.\n\n" +
			"Without --dir they go to where 'thumbcache serve FOLDER' keeps its thumbnails. For a server of your own, give it the\n" +
			"server's folder of thumbnails, the name of its provider and the sizes that it asks for.\n\n" +
			"The exit code is 1 if a file could not be had, or ffmpeg was not found for it. That there is no picture in a file,\n" +
			"or that it is broken, is no failure.",
		Example: `  thumbcache warm ~/Music
  thumbcache warm /srv/media --dir /var/cache/thumbs --provider media --sizes 300,600 --jobs 4
  thumbcache warm ~/Music --json
    {"folder": "/home/me/Music", "dir": "/home/me/.cache/thumbcache/0123456789abcdef", "provider": "library",
     "sizes": [160, 320, 640, 1280], "max_bytes": 524288000, "extracted": 1200, "reused": 30, "no_picture": 12, "failed": 1,
     "evicted": 0, "disk_errors": 0, "seconds": 42.5, "interrupted": false,
     "failures": [{"path": "a/b.flac", "error": "permission denied"}]}`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeFolderArg,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.limitGiven = cmd.Flags().Changed("max-bytes")
			if err := o.check(); err != nil {
				return err
			}
			return warm(cmd.Context(), c, args, o)
		},
	}
	o.limit = defaultLimit
	cmd.Flags().StringVar(&o.dir, "dir", "", dirHelp)
	cmd.Flags().StringVar(&o.provider, "provider", providerName, "name by which the server asks for FOLDER")
	cmd.Flags().IntSliceVar(&o.sizes, "sizes", serveSizes, "sizes to make, in pixels")
	cmd.Flags().IntVar(&o.jobs, "jobs", max(1, runtime.GOMAXPROCS(0)/2), "files that are worked on at once")
	cmd.Flags().Var(&o.limit, "max-bytes", "bytes that may be kept in the folder of thumbnails; if not given, what it holds already is kept too")
	_ = cmd.MarkFlagDirname("dir")
	addJSONFlag(cmd, &o.asJSON)
	return cmd
}

func (o *warmOptions) check() error {
	if o.jobs < 1 {
		return usageError{errors.New("--jobs must be at least 1")}
	}
	if o.limit < 1 {
		return usageError{errMaxBytes}
	}
	if len(o.sizes) == 0 {
		return usageError{errors.New("--sizes is empty")}
	}
	for _, size := range o.sizes {
		if size < 0 {
			return usageError{fmt.Errorf("--sizes: %d is negative", size)}
		}
	}
	return checkProvider(o.provider)
}

const (
	plainProgressInterval = 5 * time.Second // between two lines where there is no terminal
	maxListedFailures     = 1000            // that are listed in JSON
)

func warm(ctx context.Context, c *console, args []string, o warmOptions) error {
	folder, err := absFolder(args)
	if err != nil {
		return err
	}
	w := warmResult{Folder: folder, Dir: o.dir, Provider: o.provider, Sizes: o.sizes, Failures: []failureReport{}}
	if w.Dir == "" {
		if w.Dir, err = defaultThumbnailDir(folder); err != nil {
			return err
		}
	}
	if !o.limitGiven {
		o.limit = max(o.limit, storedBytes(w.Dir))
	}
	w.MaxBytes = int64(o.limit)
	var (
		m       = progressMeter{start: time.Now()}
		p       *progress
		unread  int  // folders
		noTool  bool // ffmpeg was not found
		observe = thumbcache.Observer{Warmed: func(path string, sofar thumbcache.Warmed, err error) {
			failed := sofar.Failed > m.latest.Load().Failed
			m.latest.Store(&sofar)
			if !failed {
				return
			}
			noTool = noTool || errors.Is(err, exec.ErrNotFound)
			p.printLine(c.err, quoteName(path)+": "+describeError(err))
			if len(w.Failures) < maxListedFailures {
				w.Failures = append(w.Failures, failureReport{path, describeError(err)})
			}
		}}
	)
	m.latest.Store(new(thumbcache.Warmed))
	cache, err := thumbcache.New(thumbcache.Config{
		Providers: map[string]thumbcache.Provider{o.provider: thumbcache.Files(folder)},
		Dir:       w.Dir,
		DiskBytes: int64(o.limit),
		// Warming leaves one worker and one process to people, of whom there are none here.
		Workers:   o.jobs + 1,
		Extractor: thumbcache.FirstOf(thumbcache.Images(), thumbcache.CoverArt(), &thumbcache.FFmpeg{Processes: o.jobs + 1}),
		FolderArt: folderArt,
		Observer:  &observe,
	})
	if err != nil {
		return err
	}
	defer cache.Close()

	// How many there are is counted meanwhile, so that nobody waits for that.
	counting, counted := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		walkMedia(counting, folder, func(string) bool {
			m.found.Add(1)
			return true
		}, func(string, error) {})
		m.isCounted.Store(counting.Err() == nil)
	}()
	p = c.startProgress(plainProgressInterval, m.format)
	paths := func(yield func(string) bool) {
		walkMedia(ctx, folder, yield, func(name string, err error) {
			unread++
			p.printLine(c.err, quoteName(name)+": cannot be read: "+describeError(err))
		})
	}
	w.Warmed, err = cache.Warm(ctx, o.provider, paths, o.sizes...)
	counted()
	<-done
	p.finish()
	cache.Close() // what is behind is counted too
	s := cache.Stats()
	w.Evicted, w.DiskErrors, w.Seconds, w.Interrupted = s.Evictions, s.DiskErrors, time.Since(m.start).Seconds(), ctx.Err() != nil
	if o.asJSON {
		err = errors.Join(err, c.writeJSON(w))
	} else {
		w.print(c, time.Since(m.start))
	}
	if noTool {
		fmt.Fprintln(c.err, "ffmpeg was not found: without it there are no thumbnails of videos, and other kinds of files cannot be told from them")
	}
	switch {
	case err != nil:
		return err
	case w.DiskErrors > 0:
		return fmt.Errorf("%s of or to %s failed, so that thumbnails may be missing there", pluralize(int64(w.DiskErrors), "read or write", "reads and writes"), quoteName(w.Dir))
	case unread > 0 || w.Failed > 0:
		return errReported
	}
	return nil
}

// held returns how much a folder of thumbnails holds already. A server that uses it may have a larger limit than our default,
// by which nothing of what it has must go.
func storedBytes(dir string) byteCount {
	s, err := store.Existing(dir)
	if err != nil {
		return 0
	}
	defer s.Close()
	return byteCount(s.Usage().Bytes)
}

func (w *warmResult) print(c *console, took time.Duration) {
	all := w.Extracted + w.Reused + w.NoPicture + w.Failed
	did := "Done"
	if w.Interrupted {
		did = "Interrupted; the same command goes on from here. So far"
	}
	fmt.Fprintf(c.out, "%s: %s in %s: %s extracted, %s reused, %s without a picture, %s failed\n",
		did, countFiles(all), formatDuration(took), formatCount(w.Extracted), formatCount(w.Reused), formatCount(w.NoPicture), formatCount(w.Failed))
	if w.Evicted > 0 {
		fmt.Fprintf(c.out, "%s had to be removed to make room: --max-bytes says how much may be kept\n", pluralize(int64(w.Evicted), "thumbnail", "thumbnails"))
	}
}

// walkMedia yields the files that may be media, by their paths below folder with slashes, as serve asks for them. What is
// hidden is left out, and links are followed only to files inside.
func walkMedia(ctx context.Context, folder string, yield func(path string) bool, failed func(path string, err error)) {
	root, err := os.OpenRoot(folder)
	if err != nil {
		failed(folder, err)
		return
	}
	defer root.Close()
	_ = filepath.WalkDir(folder, func(name string, e fs.DirEntry, err error) error { // nothing below returns an error of its own
		switch {
		case ctx.Err() != nil:
			return fs.SkipAll
		case err != nil && errors.Is(err, fs.ErrNotExist) && name != folder:
			return nil // it has gone meanwhile
		case err != nil:
			failed(name, err)
			return nil
		case name == folder:
			return nil
		case strings.HasPrefix(e.Name(), ".") && e.IsDir():
			return fs.SkipDir
		case strings.HasPrefix(e.Name(), "."):
			return nil
		}
		below, err := filepath.Rel(folder, name)
		if err != nil {
			return nil
		}
		if e.Type()&fs.ModeSymlink != 0 {
			if info, err := root.Stat(below); err != nil || !info.Mode().IsRegular() {
				return nil
			}
		} else if !e.Type().IsRegular() {
			return nil
		}
		if !yield(filepath.ToSlash(below)) {
			return fs.SkipAll
		}
		return nil
	})
}

// A meter tells how far warming has come.
type progressMeter struct {
	start     time.Time
	latest    atomic.Pointer[thumbcache.Warmed]
	found     atomic.Int64
	isCounted atomic.Bool // found is all there is

	// Used by line alone: how far it was some moments ago.
	marks []mark
}

type mark struct {
	at   time.Time
	done int64
}

const (
	markInterval = time.Second
	maxMarks     = 20
)

func (m *progressMeter) format(width int) string {
	w := m.latest.Load()
	done := int64(w.Extracted + w.Reused + w.NoPicture + w.Failed)
	now := time.Now()
	if len(m.marks) == 0 {
		m.marks = append(m.marks, mark{at: m.start})
	}
	if now.Sub(m.marks[len(m.marks)-1].at) >= markInterval {
		m.marks = append(m.marks[max(0, len(m.marks)-maxMarks+1):], mark{now, done})
	}
	// The rate of late: what was reused at the beginning says nothing about what is left.
	then := m.marks[0]
	rate := float64(done-then.done) / max(now.Sub(then.at).Seconds(), 0.001)
	found := max(m.found.Load(), done)
	text := fmt.Sprintf("%s of %s", formatCount(done), countFiles(found))
	if !m.isCounted.Load() {
		text = fmt.Sprintf("%s of more than %s", formatCount(done), countFiles(found))
	}
	text += fmt.Sprintf(", %.1f/s", rate)
	if m.isCounted.Load() && rate > 0 {
		text += ", " + formatDuration(time.Duration(float64(found-done)/rate*float64(time.Second))) + " left"
	}
	if w.Failed > 0 {
		text += ", " + formatCount(w.Failed) + " failed"
	}
	if !m.isCounted.Load() || width == 0 {
		return text
	}
	return formatBar(width, done, found) + "  " + text
}

// duration returns d as a person would say it.
func formatDuration(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%.0fs", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%dh%02dm", min(d/time.Hour, 9999), d%time.Hour/time.Minute)
}
