package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/thumbcache/thumbcache"
)

// options are the flags of serve.
type serveOptions struct {
	addr  string
	dir   string
	sizes []int
	limit byteCount
}

// What serve and warm share.
const (
	dirHelp      = "folder for the thumbnails (default: one of its own for each FOLDER in the user's cache folder)"
	defaultLimit = byteCount(500 << 20)
)

var errMaxBytes = errors.New("--max-bytes must be at least 1")

func serveCommand() *cobra.Command {
	var o serveOptions
	cmd := &cobra.Command{
		Use:   "serve [FOLDER]",
		Short: "Serve a page with a thumbnail of everything in a folder",
		Long: "Serve a page with a thumbnail of every song, picture and video in FOLDER.\n" +
			"Without FOLDER it serves the sample library of the source tree that it is run in.",
		Example:           "  thumbcache serve ~/Music\n  thumbcache serve --addr :8420 --dir /var/cache/thumbs /srv/media",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeFolderArg,
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.limit < 1 {
				return usageError{errMaxBytes}
			}
			folder, err := absFolder(args)
			if err != nil {
				return err
			}
			return serve(cmd.Context(), folder, o, cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&o.addr, "addr", "localhost:8420", "address to listen on")
	o.limit = defaultLimit
	cmd.Flags().StringVar(&o.dir, "dir", "", dirHelp)
	cmd.Flags().IntSliceVar(&o.sizes, "sizes", serveSizes, "sizes that are made, in pixels; a request gets the next one up")
	cmd.Flags().Var(&o.limit, "max-bytes", "bytes that may be kept in the folder of thumbnails")
	_ = cmd.MarkFlagDirname("dir") // it fails only for no flag
	return cmd
}

// libraryFolder returns the folder to serve, by its absolute path.
func absFolder(args []string) (string, error) {
	if len(args) == 0 {
		return findSampleLibrary()
	}
	info, err := os.Stat(args[0])
	if err != nil {
		return "", err
	}
	if !info.IsDir() {
		return "", fmt.Errorf("%s is not a folder", args[0])
	}
	return filepath.Abs(args[0])
}

// sampleLibrary looks for the source tree that the working directory is in.
func findSampleLibrary() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		mod, _ := os.ReadFile(filepath.Join(dir, "go.mod"))
		if f := strings.Fields(string(mod)); len(f) > 1 && f[1] == "github.com/thumbcache/thumbcache" {
			return filepath.Join(dir, "testdata", "library"), nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no sample library here: name a folder, as in 'thumbcache serve ~/Music'")
		}
		dir = parent
	}
}

// thumbnailFolder returns where the thumbnails of folder are kept unless the user says otherwise. Two folders may hold
// files of the same names, so each has its own.
func defaultThumbnailDir(folder string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(folder))
	return filepath.Join(cache, "thumbcache", hex.EncodeToString(sum[:8])), nil
}

// serve runs until ctx ends.
func serve(ctx context.Context, folder string, o serveOptions, out io.Writer) error {
	dir := o.dir
	if dir == "" {
		var err error
		if dir, err = defaultThumbnailDir(folder); err != nil {
			return err
		}
	}
	config := newConfig(folder)
	config.Dir, config.DiskBytes, config.Sizes, config.MemoryEntries = dir, int64(o.limit), o.sizes, 500
	config.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	cache, err := thumbcache.New(config)
	if err != nil {
		return err
	}
	defer cache.Close()
	site, err := newSite(cache, folder)
	if err != nil {
		return err
	}
	defer site.close()
	listener, err := net.Listen("tcp", o.addr)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           site.handler(),
		ReadHeaderTimeout: 10 * time.Second,
		WriteTimeout:      2 * time.Minute, // more than it takes to make a thumbnail
		IdleTimeout:       2 * time.Minute,
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	fmt.Fprintf(out, "Serving %s\nOpen http://%s/\n", folder, listener.Addr())
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	// Those who are waiting for a thumbnail get an answer: the cache is closed.
	cache.Close()
	site.close()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return server.Shutdown(ctx)
}
