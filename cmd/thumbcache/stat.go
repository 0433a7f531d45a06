package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/thumbcache/thumbcache/internal/store"
)

// A tally is a number of files and their bytes.
type tally struct {
	Files int64 `json:"files"`
	Bytes int64 `json:"bytes"`
}

func (t *tally) add(f store.File) {
	t.Files++
	t.Bytes += f.Size
}

// A kind is a combination of size, fit and format.
type kind struct {
	Size       int    `json:"size"`
	Height     int    `json:"height,omitempty"` // of a box that is Size wide
	Fit        string `json:"fit"`
	Focus      string `json:"focus,omitempty"`      // of cover, as in a URL; empty: the center
	Background string `json:"background,omitempty"` // of pad
	MaxBytes   int    `json:"max_bytes,omitempty"`  // limit of its length
	Format     string `json:"format"`
}

func (k kind) String() string {
	s := strconv.Itoa(k.Size) + " px"
	if k.Size == 0 {
		s = "original"
	}
	if k.Height != 0 {
		s = fmt.Sprintf("%d x %d px", k.Size, k.Height)
	}
	switch {
	case k.Fit == fits[1] && k.Height == 0:
		s += ", square"
	case k.Fit == fits[1]:
		s += ", cropped"
	case k.Fit == fits[2]:
		s += ", padded with " + k.Background
	}
	if k.Focus != "" {
		s += ", focus " + k.Focus
	}
	if k.MaxBytes != 0 {
		s += fmt.Sprintf(", at most %d bytes", k.MaxBytes)
	}
	switch k.Format {
	case formats[1]:
		s += ", PNG"
	case formats[2]:
		s += ", JPEG or PNG"
	case formats[3]:
		s += ", WebP"
	}
	return s
}

type kindTally struct {
	kind
	tally
}

// A statResult summarizes a thumbnail folder.
type statResult struct {
	Dir string `json:"dir"`
	tally
	Thumbnails   []kindTally       `json:"thumbnails"`
	NoPicture    map[string]*tally `json:"no_picture"` // by cause
	Temporary    tally             `json:"temporary"`
	LeastRecent  *time.Time        `json:"least_recently_used,omitempty"`
	MostRecent   *time.Time        `json:"most_recently_used,omitempty"`
	ReadFailures uint64            `json:"read_failures"`    // folders that could not be read
	Shared       []engineUsage     `json:"shared,omitempty"` // for each engine of the shared tier
}

// An engineUsage is how much is stored in one engine of the shared tier.
type engineUsage struct {
	Engine string       `json:"engine"`
	Bucket *bucketUsage `json:"bucket,omitempty"` // S3
	Server *serverUsage `json:"server,omitempty"` // Redis
}

// A bucketUsage is what is stored below the prefix.
type bucketUsage struct {
	Values int64 `json:"values"` // thumbnails, and records that a source has no picture
	Bytes  int64 `json:"bytes"`
}

// A serverUsage is what a Redis server says about itself. It includes what other programs keep there.
type serverUsage struct {
	Keys      int64  `json:"keys"` // in the database; each source is one
	Bytes     int64  `json:"bytes"`
	MaxBytes  int64  `json:"max_bytes"` // 0 means that there is no limit
	Policy    string `json:"policy"`
	Evictions int64  `json:"evictions"`
}

