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
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/thumbcache/thumbcache"
)

// serveOptions are the flags of serve.
type serveOptions struct {
	addr      string
	dir       string
	noDir     bool // keep nothing on disk
	sizes     []int
	limit     byteCount
	open      bool // open the page in a browser
	api       apiFlags
	shared    sharedFlags
	negotiate bool // thumbcache.Config.Negotiate
}

// Shared by serve and warm.
const (
	dirHelp      = "thumbnail folder (default: a separate one for each FOLDER, in your cache directory)"
	defaultLimit = byteCount(500 << 20) // the default of thumbcache.Config.DiskBytes
)

var errMaxBytes = errors.New("--max-bytes must be at least 1")

func serveCommand(c *console) *cobra.Command {
	var o serveOptions
	cmd := &cobra.Command{
		Use:   "serve [FOLDER]",
		Short: "Serve a web page of thumbnails of a folder, or only an API",
		Long: "Serve a web page with a thumbnail of every song, image and video in FOLDER.\n\n" +
			"Without FOLDER, inside the source tree of thumbcache, it serves the sample library.\n\n" +
			"The default address can be reached from this computer only. With one such as\n" +
			"\":8420\", every computer that can reach this one can see the page\n" +
			"and download the media files that it shows.\n\n" +
			apiHelp + "\n\n" +
			sharedHelp,
		Example: `  thumbcache serve --open ~/Music
  thumbcache serve --addr :8420 --dir /var/cache/thumbs /srv/media
  thumbcache serve --no-page --media music=/srv/music --media photos=/srv/photos --dir /var/cache/thumbs --token-file /etc/thumbcache/token
  thumbcache serve --no-page --addr unix:/run/thumbcache/thumbcache.sock --dir /var/cache/thumbs /srv/media
  thumbcache serve --addr :8420 --shared redis://cache.example.org:6379/0 /srv/media
  thumbcache serve --addr :8420 --dir '' --shared 's3://thumbs/media?region=eu-central-1' --shared redis://cache.example.org /srv/media`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeFolderArg,
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.limit < 1 {
				return usageError{errMaxBytes}
			}
			if err := o.shared.check(cmd); err != nil {
				return err
			}
			o.noDir = isEmpty(cmd.Flags().Lookup("dir"))
			if err := o.api.check(&o, args); err != nil {
				return err
			}
			if o.api.noPage {
				return serveAPI(cmd.Context(), c, args, o)
			}
			folder, err := absFolder(args)
			if err != nil {
				return err
			}
			return serve(cmd.Context(), c, folder, o)
		},
	}
	cmd.Flags().StringVar(&o.addr, "addr", "localhost:8420", "address to listen on; with --no-page also a Unix socket, such as unix:/run/thumbcache/thumbcache.sock")
	o.limit = defaultLimit
	cmd.Flags().StringVar(&o.dir, "dir", "", dirHelp)
	cmd.Flags().IntSliceVar(&o.sizes, "sizes", serveSizes, "thumbnail sizes in pixels; a request is rounded up to the next one")
	cmd.Flags().Var(&o.limit, "max-bytes", "size limit of the thumbnail folder")
	cmd.Flags().BoolVar(&o.negotiate, "negotiate", false, "answer with WebP, which is smaller, if the client accepts it and the URL has no format, profile or v;\nthe page uses WebP then")
	cmd.Flags().BoolVar(&o.open, "open", false, "open the page in your browser")
	_ = cmd.MarkFlagDirname("dir") // fails only for an unknown flag
	o.api.add(cmd)
	o.shared.addWithTimeout(cmd)
	return cmd
}

// absFolder returns the absolute path of the folder named by args, or of the sample library if args is empty.
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

// findSampleLibrary returns the sample library of the source tree that contains the working directory.
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
			return "", errors.New("there is no sample library here; name a folder, for example 'thumbcache serve ~/Music'")
		}
		dir = parent
	}
}

// defaultThumbnailDir returns the thumbnail folder that serve and warm use for folder unless --dir is given. Each media
// folder has its own, because thumbnails are stored by relative path and two folders may contain the same paths.
func defaultThumbnailDir(folder string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("there is no default thumbnail folder: %w", err)
	}
	sum := sha256.Sum256([]byte(folder))
	return filepath.Join(cache, "thumbcache", hex.EncodeToString(sum[:8])), nil
}

// chooseDir returns the thumbnail folder for folder: the value of --dir, or the default one, or "" if none is wanted.
func chooseDir(dir string, none bool, folder string) (string, error) {
	switch {
	case none:
		return "", nil
	case dir != "":
		return filepath.Abs(dir)
	}
	dir, err := defaultThumbnailDir(folder)
	if err != nil {
		return "", fmt.Errorf("%w; name a thumbnail folder with --dir", err)
	}
	return dir, nil
}

