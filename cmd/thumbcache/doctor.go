package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/thumbcache/thumbcache/internal/store"
	"github.com/thumbcache/thumbcache/internal/sysmem"
)

// A doctorResult is what doctor has found out about this system.
type doctorResult struct {
	Version string  `json:"version"`
	System  string  `json:"system"`
	Dir     string  `json:"dir"`
	Status  string  `json:"status"` // the worst of the checks
	Checks  []check `json:"checks"`
}

// A check is the result of looking at one thing that thumbcache uses.
type check struct {
	Name   string `json:"name"`
	Status string `json:"status"`
	Found  string `json:"found"`
	Cost   string `json:"cost,omitempty"` // what does not work, or is slower, unless Status is ok
}

// The values of check.Status, the best first.
const (
	statusOK      = "ok"
	statusLimited = "limited" // thumbcache works, but something is missing or slower
	statusFailed  = "failed"  // thumbcache cannot store thumbnails
)

var statuses = []string{statusOK, statusLimited, statusFailed}

func doctorCommand(c *console) *cobra.Command {
	var asJSON bool
	var shared sharedFlags
	cmd := &cobra.Command{
		Use:   "doctor [DIR]",
		Short: "Check what this system offers, and what anything missing costs",
		Long: "Check ffmpeg and its decoders, the temporary folder, the thumbnail folder DIR with\n" +
			"its file system and locks, and features of the kernel. For everything that is\n" +
			"missing, doctor says what it costs.\n\n" +
			"Without DIR it checks the place where 'thumbcache serve' keeps its thumbnails. It\n" +
			"creates a folder inside DIR for the test, and removes it again. If DIR does not\n" +
			"exist, it tests the folder in which DIR would be created.\n\n" +
			"With --shared, it also checks the settings of the shared tier, and how fast it answers.\n\n" +
			"The exit code is 1 if thumbnails cannot be stored. Anything else that is missing\n" +
			"has the status \"limited\", and the exit code is 0.",
		Example: `  thumbcache doctor /var/cache/thumbs
  thumbcache doctor --json
    {"version": "v1.0.0 go1.26.0", "system": "linux/amd64", "dir": "/home/me/.cache/thumbcache", "status": "limited",
     "checks": [{"name": "ffmpeg", "status": "limited", "found": "not found in PATH", "cost": "no thumbnails of videos"},
       {"name": "locks", "status": "ok", "found": "shared by processes"}]}`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeFolderArg,
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := doctorDir(args)
			if err != nil {
				return err
			}
			tier, err := shared.open()
			if err != nil {
				return err
			}
			defer tier.close()
			d := examine(cmd.Context(), dir, tier)
			if err := cmd.Context().Err(); err != nil {
				return err
			}
			if asJSON {
				err = c.writeJSON(d)
			} else {
				d.print(c)
			}
			if err == nil && d.Status == statusFailed {
				return errReported
			}
			return err
		},
	}
	shared.add(cmd)
	addJSONFlag(cmd, &asJSON)
	return cmd
}

// doctorDir returns the folder to check: the argument, or the folder that contains the default thumbnail folders.
func doctorDir(args []string) (string, error) {
	if len(args) > 0 {
		return filepath.Abs(args[0])
	}
	dir, err := defaultThumbnailDir("")
	if err != nil {
		return "", fmt.Errorf("%w; name DIR", err)
	}
	return filepath.Dir(dir), nil
}

// examine runs all checks. The tier may be nil.
func examine(ctx context.Context, dir string, tier *sharedTier) *doctorResult {
	d := &doctorResult{Version: buildVersion(), System: runtime.GOOS + "/" + runtime.GOARCH, Dir: dir, Status: statusOK, Checks: []check{}}
	d.checkFFmpeg(ctx)
	d.checkTemp()
	d.checkDir(ctx)
	d.checkMemory()
	d.checkSystem(ctx)
	d.checkShared(ctx, tier)
	for _, c := range d.Checks {
		if slices.Index(statuses, c.Status) > slices.Index(statuses, d.Status) {
			d.Status = c.Status
		}
	}
	return d
}

func (d *doctorResult) add(name, status, found, cost string) {
	if status == statusOK {
		cost = ""
	}
	d.Checks = append(d.Checks, check{name, status, found, cost})
}

// addFeature adds a check that is ok if err is nil, and limited otherwise.
func (d *doctorResult) addFeature(name string, err error, cost string) {
	if err == nil {
		d.add(name, statusOK, "available", "")
		return
	}
	d.add(name, statusLimited, describeError(err), cost)
}