func statCommand(c *console) *cobra.Command {
	var asJSON bool
	var shared sharedFlags
	cmd := &cobra.Command{
		Use:   "stat [DIR]",
		Short: "Summarize a thumbnail folder",
		Long: "Show how many thumbnails of each size DIR holds, how many sources have no picture\n" +
			"and why, and when files were last used.\n\n" +
			"The time of last use is updated at most once an hour. To check files for damage,\n" +
			"use 'thumbcache verify'.\n\n" +
			"With --shared, it also shows how full the engines of the shared tier are, and DIR is\n" +
			"optional. The figures of Redis are those of the whole server.",
		Example: `  thumbcache stat /var/cache/thumbs
  thumbcache stat --shared redis://cache.example.org:6379/0
  thumbcache stat --json /var/cache/thumbs --shared redis://cache.example.org:6379/0
    {"dir": "/var/cache/thumbs", "files": 3, "bytes": 42000,
     "thumbnails": [{"size": 300, "fit": "contain", "format": "jpeg", "files": 2, "bytes": 41800}],
     "no_picture": {"corrupt": {"files": 1, "bytes": 200}}, "temporary": {"files": 0, "bytes": 0},
     "least_recently_used": "2026-11-20T08:00:00Z", "most_recently_used": "2026-11-23T12:00:00Z", "read_failures": 0,
     "shared": [{"engine": "redis at cache.example.org:6379/0",
       "server": {"keys": 1200, "bytes": 42000000, "max_bytes": 1073741824, "policy": "allkeys-lru", "evictions": 0}}]}`,
		Args:              shared.dirOptional(1),
		ValidArgsFunction: completeFolderArg,
		RunE: func(cmd *cobra.Command, args []string) error {
			st := &statResult{Thumbnails: []kindTally{}, NoPicture: make(map[string]*tally)}
			dir, hasDir, _ := cutDir(args, 0)
			if hasDir {
				if err := st.addFolder(cmd.Context(), c, dir); err != nil {
					return err
				}
			}
			err := st.addShared(cmd.Context(), &shared)
			if err != nil {
				return err
			}
			if asJSON {
				err = c.writeJSON(st)
			} else {
				st.print(c, time.Now(), hasDir)
			}
			if err == nil && st.ReadFailures > 0 {
				return fmt.Errorf("%s could not be read", pluralize(int64(st.ReadFailures), "folder", "folders"))
			}
			return err
		},
	}
	shared.add(cmd)
	addJSONFlag(cmd, &asJSON)
	return cmd
}

