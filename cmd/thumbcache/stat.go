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
	Size   int    `json:"size"`
	Fit    string `json:"fit"`
	Format string `json:"format"`
}

func (k kind) String() string {
	s := strconv.Itoa(k.Size) + " px"
	if k.Size == 0 {
		s = "original"
	}
	if k.Fit == fits[1] {
		s += ", square"
	}
	if k.Format == formats[1] {
		s += ", PNG"
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
	ReadFailures uint64            `json:"read_failures"` // folders that could not be read
}

func statCommand(c *console) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "stat DIR",
		Short: "Summarize a thumbnail folder",
		Long: "Show how many thumbnails of each size DIR holds, how many sources have no picture\n" +
			"and why, and when files were last used.\n\n" +
			"The time of last use is updated at most once an hour. To check files for damage,\n" +
			"use 'thumbcache verify'.",
		Example: `  thumbcache stat /var/cache/thumbs
  thumbcache stat --json /var/cache/thumbs
    {"dir": "/var/cache/thumbs", "files": 3, "bytes": 42000,
     "thumbnails": [{"size": 300, "fit": "contain", "format": "jpeg", "files": 2, "bytes": 41800}],
     "no_picture": {"corrupt": {"files": 1, "bytes": 200}}, "temporary": {"files": 0, "bytes": 0},
     "least_recently_used": "2026-11-20T08:00:00Z", "most_recently_used": "2026-11-23T12:00:00Z", "read_failures": 0}`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeFolderArg,
		RunE: func(cmd *cobra.Command, args []string) error {
			st, err := gatherStats(cmd.Context(), c, args[0])
			if err != nil {
				return err
			}
			if asJSON {
				err = c.writeJSON(st)
			} else {
				st.print(c, time.Now())
			}
			if err == nil && st.ReadFailures > 0 {
				return fmt.Errorf("%s could not be read", pluralize(int64(st.ReadFailures), "folder", "folders"))
			}
			return err
		},
	}
	addJSONFlag(cmd, &asJSON)
	return cmd
}

// gatherStats walks the thumbnail folder dir and counts its files.
func gatherStats(ctx context.Context, c *console, dir string) (*statResult, error) {
	s, err := openStore(dir)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	st := &statResult{Dir: dir, NoPicture: make(map[string]*tally)}
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
		return nil, err
	}
	st.ReadFailures = s.Errors.Load()
	st.Thumbnails = make([]kindTally, 0, len(kinds))
	for k, t := range kinds {
		st.Thumbnails = append(st.Thumbnails, kindTally{k, *t})
	}
	slices.SortFunc(st.Thumbnails, func(a, b kindTally) int {
		return cmp.Or(cmp.Compare(a.Size, b.Size), cmp.Compare(a.Fit, b.Fit), cmp.Compare(a.Format, b.Format))
	})
	return st, nil
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

var thumbnailNamePattern = regexp.MustCompile(`_([0-9]+)(c?)\.(jpg|png)$`)

// parseKind returns the kind of the thumbnail in a stored file, parsed from the file's name. It reports false for a
// failure record, which holds no thumbnail.
func parseKind(name string) (kind, bool) {
	m := thumbnailNamePattern.FindStringSubmatch(name)
	if m == nil {
		return kind{}, false
	}
	k := kind{Fit: fits[0], Format: formats[0]}
	k.Size, _ = strconv.Atoi(m[1])
	if m[2] != "" {
		k.Fit = fits[1]
	}
	if m[3] == "png" {
		k.Format = formats[1]
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

func (st *statResult) print(c *console, now time.Time) {
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
