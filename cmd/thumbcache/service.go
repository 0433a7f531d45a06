package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/thumbcache/thumbcache"
)

// apiFlags are the flags of a server without a page, for programs in other languages.
type apiFlags struct {
	noPage    bool
	media     []string // NAME=FOLDER
	tokenFile string
	public    bool // thumbnails need no token
}

// apiHelp is a part of the help of serve.
const apiHelp = "With --no-page, it is a service for programs in other languages: it serves thumbnails,\n" +
	"POST /invalidate and POST /warm, /stats, /metrics, /healthz and /readyz, and describes\n" +
	"them at /openapi.json. POST needs a token (--token-file, or the environment variable\n" +
	"THUMBCACHE_TOKEN) or a Unix socket. If there is a token, thumbnails and figures need it\n" +
	"too. Clients send it as 'Authorization: Bearer TOKEN'."

func (f *apiFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&f.noPage, "no-page", false, "serve only the API: no page, no listing and no originals")
	flags.StringArrayVar(&f.media, "media", nil, "`NAME=FOLDER` to serve instead of FOLDER, with --no-page; may be repeated,\nalso with the same name for a provider of several folders")
	flags.StringVar(&f.tokenFile, "token-file", "", "`file` with the token that clients must send, with --no-page")
	flags.BoolVar(&f.public, "public", false, "thumbnails need no token, and pages of other sites may show them, with --no-page")
	_ = cmd.MarkFlagFilename("token-file") // fails only for an unknown flag
}

// check checks the flags together with those of o and the arguments.
func (f *apiFlags) check(o *serveOptions, args []string) error {
	var bad string
	switch {
	case f.noPage && o.open:
		bad = "--open needs the page, and there is none with --no-page"
	case f.noPage && len(f.media) > 0 && len(args) > 0:
		bad = "give either FOLDER or --media"
	case f.noPage && len(f.media) > 0 && o.dir == "" && !o.noDir:
		bad = "--media needs --dir"
	case f.noPage:
		return nil
	case len(f.media) > 0:
		bad = "--media needs --no-page, because the page shows one FOLDER"
	case f.tokenFile != "" || os.Getenv(tokenVariable) != "":
		bad = "a token (--token-file or " + tokenVariable + ") needs --no-page, because everyone may see the page"
	case f.public:
		bad = "--public needs --no-page"
	case strings.HasPrefix(o.addr, socketPrefix):
		bad = "a Unix socket needs --no-page"
	default:
		return nil
	}
	return usageError{errors.New(bad)}
}

// A mediaSource is a provider of a service.
type mediaSource struct {
	name    string
	folders []string
}

// sources returns the providers that the flags or the arguments name.
func (f *apiFlags) sources(args []string) (list []mediaSource, err error) {
	if len(f.media) == 0 {
		folder, err := absFolder(args)
		return []mediaSource{{providerName, []string{folder}}}, err
	}
	for _, text := range f.media {
		name, folder, ok := strings.Cut(text, "=")
		if !ok || folder == "" {
			return nil, usageError{fmt.Errorf("--media: %q is not NAME=FOLDER", text)}
		}
		if err := checkProvider(name); err != nil {
			return nil, err
		}
		if folder, err = filepath.Abs(folder); err != nil {
			return nil, err
		}
		if info, err := os.Stat(folder); err == nil && !info.IsDir() { // one that is missing may come later
			return nil, fmt.Errorf("%s is not a folder", folder)
		}
		i := slices.IndexFunc(list, func(m mediaSource) bool { return m.name == name })
		if i < 0 {
			i, list = len(list), append(list, mediaSource{name: name})
		}
		list[i].folders = append(list[i].folders, folder)
	}
	return list, nil
}

// serveAPI serves the API until ctx is canceled.
func serveAPI(ctx context.Context, c *console, args []string, o serveOptions) error {
	sources, err := o.api.sources(args)
	if err != nil {
		return err
	}
	if o.dir, err = chooseDir(o.dir, o.noDir, sources[0].folders[0]); err != nil {
		return err
	}
	token, err := readToken(o.api.tokenFile)
	if err != nil {
		return err
	}
	tier, err := o.shared.prepare(ctx, c)
	if err != nil {
		return err
	}
	defer tier.close()
	config := thumbcache.Config{
		Dir: o.dir, DiskBytes: int64(o.limit), Sizes: o.sizes, Profiles: thumbcache.DLNAProfiles(), MemoryEntries: 500,
		Negotiate: o.negotiate, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}
	tier.configure(&config, &o.shared)
	s, err := newService(sources, config)
	if err != nil {
		return err
	}
	defer s.cache.Close()
	s.token, s.public, s.isSocket = token, o.api.public, strings.HasPrefix(o.addr, socketPrefix)
	listener, err := listen(ctx, o.addr)
	if err != nil {
		return err
	}
	s.printStart(ctx, c, config, tier)
	where := o.addr
	if !s.isSocket {
		where = strings.Join(pageURLs(o.addr, listener.Addr(), net.InterfaceAddrs), "\n            ")
	}
	fmt.Fprintf(c.out, "Listening   %s\n", escapeUnprintable(where))
	return s.serve(ctx, listener)
}

// printStart prints what a service does, and which folders cannot be read now.
func (s *service) printStart(ctx context.Context, c *console, config thumbcache.Config, tier *sharedTier) {
	var serving []string
	for _, m := range s.sources {
		for _, folder := range m.folders {
			serving = append(serving, escapeUnprintable(m.name)+" = "+quoteName(folder))
			if err := checkReadable(folder); err != nil {
				fmt.Fprintf(c.err, "thumbcache: %s cannot be read: %s; /readyz fails until it can be read\n", quoteName(folder), describeError(err))
			}
		}
	}
	printStart(ctx, c, strings.Join(serving, "\n            "), config, tier)
	access := "thumbnails need no token, and POST is refused: it needs --token-file or a Unix socket"
	switch {
	case s.token != nil && s.public:
		access = "thumbnails need no token, everything else does"
	case s.token != nil:
		access = "with a token"
	case s.isSocket:
		access = "for every process that may connect to the socket"
	}
	fmt.Fprintf(c.out, "Access      %s\n", access)
}

const (
	stopTimeout = 30 * time.Second // for requests in progress when the service stops
	stopGrace   = time.Second      // for those that are canceled then
)

// serve serves until ctx is canceled. Then it lets requests finish.
func (s *service) serve(ctx context.Context, listener net.Listener) error {
	var background sync.WaitGroup
	defer background.Wait()
	warming, stopWarming := context.WithCancel(ctx)
	defer stopWarming()
	background.Go(func() { s.warm.run(warming, s.cache) })

	server := newServer(s.handler())
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	err := shutdown(ctx, server, s.stopLimit)
	if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	s.log.Warn("thumbcache: some requests did not end in time", "limit", s.stopLimit)
	s.cache.Close() // they end with an error
	_ = shutdown(ctx, server, stopGrace)
	return server.Close()
}

func shutdown(ctx context.Context, server *http.Server, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	return server.Shutdown(ctx)
}