// serve serves folder until ctx is canceled.
func serve(ctx context.Context, c *console, folder string, o serveOptions) error {
	dir, err := chooseDir(o.dir, o.noDir, folder)
	if err != nil {
		return err
	}
	tier, err := o.shared.prepare(ctx, c)
	if err != nil {
		return err
	}
	defer tier.close()
	config := newConfig(folder)
	tier.configure(&config, &o.shared)
	config.Dir, config.DiskBytes, config.Sizes, config.MemoryEntries = dir, int64(o.limit), o.sizes, 500
	config.Negotiate = o.negotiate
	config.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	site, err := newSite(folder, config)
	if err != nil {
		return err
	}
	defer site.close()
	listener, err := net.Listen("tcp", o.addr)
	if err != nil {
		return err
	}
	server := newServer(site.handler())
	server.BaseContext = func(net.Listener) context.Context { return ctx } // ends the transfer of originals
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	urls := pageURLs(o.addr, listener.Addr(), net.InterfaceAddrs)
	if err := checkReadable(folder); err != nil {
		// Serve it nevertheless: a network share may come later.
		fmt.Fprintf(c.err, "thumbcache: %s cannot be read: %s; the page shows its files as soon as they can be read\n", quoteName(folder), describeError(err))
	}
	printStart(ctx, c, quoteName(folder), config, tier)
	fmt.Fprintf(c.out, "Open        %s\n", strings.Join(urls, "\n            "))
	var background sync.WaitGroup
	defer background.Wait()
	browsing, stopBrowsing := context.WithCancel(ctx)
	defer stopBrowsing()
	if o.open {
		background.Go(func() {
			if err := openBrowser(browsing, urls[0]); err != nil && browsing.Err() == nil {
				fmt.Fprintf(c.err, "thumbcache: cannot open a browser: %v\n", err)
			}
		})
	}
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	// Closing the site first makes pending requests return an error at once, so Shutdown does not wait for thumbnails.
	site.close()
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return server.Shutdown(ending)
}

// newServer returns a server with timeouts.
func newServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		WriteTimeout:      2 * time.Minute, // longer than thumbcache.Config.Timeout allows for making a thumbnail
		IdleTimeout:       2 * time.Minute,
	}
}

// printStart prints what a server does. Serving describes its media.
func printStart(ctx context.Context, c *console, serving string, config thumbcache.Config, tier *sharedTier) {
	ffmpeg := "not used, " // with the reason
	switch _, version, err := findFFmpeg(ctx); {
	case err == nil:
		ffmpeg = version
	case errors.Is(err, exec.ErrNotFound):
		ffmpeg = "not found, so videos have no thumbnails"
	default:
		ffmpeg += "because it does not run: " + describeError(err)
	}
	stored := "not on the disk of this machine"
	if config.Dir != "" {
		stored = quoteName(config.Dir) + ", at most " + formatBytes(config.DiskBytes)
	}
	if tier != nil {
		stored += "\nShared      " + escapeUnprintable(tier.String())
	}
	fmt.Fprintf(c.out, "thumbcache  %s\nServing     %s\nThumbnails  %s\nffmpeg      %s\n",
		buildVersion(), serving, stored, escapeUnprintable(ffmpeg))
}

// maxURLs limits how many addresses serve prints. A computer with containers can have dozens.
const maxURLs = 4

// pageURLs returns the URLs at which a server that listens on addr can be reached, the best first. listening is the address
// with the port in use. If addr names no host, they are localhost and the addresses of this computer.
func pageURLs(addr string, listening net.Addr, interfaceAddrs func() ([]net.Addr, error)) (urls []string) {
	host, _, _ := net.SplitHostPort(addr) // net.Listen has accepted it
	_, port, _ := net.SplitHostPort(listening.String())
	add := func(host string) { urls = append(urls, "http://"+net.JoinHostPort(host, port)+"/") }
	if ip, err := netip.ParseAddr(host); host != "" && (err != nil || !ip.IsUnspecified()) {
		add(host)
		return urls
	}
	add("localhost")
	addrs, _ := interfaceAddrs() // without them, localhost is still right
	for _, wantIPv4 := range []bool{true, false} {
		for _, a := range addrs {
			n, ok := a.(*net.IPNet)
			if !ok || len(urls) == maxURLs || !n.IP.IsGlobalUnicast() || (n.IP.To4() != nil) != wantIPv4 {
				continue
			}
			add(n.IP.String())
		}
		if len(urls) > 1 {
			break // a URL with an IPv6 address is hard to type
		}
	}
	return urls
}

// openBrowser opens a page in the user's browser. It returns when the system's command has ended, or with ctx.
func openBrowser(ctx context.Context, url string) error {
	command := []string{"xdg-open"}
	switch runtime.GOOS {
	case "darwin":
		command = []string{"open"}
	case "windows":
		command = []string{"rundll32", "url.dll,FileProtocolHandler"}
	}
	return exec.CommandContext(ctx, command[0], append(command[1:], url)...).Run()
}

// checkReadable returns an error if the entries of folder cannot be read.
func checkReadable(folder string) error {
	f, err := os.Open(folder)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.ReadDir(1); err != io.EOF {
		return err
	}
	return nil
}
