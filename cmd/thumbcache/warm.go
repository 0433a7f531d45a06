package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/thumbcache/thumbcache"
	"github.com/thumbcache/thumbcache/internal/store"
)

// serveSizes are the default sizes of serve and warm. They are those that the page requests.
var serveSizes = []int{160, 320, 640, 1280}

// warmFormats are the formats that warm makes.
var warmFormats = []string{"jpeg", "webp"}

// warmOptions are the flags of warm.
type warmOptions struct {
	dir        string
	noDir      bool // keep nothing on disk
	provider   string
	sizes      []int
	format     uint8 // index of warmFormats
	jobs       int
	limit      byteCount
	limitGiven bool // the user has set limit
	asJSON     bool
	shared     sharedFlags
}

// A warmResult counts what warm has done.
type warmResult struct {
	Folder   string `json:"folder"`
	Dir      string `json:"dir"`
	Provider string `json:"provider"`
	Sizes    []int  `json:"sizes"`
	Format   string `json:"format"`
	MaxBytes int64  `json:"max_bytes"`
	thumbcache.Warmed
	Evicted     uint64          `json:"evicted"`
	DiskErrors  uint64          `json:"disk_errors"`
	Seconds     float64         `json:"seconds"`
	Interrupted bool            `json:"interrupted"`
	Failures    []failureReport `json:"failures"` // the first maxListedFailures
	Shared      *sharedWarmed   `json:"shared,omitempty"`
}

// A sharedWarmed counts the calls of the shared tier.
type sharedWarmed struct {
	Hits    uint64 `json:"hits"`    // thumbnails that were there
	Errors  uint64 `json:"errors"`  // calls that failed or took too long
	Dropped uint64 `json:"dropped"` // thumbnails and failures that could not be stored there
}

type failureReport struct {
	Path  string `json:"path"`
	Error string `json:"error"`
}

func warmCommand(c *console) *cobra.Command {
	var o warmOptions
	cmd := &cobra.Command{
		Use:   "warm FOLDER",
		Short: "Make the thumbnails of a folder in advance",
		Long: "Make the thumbnails of all files in FOLDER except hidden ones. Stored thumbnails are\n" +
			"reused, so it is safe to interrupt the command and run it again.\n\n" +
			"Without --dir it fills the thumbnail folder of 'thumbcache serve FOLDER'. For your\n" +
			"own server, set --dir to its thumbnail folder, --provider to the name of its\n" +
			"provider, and --sizes to the sizes that it requests. If it negotiates WebP\n" +
			"(Config.Negotiate, 'serve --negotiate'), use --format webp.\n\n" +
			"With --shared, it also fills the tier that several machines share, see 'thumbcache\n" +
			"serve --help'. What --dir has already is not copied there; --dir '' keeps nothing on\n" +
			"the disk of this machine.\n\n" +
			"The exit code is 1 if a file could not be read, or if it needs ffmpeg and ffmpeg\n" +
			"was not found. Files that have no picture or are corrupt do not count as failures.",
		Example: `  thumbcache warm ~/Music
  thumbcache warm /srv/media --dir /var/cache/thumbs --provider media --sizes 300,600 --jobs 4
  thumbcache warm /srv/media --dir '' --shared redis://cache.example.org:6379/0
  thumbcache warm ~/Music --json --shared redis://cache.example.org:6379/0
    {"folder": "/home/me/Music", "dir": "/home/me/.cache/thumbcache/0123456789abcdef", "provider": "library",
     "sizes": [160, 320, 640, 1280], "format": "jpeg", "max_bytes": 524288000, "extracted": 1200, "reused": 30, "no_picture": 12,
     "failed": 1, "evicted": 0, "disk_errors": 0, "seconds": 42.5, "interrupted": false,
     "failures": [{"path": "a/b.flac", "error": "permission denied"}], "shared": {"hits": 7, "errors": 0, "dropped": 0}}`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeFolderArg,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.limitGiven, o.noDir = cmd.Flags().Changed("max-bytes"), isEmpty(cmd.Flags().Lookup("dir"))
			if err := cmp.Or(o.check(), o.shared.check(cmd)); err != nil {
				return err
			}
			return warm(cmd.Context(), c, args, o)
		},
	}
	o.limit = defaultLimit
	cmd.Flags().StringVar(&o.dir, "dir", "", dirHelp)
	cmd.Flags().StringVar(&o.provider, "provider", providerName, "name of the server's provider for FOLDER")
	cmd.Flags().IntSliceVar(&o.sizes, "sizes", serveSizes, "sizes to make, in pixels")
	addChoiceFlag(cmd, &o.format, "format", warmFormats, "format to make")
	cmd.Flags().IntVar(&o.jobs, "jobs", max(1, runtime.GOMAXPROCS(0)/2), "number of files to process at the same time")
	cmd.Flags().Var(&o.limit, "max-bytes", "size limit of the thumbnail folder (default: 500MiB, or its current size if that is larger)")
	cmd.Flags().Lookup("max-bytes").DefValue = "" // the usage describes the default
	_ = cmd.MarkFlagDirname("dir")
	o.shared.addWithTimeout(cmd)
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
	plainProgressInterval = 5 * time.Second // between progress lines when stderr is not a terminal
	maxListedFailures     = 1000            // failures in the JSON result; bounds memory if every file fails
)

