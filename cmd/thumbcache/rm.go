package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// What rm came to.
type rmResult struct {
	Provider string `json:"provider"`
	Path     string `json:"path"`
	Removed  int    `json:"removed"`
}

func rmCommand(c *console) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "rm DIR PROVIDER PATH",
		Short: "Remove everything that is stored of one source",
		Long: "Remove every size of one source, and the note that it has no picture, from a folder of thumbnails. PROVIDER and PATH\n" +
			"are those that the server asks by: for 'thumbcache serve' PROVIDER is \"" + providerName + "\" and PATH is below its folder.\n\n" +
			"A server that is running may serve for a while what it has in memory. That nothing was stored is no error.",
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
				fmt.Fprintf(c.out, "Nothing was stored of %s in %s.\n", quoteName(r.Path), quoteName(r.Provider))
			default:
				fmt.Fprintf(c.out, "Removed %s of %s in %s.\n", countFiles(r.Removed), quoteName(r.Path), quoteName(r.Provider))
			}
			if err != nil { // one for each file
				first, _, _ := strings.Cut(err.Error(), "\n")
				return fmt.Errorf("not all could be removed: %s", first)
			}
			return nil
		},
	}
	addJSONFlag(cmd, &asJSON)
	return cmd
}

// checkProvider refuses what is never the name of a provider.
func checkProvider(name string) error {
	if name == "" || strings.Contains(name, "/") {
		return usageError{fmt.Errorf("%q is no name of a provider: it must not be empty or contain a slash", name)}
	}
	return nil
}

// completeSource completes DIR PROVIDER, of which the second is most often our own.
func completeSourceArgs(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 1 {
		return []string{providerName}, cobra.ShellCompDirectiveNoFileComp
	}
	return completeFolderArg(cmd, args, begun)
}
