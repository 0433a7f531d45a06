package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/thumbcache/thumbcache/internal/store"
)

// What gc came to.
type gcResult struct {
	Dir         string `json:"dir"`
	MaxBytes    int64  `json:"max_bytes"`
	DryRun      bool   `json:"dry_run"`
	Removed     tally  `json:"removed"`
	Left        tally  `json:"left"`
	Interrupted bool   `json:"interrupted"`
}

func gcCommand(c *console) *cobra.Command {
	var (
		limit          byteCount
		dryRun, asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "gc DIR --max-bytes N",
		Short: "Remove the thumbnails used longest ago until the rest fits",
		Long: "Remove the thumbnails used longest ago until no more than N bytes are left. A cache keeps to its limit by itself;\n" +
			"this is for a limit that has become smaller, or for a folder that no server uses any more.",
		Example: `  thumbcache gc /var/cache/thumbs --max-bytes 500MiB
  thumbcache gc /var/cache/thumbs --max-bytes 2GB --dry-run
  thumbcache gc /var/cache/thumbs --max-bytes 1000 --json
    {"dir": "/var/cache/thumbs", "max_bytes": 1000, "dry_run": false, "removed": {"files": 7, "bytes": 42000},
     "left": {"files": 1, "bytes": 700}, "interrupted": false}`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeFolderArg,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !cmd.Flags().Changed("max-bytes") {
				return usageError{errors.New("how much may be left? --max-bytes is needed")}
			}
			g := gcResult{Dir: args[0], MaxBytes: int64(limit), DryRun: dryRun}
			err := g.evict(cmd.Context(), c)
			if g.Interrupted = cmd.Context().Err() != nil; err != nil && !g.Interrupted {
				return err
			}
			if asJSON {
				return errors.Join(err, c.writeJSON(g))
			}
			g.print(c)
			return err
		},
	}
	cmd.Flags().Var(&limit, "max-bytes", "bytes that may be left, "+byteHelp)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only tell what would be removed")
	addJSONFlag(cmd, &asJSON)
	return cmd
}

func (g *gcResult) evict(ctx context.Context, c *console) error {
	s, err := openStore(g.Dir)
	if err != nil {
		return err
	}
	defer s.Close()
	if g.DryRun {
		return g.simulate(ctx, s)
	}
	var removed, bytes atomic.Int64
	p := c.startProgress(0, func(int) string {
		if removed.Load() == 0 {
			return "Looking for what was used longest ago"
		}
		return fmt.Sprintf("Removed %s, %s", countFiles(removed.Load()), formatBytes(bytes.Load()))
	})
	defer p.finish()
	for start := time.Now(); ; {
		err = s.Trim(ctx, g.MaxBytes, func(f store.File) {
			removed.Add(1)
			bytes.Add(f.Size)
		})
		// What a server writes just now is counted already, and can be removed when it is there.
		if err == nil || ctx.Err() != nil || time.Since(start) > retryTimeout {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(retryTimeout / 20):
		}
	}
	left := s.Usage()
	g.Removed, g.Left = tally{removed.Load(), bytes.Load()}, tally{left.Files, left.Bytes}
	return err
}

// patience is how long what cannot be removed is tried again.
const retryTimeout = 2 * time.Second

// try works out what would be removed.
func (g *gcResult) simulate(ctx context.Context, s *store.Store) error {
	type file struct {
		size int64
		used time.Time
	}
	var found []file
	err := s.Walk(ctx, false, func(f store.File) error {
		g.Left.add(f)
		if !f.Temp {
			found = append(found, file{f.Size, f.Used})
		}
		return ctx.Err()
	})
	slices.SortFunc(found, func(a, b file) int { return cmp.Or(a.used.Compare(b.used), cmp.Compare(a.size, b.size)) })
	for _, f := range found {
		if err != nil || g.Left.Bytes <= g.MaxBytes {
			break
		}
		g.Removed.Files, g.Removed.Bytes = g.Removed.Files+1, g.Removed.Bytes+f.size
		g.Left.Files, g.Left.Bytes = g.Left.Files-1, g.Left.Bytes-f.size
	}
	return err
}

func (g *gcResult) print(c *console) {
	did, rest := "Removed", "are left"
	switch {
	case g.Interrupted && g.DryRun:
		return // nothing is known
	case g.DryRun:
		did, rest = "Would remove", "would be left"
	}
	if g.Left.Files == 1 {
		rest = map[string]string{"are left": "is left", "would be left": "would be left"}[rest]
	}
	fmt.Fprintf(c.out, "%s %s (%s); %s (%s) %s.\n", did, countFiles(g.Removed.Files), formatBytes(g.Removed.Bytes), countFiles(g.Left.Files), formatBytes(g.Left.Bytes), rest)
}