// A warmer is one run of the warm command.
type warmer struct {
	console  *console
	result   warmResult
	meter    progressMeter
	progress *progress

	unreadableFolders int
	isFFmpegMissing   bool // a file failed because ffmpeg was not found
}

func warm(ctx context.Context, c *console, args []string, o warmOptions) error {
	folder, err := absFolder(args)
	if err != nil {
		return err
	}
	if o.dir, err = chooseDir(o.dir, o.noDir, folder); err != nil {
		return err
	}
	tier, err := o.shared.prepare(ctx, c)
	if err != nil {
		return err
	}
	defer tier.close()
	if !o.limitGiven && o.dir != "" {
		o.limit = max(o.limit, storedBytes(o.dir))
	}
	w := &warmer{
		console: c,
		result:  warmResult{Folder: folder, Dir: o.dir, Provider: o.provider, Sizes: o.sizes, Format: warmFormats[o.format], MaxBytes: int64(o.limit), Failures: []failureReport{}},
		meter:   progressMeter{start: time.Now()},
	}
	w.meter.latest.Store(new(thumbcache.Warmed))
	config := thumbcache.Config{
		Providers: map[string]thumbcache.Provider{o.provider: thumbcache.Files(folder)},
		Dir:       o.dir,
		DiskBytes: int64(o.limit),
		Negotiate: warmFormats[o.format] == "webp", // decides the format of Warm
		// Warm leaves one worker and one process to other requests. There are none here, so add one of each.
		Workers:   o.jobs + 1,
		Extractor: thumbcache.FirstOf(thumbcache.Images(), thumbcache.CoverArt(), &thumbcache.FFmpeg{Processes: o.jobs + 1}),
		Observer:  &thumbcache.Observer{Warmed: w.addFile},
	}
	tier.configure(&config, &o.shared)
	cache, err := thumbcache.New(config)
	if err != nil {
		return err
	}
	defer cache.Close()

	stopCounting := w.meter.startCounting(ctx, folder)
	w.progress = c.startProgress(plainProgressInterval, w.meter.format)
	w.result.Warmed, err = cache.Warm(ctx, o.provider, w.paths(ctx), o.sizes...)
	stopCounting()
	w.progress.finish()
	cache.Close() // completes the writes in the background, so that Stats includes their errors
	stats := cache.Stats()
	w.result.Evicted, w.result.DiskErrors, w.result.Interrupted = stats.Evictions, stats.DiskErrors, ctx.Err() != nil
	if tier != nil {
		w.result.Shared = &sharedWarmed{stats.SharedHits, stats.SharedErrors, stats.SharedDropped}
	}
	return w.report(err, o.asJSON)
}

// addFile is the observer of the cache. It records the progress, and the error of a file that failed.
func (w *warmer) addFile(path string, sofar thumbcache.Warmed, err error) {
	hasFailed := sofar.Failed > w.meter.latest.Load().Failed
	w.meter.latest.Store(&sofar)
	if !hasFailed {
		return
	}
	if errors.Is(err, exec.ErrNotFound) {
		w.isFFmpegMissing = true
	}
	w.progress.printLine(w.console.err, quoteName(path)+": "+describeError(err))
	if len(w.result.Failures) < maxListedFailures {
		w.result.Failures = append(w.result.Failures, failureReport{path, describeError(err)})
	}
}

// paths yields the files to warm, and reports folders that cannot be read.
func (w *warmer) paths(ctx context.Context) iter.Seq[string] {
	return func(yield func(string) bool) {
		walkMedia(ctx, w.result.Folder, yield, func(name string, err error) {
			w.unreadableFolders++
			w.progress.printLine(w.console.err, quoteName(name)+": cannot be read: "+describeError(err))
		})
	}
}

// report prints the result. It returns err, or an error if some files could not be read or written.
func (w *warmer) report(err error, asJSON bool) error {
	took := time.Since(w.meter.start)
	w.result.Seconds = took.Seconds()
	if asJSON {
		err = errors.Join(err, w.console.writeJSON(w.result))
	} else {
		w.result.print(w.console, took)
	}
	if w.isFFmpegMissing {
		fmt.Fprintln(w.console.err, "ffmpeg was not found; without it there are no thumbnails of videos, and files of unknown types are reported as failed")
	}
	switch {
	case err != nil:
		return err
	case w.result.DiskErrors > 0:
		return fmt.Errorf("%s in %s failed; some thumbnails may not be stored", pluralize(int64(w.result.DiskErrors), "read or write", "reads or writes"), quoteName(w.result.Dir))
	case w.result.Shared != nil && w.result.Shared.Dropped > 0:
		return fmt.Errorf("%s could not be stored in the shared tier", pluralize(int64(w.result.Shared.Dropped), "value", "values"))
	case w.unreadableFolders > 0 || w.result.Failed > 0:
		return errReported
	}
	return nil
}