// ---- ffmpeg

const ffmpegTimeout = 10 * time.Second // for listing version or decoders; a cold start from a slow disk takes a second or two

// runFFmpeg returns the standard output of ffmpeg. It is not used for media, only for questions about ffmpeg itself.
func runFFmpeg(ctx context.Context, path string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, ffmpegTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.WaitDelay = time.Second
	return cmd.Output()
}

// findFFmpeg returns the path and the version of the ffmpeg in PATH.
func findFFmpeg(ctx context.Context) (path, version string, err error) {
	if path, err = exec.LookPath("ffmpeg"); err != nil {
		return "", "", err
	}
	out, err := runFFmpeg(ctx, path, "-version")
	if err != nil {
		return path, "", err
	}
	version, ok := parseFFmpegVersion(out)
	if !ok {
		return path, "", errors.New("it does not print its version")
	}
	return path, version, nil
}

// parseFFmpegVersion returns the version in the output of "ffmpeg -version", such as "7.1.2" or "N-118000-g1234567".
func parseFFmpegVersion(out []byte) (version string, ok bool) {
	rest, ok := bytes.CutPrefix(out, []byte("ffmpeg version "))
	fields := bytes.Fields(rest)
	if !ok || len(fields) == 0 {
		return "", false
	}
	return string(fields[0][:min(len(fields[0]), 64)]), true
}

// decoders lists the decoders of ffmpeg that matter for thumbnails. Any one of the alternatives is enough.
var decoders = []struct {
	alternatives []string
	cost         string
}{
	{[]string{"h264"}, "no thumbnails of H.264 videos, which most MP4 files are"},
	{[]string{"hevc"}, "no thumbnails of H.265 videos and HEIC photos"},
	{[]string{"av1", "libdav1d", "libaom-av1"}, "no thumbnails of AV1 videos and AVIF images"},
	{[]string{"vp9", "libvpx-vp9"}, "no thumbnails of VP9 videos, which most WebM files are"},
	{[]string{"vp8", "libvpx"}, "no thumbnails of VP8 videos"},
	{[]string{"mpeg4"}, "no thumbnails of MPEG-4 videos such as DivX and Xvid"},
	{[]string{"mpeg2video"}, "no thumbnails of MPEG-2 videos such as DVD and TV recordings"},
	{[]string{"vc1"}, "no thumbnails of VC-1 videos"},
	{[]string{"wmv3"}, "no thumbnails of Windows Media videos"},
	{[]string{"prores"}, "no thumbnails of ProRes videos"},
	{[]string{"mjpeg"}, "no thumbnails of Motion JPEG videos, and no second try for damaged JPEG images"},
	{[]string{"png"}, "no second try for damaged PNG images"},
	{[]string{"jpegxl", "libjxl"}, "no thumbnails of JPEG XL images"},
	{[]string{"jpeg2000", "libopenjpeg"}, "no thumbnails of JPEG 2000 images"},
}

// decoderLine matches one line of "ffmpeg -decoders": six flags and a name.
var decoderLine = regexp.MustCompile(`(?m)^ V[A-Z.]{5} (\S+)`)