// addFolder walks the thumbnail folder dir and counts its files.
func (st *statResult) addFolder(ctx context.Context, c *console, dir string) error {
	s, err := openStore(dir)
	if err != nil {
		return err
	}
	defer s.Close()
	st.Dir = dir
	var seen atomic.Int64
	p := c.startProgress(0, func(int) string { return "Looking at " + countFiles(seen.Load()) })
	defer p.finish()
	kinds := make(map[kind]*tally)
	err = s.Walk(ctx, false, func(f store.File) error {
		seen.Add(1)
		st.add(f)
		if f.Temp {
			st.Temporary.add(f)
			return nil
		}
		if st.LeastRecent == nil || f.Used.Before(*st.LeastRecent) {
			st.LeastRecent = &f.Used
		}
		if st.MostRecent == nil || f.Used.After(*st.MostRecent) {
			st.MostRecent = &f.Used
		}
		if k, ok := parseKind(f.Name); ok {
			getTally(kinds, k).add(f)
		} else {
			getTally(st.NoPicture, readCause(s, f)).add(f)
		}
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	st.ReadFailures = s.Errors.Load()
	for k, t := range kinds {
		st.Thumbnails = append(st.Thumbnails, kindTally{k, *t})
	}
	slices.SortFunc(st.Thumbnails, func(a, b kindTally) int {
		return cmp.Or(cmp.Compare(a.Size, b.Size), cmp.Compare(a.Height, b.Height), cmp.Compare(a.Fit, b.Fit), cmp.Compare(a.Focus, b.Focus),
			cmp.Compare(a.Background, b.Background), cmp.Compare(a.Format, b.Format))
	})
	return nil
}

// addShared asks the engines of the shared tier how full they are.
func (st *statResult) addShared(ctx context.Context, shared *sharedFlags) error {
	t, err := shared.open()
	if t == nil {
		return err
	}
	defer t.close()
	for _, e := range t.engines {
		u, err := e.usage(ctx)
		if err != nil {
			return e.wrap(err)
		}
		st.Shared = append(st.Shared, u)
	}
	return nil
}

func (e *sharedEngine) usage(ctx context.Context) (u engineUsage, err error) {
	u.Engine = e.name
	if e.s3 != nil {
		n, bytes, err := e.s3.Usage(ctx)
		u.Bucket = &bucketUsage{int64(n), bytes}
		return u, err
	}
	r, err := e.redis.Usage(ctx)
	u.Server = &serverUsage{r.Keys, r.Bytes, r.MaxBytes, r.Policy, r.Evictions}
	return u, err
}

// getTally returns the tally of k, and adds an empty one to m first if there is none.
func getTally[K comparable](m map[K]*tally, k K) *tally {
	t := m[k]
	if t == nil {
		t = new(tally)
		m[k] = t
	}
	return t
}

var thumbnailNamePattern = regexp.MustCompile(`_([0-9]+)(?:x([0-9]+))?(?:(c)(?:([0-9]+)x([0-9]+))?|p([0-9a-z]+)|b([0-9]+))?\.(jpg|png|auto|webp)$`)

// parseKind returns the kind of the thumbnail in a stored file, parsed from the file's name. It reports false for a
// failure record, which holds no thumbnail.
func parseKind(name string) (kind, bool) {
	m := thumbnailNamePattern.FindStringSubmatch(name)
	if m == nil {
		return kind{}, false
	}
	k := kind{Fit: fits[0], Format: formats[0]}
	k.Size, _ = strconv.Atoi(m[1])
	k.Height, _ = strconv.Atoi(m[2])
	if m[3] != "" {
		k.Fit = fits[1]
	}
	if m[4] != "" {
		x, _ := strconv.Atoi(m[4])
		y, _ := strconv.Atoi(m[5])
		k.Focus = fmt.Sprintf("%.2g,%.2g", float64(x)/100, float64(y)/100)
	}
	if k.Background = m[6]; k.Background != "" {
		k.Fit = fits[2]
	}
	k.MaxBytes, _ = strconv.Atoi(m[7])
	switch m[8] {
	case "png":
		k.Format = formats[1]
	case "auto":
		k.Format = formats[2]
	case "webp":
		k.Format = formats[3]
	}
	return k, true
}

// readCause returns the cause stored in a failure record.
func readCause(s *store.Store, f store.File) string {
	e, err := s.Read(f)
	if err != nil {
		return "unreadable"
	}
	return jsonCause(e.Cause)
}

// jsonCause returns the name of a cause in JSON.
func jsonCause(cause store.Cause) string {
	switch cause {
	case store.NoPicture:
		return "no_picture"
	case store.NoMedia:
		return "no_media"
	}
	return cause.String()
}

// describeCause returns the text that stat and explain print for a cause named as in JSON.
func describeCause(cause string) string {
	switch cause {
	case "no_picture":
		return "no picture"
	case "no_media":
		return "no media"
	}
	return "no picture: " + cause
}

func (st *statResult) print(c *console, now time.Time, hasDir bool) {
	if hasDir {
		st.printFolder(c, now)
	}
	for i, u := range st.Shared {
		if hasDir || i > 0 {
			fmt.Fprintln(c.out)
		}
		u.print(c)
	}
}

func (u *engineUsage) print(c *console) {
	fmt.Fprintf(c.out, "%s\n", escapeUnprintable(u.Engine))
	if b := u.Bucket; b != nil {
		fmt.Fprintf(c.out, "  %s, %s\n", pluralize(b.Values, "value", "values"), formatBytes(b.Bytes))
		return
	}
	limit := "without a limit"
	if u.Server.MaxBytes > 0 {
		limit = "of at most " + formatBytes(u.Server.MaxBytes)
	}
	fmt.Fprintf(c.out, "  %s in the database; the server uses %s %s (%s), and has evicted %s\n", pluralize(u.Server.Keys, "key", "keys"),
		formatBytes(u.Server.Bytes), limit, escapeUnprintable(u.Server.Policy), formatCount(u.Server.Evictions))
}

func (st *statResult) printFolder(c *console, now time.Time) {
	row := func(label string, t tally) {
		fmt.Fprintf(c.out, "%-24s %10s %11s\n", label, formatCount(t.Files), formatBytes(t.Bytes))
	}
	fmt.Fprintf(c.out, "%-24s %10s %11s\n", "", "files", "size")
	for _, t := range st.Thumbnails {
		row(t.kind.String(), t.tally)
	}
	for _, cause := range slices.Sorted(maps.Keys(st.NoPicture)) {
		row(describeCause(cause), *st.NoPicture[cause])
	}
	if st.Temporary.Files > 0 {
		row("temporary", st.Temporary)
	}
	fmt.Fprintln(c.out, strings.Repeat("-", 47))
	row("total", st.tally)
	if st.LeastRecent != nil {
		fmt.Fprintf(c.out, "\nleast recently used  %s\nmost recently used   %s\n", formatTime(*st.LeastRecent, now), formatTime(*st.MostRecent, now))
	}
}