// storedBytes returns the number of bytes in a thumbnail folder. A server that uses the folder may have a larger limit than
// our default. Warming with the smaller one would evict the server's thumbnails.
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
	status := "Done"
	if w.Interrupted {
		status = "Interrupted; run the same command to continue. So far"
	}
	fmt.Fprintf(c.out, "%s: %s in %s: %s extracted, %s reused, %s without a picture, %s failed\n",
		status, countFiles(all), formatDuration(took), formatCount(w.Extracted), formatCount(w.Reused), formatCount(w.NoPicture), formatCount(w.Failed))
	if w.Evicted > 0 {
		fmt.Fprintf(c.out, "%s had to be removed to stay within --max-bytes\n", pluralize(int64(w.Evicted), "thumbnail", "thumbnails"))
	}
	if s := w.Shared; s != nil {
		fmt.Fprintf(c.out, "Shared: %s found there", pluralize(int64(s.Hits), "thumbnail", "thumbnails"))
		if s.Errors > 0 {
			fmt.Fprintf(c.out, ", %s failed", pluralize(int64(s.Errors), "call", "calls"))
		}
		fmt.Fprintln(c.out)
	}
}

// walkMedia yields the path of every file in folder, relative to folder and with slashes, as in the requests of serve. It
// skips hidden files and folders. It follows a link only if the link leads to a file inside folder.
func walkMedia(ctx context.Context, folder string, yield func(path string) bool, failed func(path string, err error)) {
	root, err := os.OpenRoot(folder)
	if err != nil {
		failed(folder, err)
		return
	}
	defer root.Close()
	_ = filepath.WalkDir(folder, func(name string, e fs.DirEntry, err error) error { // the callback returns no errors
		switch {
		case ctx.Err() != nil:
			return fs.SkipAll
		case err != nil && errors.Is(err, fs.ErrNotExist) && name != folder:
			return nil // removed since its folder was read
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

// A progressMeter formats the progress of warming.
type progressMeter struct {
	start     time.Time
	latest    atomic.Pointer[thumbcache.Warmed]
	found     atomic.Int64
	isCounted atomic.Bool // found is final

	marks []mark // recent progress, oldest first; only used by format
}

// A mark is the number of files that were done at one time.
type mark struct {
	at     time.Time
	made   int // those of which a thumbnail was made
	worked int // those that were not reused, so including failures
}

const (
	markInterval = time.Second // between two marks
	maxMarks     = 20          // so the rate is an average of the last 20 s
)

// startCounting counts the files in folder in the background, so that Warm does not have to wait for the count. The
// returned function stops counting and waits until it has ended.
func (m *progressMeter) startCounting(ctx context.Context, folder string) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		walkMedia(ctx, folder, func(string) bool {
			m.found.Add(1)
			return true
		}, func(string, error) {}) // the walk of Warm reports the errors
		m.isCounted.Store(ctx.Err() == nil)
	})
	return func() {
		cancel()
		wg.Wait()
	}
}

// format returns the progress as one line that fits in width characters, with a bar unless width is 0.
func (m *progressMeter) format(width int) string {
	w := m.latest.Load()
	done := int64(w.Extracted + w.Reused + w.NoPicture + w.Failed)
	now := mark{time.Now(), w.Extracted, w.Extracted + w.NoPicture + w.Failed}
	if len(m.marks) == 0 {
		m.marks = append(m.marks, mark{at: m.start})
	}
	if now.at.Sub(m.marks[len(m.marks)-1].at) >= markInterval {
		m.marks = append(m.marks[max(0, len(m.marks)-maxMarks+1):], now)
	}
	// Reused files count for neither rate: a run that is resumed begins with them, and they are much faster than the rest.
	then := m.marks[0]
	seconds := max(now.at.Sub(then.at).Seconds(), 0.001)
	rate := float64(now.worked-then.worked) / seconds
	found := max(m.found.Load(), done)
	text := fmt.Sprintf("%s of %s", formatCount(done), countFiles(found))
	if !m.isCounted.Load() {
		text = fmt.Sprintf("%s of more than %s", formatCount(done), countFiles(found))
	}
	text += fmt.Sprintf(", %.1f made/s", float64(now.made-then.made)/seconds)
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

// formatDuration returns d with a precision that suits its length.
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