func (d *doctorResult) checkFFmpeg(ctx context.Context) {
	path, version, err := findFFmpeg(ctx)
	const cost = "no thumbnails of videos, and of images in formats that Go does not know, such as HEIC and AVIF"
	switch {
	case errors.Is(err, exec.ErrNotFound):
		d.add("ffmpeg", statusLimited, "not found in PATH", cost)
		return
	case err != nil:
		d.add("ffmpeg", statusLimited, path+" does not run: "+describeError(err), cost)
		return
	}
	found := version + " at " + path
	switch major, _, _ := strings.Cut(strings.TrimPrefix(version, "n"), "."); {
	case !isOldFFmpeg(major):
		d.add("ffmpeg", statusOK, found, "")
	case runtime.GOOS == "windows":
		d.add("ffmpeg", statusLimited, found, "before version 6 it is not used on Windows: "+cost)
	case runtime.GOOS == "linux" && !exists("/proc/self/fd/0"):
		d.add("ffmpeg", statusLimited, found, "before version 6 it needs /proc, which is not mounted: "+cost)
	default:
		d.add("ffmpeg", statusOK, found, "")
	}
	out, err := runFFmpeg(ctx, path, "-hide_banner", "-decoders")
	if err != nil {
		d.add("decoders", statusLimited, "ffmpeg does not list them: "+describeError(err), "unknown")
		return
	}
	d.checkDecoders(out)
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// isOldFFmpeg reports whether a major version is known and before 6. A build from git has no such number.
func isOldFFmpeg(major string) bool {
	n, err := strconv.Atoi(major)
	return err == nil && n < 6
}

// checkDecoders adds a check for each missing decoder, and one for all others. out is the output of "ffmpeg -decoders".
func (d *doctorResult) checkDecoders(out []byte) {
	has := make(map[string]bool)
	for _, m := range decoderLine.FindAllSubmatch(out, -1) {
		has[string(m[1])] = true
	}
	var found []string
	for _, dec := range decoders {
		if slices.ContainsFunc(dec.alternatives, func(name string) bool { return has[name] }) {
			found = append(found, dec.alternatives[0])
		}
	}
	if len(found) > 0 {
		d.add("decoders", statusOK, strings.Join(found, ", "), "")
	}
	for _, dec := range decoders {
		if !slices.Contains(found, dec.alternatives[0]) {
			d.add("decoder "+dec.alternatives[0], statusLimited, "missing", dec.cost)
		}
	}
}

// ---- Folders

func (d *doctorResult) checkTemp() {
	dir := os.TempDir()
	const cost = "no thumbnails by ffmpeg of media that a Provider does not return as *os.File; 'get' and 'explain' do not work"
	f, err := os.CreateTemp("", "thumbcache-doctor-*")
	if err != nil {
		d.add("temporary folder", statusLimited, dir+": "+describeError(err), cost)
		return
	}
	defer os.Remove(f.Name())
	defer f.Close()
	kind, free := describeFileSystem(dir)
	found := joinFound(dir, kind, free)
	if free >= 0 && free < lowSpace {
		d.add("temporary folder", statusLimited, found, "ffmpeg may lack room for media that a Provider does not return as *os.File")
		return
	}
	d.add("temporary folder", statusOK, found, "")
}

// lowSpace is the free space below which doctor warns, in bytes. It is less than most films have.
const lowSpace = 500 << 20

// joinFound joins what is known about a folder.
func joinFound(dir, kind string, free int64) string {
	parts := []string{dir}
	if kind != "" {
		parts = append(parts, kind)
	}
	if free >= 0 {
		parts = append(parts, formatBytes(free)+" free")
	}
	return strings.Join(parts, ", ")
}

// checkMemory says how much memory pictures may take while they are decoded, and why.
func (d *doctorResult) checkMemory() {
	bounds := sysmem.Find()()
	budget := sysmem.Budget(bounds)
	found := formatBytes(budget) + " for decoding; the limit is unknown"
	if b, ok := sysmem.Smallest(bounds); ok {
		found = fmt.Sprintf("%s for decoding; the limit is %s, by %s", formatBytes(budget), formatBytes(b.Limit), b.Name)
	}
	status := statusOK
	if budget < sysmem.MaxBudget {
		status = statusLimited
	}
	d.add("memory", status, found, "very large pictures may be refused, and few large ones are decoded at the same time")
}

// checkDir checks the thumbnail folder. It stores a thumbnail in a folder inside it, as a cache would.
func (d *doctorResult) checkDir(ctx context.Context) {
	parent, note := d.Dir, ""
	for !exists(parent) && filepath.Dir(parent) != parent {
		parent, note = filepath.Dir(parent), " (does not exist yet)"
	}
	const cost = "no thumbnail can be stored; each one is made again when it is no longer in memory"
	test, err := os.MkdirTemp(parent, ".thumbcache-doctor-*")
	if err != nil {
		d.add("thumbnail folder", statusFailed, d.Dir+": "+describeError(err), cost)
		return
	}
	defer os.RemoveAll(test)
	s, err := openTrialStore(test)
	if err != nil {
		d.add("thumbnail folder", statusFailed, d.Dir+": "+describeError(err), cost)
		return
	}
	defer s.Close()
	stored, err := storeTrial(s)
	if err != nil {
		d.add("thumbnail folder", statusFailed, d.Dir+": "+describeError(err), cost)
		return
	}
	kind, free := describeFileSystem(parent)
	found := joinFound(d.Dir+note, kind, free)
	switch {
	case isNetwork(kind):
		d.add("thumbnail folder", statusLimited, found, "use a local disk: on a network file system each hit takes a round trip, and it may hang")
	case free >= 0 && free < lowSpace:
		d.add("thumbnail folder", statusLimited, found, "there is less room than the default limit of "+formatBytes(int64(defaultLimit)))
	default:
		d.add("thumbnail folder", statusOK, found, "")
	}
	d.checkLocks(ctx, s, test)
	d.checkFileSystem(filepath.Join(test, stored.Folder), stored.Name)
}

func openTrialStore(dir string) (*store.Store, error) {
	return store.Open(dir, 1<<30, slog.New(slog.DiscardHandler))
}

// storeTrial stores a small file and reads it again.
func storeTrial(s *store.Store) (store.File, error) {
	e := &store.Entry{Key: store.Key{Provider: providerName, Path: "doctor", Size: 1}, Width: 1, Height: 1, Made: time.Now(), Data: []byte("not a picture")}
	s.Put(e)
	files, err := s.Source(e.Key.Provider, e.Key.Path)
	if err != nil {
		return store.File{}, err
	}
	if len(files) == 0 {
		return store.File{}, errors.New("a file cannot be written") // for example because the disk is full
	}
	_, err = s.Read(files[0])
	return files[0], err
}

// checkLocks checks that a second opening of a thumbnail folder is kept out by the lock of the first one.
func (d *doctorResult) checkLocks(ctx context.Context, first *store.Store, dir string) {
	const cost = "processes that share the folder may make the same thumbnail twice, and each counts its own limit"
	second, err := openTrialStore(dir)
	if err != nil {
		d.add("locks", statusLimited, describeError(err), cost)
		return
	}
	defer second.Close()
	k := &store.Key{Provider: providerName, Path: "doctor", Size: 1}
	hash := store.Hash(k.Provider, k.Path)
	release, ok := first.Lock(ctx, k, hash, time.Second)
	defer release()
	releaseSecond, okSecond := second.Lock(ctx, k, hash, 10*time.Millisecond)
	defer releaseSecond()
	if ok && !okSecond {
		d.add("locks", statusOK, "shared by processes", "")
		return
	}
	d.add("locks", statusLimited, "not supported by this system or file system", cost)
}

// isNetwork reports whether a file system, as named by describeFileSystem, is on another computer.
func isNetwork(kind string) bool {
	return slices.Contains([]string{"nfs", "smb", "cifs", "9p", "ceph", "afs", "fuse"}, kind)
}

// ---- The shared tier

func (d *doctorResult) checkShared(ctx context.Context, tier *sharedTier) {
	if tier == nil {
		return
	}
	for _, e := range tier.engines {
		err := e.check(ctx)
		if isWrongSetting(err) {
			d.add("shared tier", statusFailed, e.name+": "+err.Error(), "'serve' and 'warm' end with an error")
			continue
		}
		start := time.Now()
		if err == nil {
			_, err = e.store.Get(ctx, store.Hash(providerName, "doctor"), "doctor")
		}
		took := time.Since(start)
		const cost = "each machine makes its own thumbnails, and is not told what the others remove"
		switch {
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			d.add("shared tier", statusLimited, e.name+" does not work now: "+err.Error(), cost)
		case took > e.defaultTimeout():
			d.add("shared tier", statusLimited, fmt.Sprintf("%s answers in %v", e.name, took.Round(time.Millisecond)), "that is longer than the default of --shared-timeout, so set it")
		default:
			d.add("shared tier", statusOK, fmt.Sprintf("%s answers in %v", e.name, took.Round(10*time.Microsecond)), "")
		}
	}
}

// ---- Output

func (d *doctorResult) print(c *console) {
	fmt.Fprintf(c.out, "thumbcache %s on %s\n\n", d.Version, d.System)
	width := 0
	for _, ch := range d.Checks {
		width = max(width, len(ch.Name))
	}
	for _, ch := range d.Checks {
		fmt.Fprintf(c.out, "%-8s %-*s  %s\n", ch.Status, width, ch.Name, escapeUnprintable(ch.Found))
		if ch.Cost != "" {
			fmt.Fprintf(c.out, "%-8s %-*s  %s\n", "", width, "", ch.Cost)
		}
	}
	fmt.Fprintln(c.out)
	switch d.Status {
	case statusOK:
		fmt.Fprintln(c.out, "Everything is available.")
	case statusLimited:
		fmt.Fprintln(c.out, "thumbcache works here, with the limits above.")
	case statusFailed:
		fmt.Fprintln(c.out, "Thumbnails cannot be stored here.")
	}
}
