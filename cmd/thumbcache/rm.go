package main

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/thumbcache/thumbcache"
	"github.com/thumbcache/thumbcache/internal/store"
)

// An rmResult says what rm has removed.
type rmResult struct {
	Provider string         `json:"provider"`
	Path     string         `json:"path"`
	Removed  int            `json:"removed"` // files in DIR
	Shared   *sharedRemoval `json:"shared,omitempty"`
}

// A sharedRemoval says what has happened in the shared tier.
type sharedRemoval struct {
	Removed bool `json:"removed"`
	Told    bool `json:"told"` // running servers were told
}

func rmCommand(c *console) *cobra.Command {
	var asJSON bool
	var shared sharedFlags
	cmd := &cobra.Command{
		Use:   "rm [DIR] PROVIDER PATH",
		Short: "Remove all thumbnails of one source",
		Long: "Remove all thumbnails of one source from the thumbnail folder DIR, and the record\n" +
			"that it has no picture, if there is one.\n\n" +
			"PROVIDER and PATH are those that the server uses in its requests. For\n" +
			"'thumbcache serve', PROVIDER is \"" + providerName + "\" and PATH is relative to FOLDER.\n\n" +
			"A running server may serve the thumbnails from memory a little longer. The\n" +
			"command succeeds even if nothing was stored.\n\n" +
			"With --shared, it also removes them from the shared tier, and DIR is optional. If\n" +
			"Redis is part of it, all running servers that use it are told to remove theirs from\n" +
			"memory and disk.",
		Example: `  thumbcache rm /var/cache/thumbs library "Artist/Album/01.flac"
  thumbcache rm library "Artist/Album/01.flac" --shared redis://cache.example.org:6379/0
  thumbcache rm --json /var/cache/thumbs library "Artist/Album/01.flac" --shared redis://cache.example.org:6379/0
    {"provider": "library", "path": "Artist/Album/01.flac", "removed": 3, "shared": {"removed": true, "told": true}}`,
		Args:              shared.dirOptional(3),
		ValidArgsFunction: completeSourceArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			dir, hasDir, rest := cutDir(args, 2)
			r := rmResult{Provider: rest[0], Path: rest[1]}
			if err := checkProvider(r.Provider); err != nil {
				return err
			}
			tier, err := shared.open()
			if err != nil {
				return err
			}
			defer tier.close()
			var s *store.Store
			if hasDir {
				if s, err = openStore(dir); err != nil {
					return err
				}
				defer s.Close()
			}
			err = r.remove(tier, s)
			if asJSON {
				err = errors.Join(err, c.writeJSON(r))
			} else {
				r.print(c, hasDir, err)
			}
			return err
		},
	}
	shared.add(cmd)
	addJSONFlag(cmd, &asJSON)
	return cmd
}

// remove removes the thumbnails. Tier and s may be nil. The shared tier comes first, because servers copy from there to DIR.
func (r *rmResult) remove(tier *sharedTier, s *store.Store) error {
	var err error
	if tier != nil {
		r.Shared = new(sharedRemoval)
		*r.Shared, err = tier.invalidate(r.Provider, r.Path)
	}
	if s == nil {
		return err
	}
	removed, fileErr := s.RemoveSource(r.Provider, r.Path)
	r.Removed = removed
	if fileErr != nil { // a joined error with one line per file
		first, _, _ := strings.Cut(fileErr.Error(), "\n")
		err = errors.Join(err, fmt.Errorf("some files could not be removed: %s", first))
	}
	return err
}

// invalidate removes a source from the tier, and tells the running servers.
func (t *sharedTier) invalidate(provider, path string) (sharedRemoval, error) {
	cache, err := thumbcache.New(thumbcache.Config{
		Providers:     map[string]thumbcache.Provider{provider: pixelProvider{}}, // not asked
		MemoryEntries: -1,
		Shared:        t.Shared,
		SharedTimeout: time.Second, // this is no request, and S3 may be far away
		Logger:        slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return sharedRemoval{}, err
	}
	defer cache.Close()
	if err := cache.Invalidate(provider, path); err != nil {
		return sharedRemoval{}, fmt.Errorf("--shared: the thumbnails could not be removed from %s: %s", t, describeError(err))
	}
	_, hasMessages := t.Shared.(thumbcache.Notifier)
	return sharedRemoval{Removed: true, Told: hasMessages && cache.Stats().SharedErrors == 0}, nil
}

func (r *rmResult) print(c *console, hasDir bool, err error) {
	switch {
	case !hasDir, r.Removed == 0 && err != nil:
	case r.Removed == 0:
		fmt.Fprintf(c.out, "Nothing was stored for %s in %s.\n", quoteName(r.Path), quoteName(r.Provider))
	default:
		fmt.Fprintf(c.out, "Removed %s for %s in %s.\n", countFiles(r.Removed), quoteName(r.Path), quoteName(r.Provider))
	}
	switch {
	case r.Shared == nil || !r.Shared.Removed:
	case r.Shared.Told:
		fmt.Fprintf(c.out, "Removed %s in %s from the shared tier, and told the running servers.\n", quoteName(r.Path), quoteName(r.Provider))
	default:
		fmt.Fprintf(c.out, "Removed %s in %s from the shared tier. Running servers were not told; they keep theirs until they notice a change of the source.\n", quoteName(r.Path), quoteName(r.Provider))
	}
}

// checkProvider returns an error unless name is valid for a provider.
func checkProvider(name string) error {
	if name == "" || strings.Contains(name, "/") {
		return usageError{fmt.Errorf("invalid provider name %q: it must not be empty or contain a slash", name)}
	}
	return nil
}

// completeSourceArgs completes the arguments DIR PROVIDER. For PROVIDER it offers the one of 'thumbcache serve'.
func completeSourceArgs(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 1 {
		return []string{providerName}, cobra.ShellCompDirectiveNoFileComp
	}
	return completeFolderArg(cmd, args, prefix)
}
