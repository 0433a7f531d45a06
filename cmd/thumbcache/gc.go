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

// A gcResult counts what gc has removed and kept.
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
		Short: "Shrink a thumbnail folder to a size limit",
		Long: "Remove the least recently used thumbnails until DIR holds at most N bytes.\n\n" +
			"A running cache enforces its own limit. Use gc after lowering that limit, or for\n" +
			"a folder that no server uses any more.",
		Example: `  thumbcache gc /var/cache/thumbs --max-bytes 500MiB
  thumbcache gc /var/cache/thumbs --max-bytes 2GB --dry-run
  thumbcache gc /var/cache/thumbs --max-bytes 1000 --json
    {"dir": "/var/cache/thumbs", "max_bytes": 1000, "dry_run": false, "removed": {"files": 7, "bytes": 42000},
     "left": {"files": 1, "bytes": 700}, "interrupted": false}`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeFolderArg,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !cmd.Flags().Changed("max-bytes") {
				return usageError{errors.New("--max-bytes is required")}
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
	cmd.Flags().Var(&limit, "max-bytes", "size limit, "+byteHelp)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "show what would be removed, but remove nothing")
	addJSONFlag(cmd, &asJSON)
	return cmd
}

// evict removes the least recently used files until the limit is met. In a dry run it only computes what it would remove.
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
			return "Looking for the least recently used thumbnails"
		}
		return fmt.Sprintf("Removed %s, %s", countFiles(removed.Load()), formatBytes(bytes.Load()))
	})
	defer p.finish()
	for start := time.Now(); ; {
		err = s.Trim(ctx, g.MaxBytes, func(f store.File) {
			removed.Add(1)
			bytes.Add(f.Size)
		})
		// A file that a server is still writing counts toward the size, but can only be removed once it is complete.
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

// retryTimeout limits how long gc retries when it could not remove enough. It is longer than a server takes to write a
// thumbnail.
const retryTimeout = 2 * time.Second

// simulate computes what evict would remove.
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
	removed, left := "Removed", "left"
	switch {
	case g.Interrupted && g.DryRun:
		return // the simulation has no result
	case g.DryRun:
		removed, left = "Would remove", "would be left"
	}
	fmt.Fprintf(c.out, "%s %s (%s); %s (%s) %s.\n",
		removed, countFiles(g.Removed.Files), formatBytes(g.Removed.Bytes), countFiles(g.Left.Files), formatBytes(g.Left.Bytes), left)
}
