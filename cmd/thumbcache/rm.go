package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// An rmResult counts the files that rm has removed.
type rmResult struct {
	Provider string `json:"provider"`
	Path     string `json:"path"`
	Removed  int    `json:"removed"`
}

func rmCommand(c *console) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "rm DIR PROVIDER PATH",
		Short: "Remove all thumbnails of one source",
		Long: "Remove all thumbnails of one source from the thumbnail folder DIR, and the record\n" +
			"that it has no picture, if there is one.\n\n" +
			"PROVIDER and PATH are those that the server uses in its requests. For\n" +
			"'thumbcache serve', PROVIDER is \"" + providerName + "\" and PATH is relative to FOLDER.\n\n" +
			"A running server may serve the thumbnails from memory a little longer. The\n" +
			"command succeeds even if nothing was stored.",
		Example: `  thumbcache rm /var/cache/thumbs library "Artist/Album/01.flac"
  thumbcache rm --json /var/cache/thumbs library "Artist/Album/01.flac"
    {"provider": "library", "path": "Artist/Album/01.flac", "removed": 3}`,
		Args:              cobra.ExactArgs(3),
		ValidArgsFunction: completeSourceArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			r := rmResult{Provider: args[1], Path: args[2]}
			if err := checkProvider(r.Provider); err != nil {
				return err
			}
			s, err := openStore(args[0])
			if err != nil {
				return err
			}
			defer s.Close()
			r.Removed, err = s.RemoveSource(r.Provider, r.Path)
			switch {
			case asJSON:
				err = errors.Join(err, c.writeJSON(r))
			case r.Removed == 0 && err != nil:
			case r.Removed == 0:
				fmt.Fprintf(c.out, "Nothing was stored for %s in %s.\n", quoteName(r.Path), quoteName(r.Provider))
			default:
				fmt.Fprintf(c.out, "Removed %s for %s in %s.\n", countFiles(r.Removed), quoteName(r.Path), quoteName(r.Provider))
			}
			if err != nil { // a joined error with one line per file
				first, _, _ := strings.Cut(err.Error(), "\n")
				return fmt.Errorf("some files could not be removed: %s", first)
			}
			return nil
		},
	}
	addJSONFlag(cmd, &asJSON)
	return cmd
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
