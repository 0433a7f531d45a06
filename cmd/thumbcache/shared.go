package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/thumbcache/thumbcache"
	"github.com/thumbcache/thumbcache/redis"
	"github.com/thumbcache/thumbcache/s3"
)

// sharedFlags are the flags that name a tier which several machines share.
type sharedFlags struct {
	urls    []string
	timeout time.Duration // 0 means the default
}

// add adds the flag of commands that inspect and maintain.
func (f *sharedFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.urls, "shared", nil, "`URL` of the tier that several machines share (redis://, rediss://, unix:// or s3://);\ngiven twice, thumbnails are in S3, and machines take turns through Redis")
}

// addWithTimeout adds the flags of commands that run a cache.
func (f *sharedFlags) addWithTimeout(cmd *cobra.Command) {
	f.add(cmd)
	cmd.Flags().DurationVar(&f.timeout, "shared-timeout", 0, "how long a request waits for the shared tier (default: 100ms, or 500ms with S3)")
}

// dirOptional returns a check of the number of arguments. The first of n is DIR, which is optional with --shared.
func (f *sharedFlags) dirOptional(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if f.given() && len(args) == n-1 {
			return nil
		}
		return cobra.ExactArgs(n)(cmd, args)
	}
}

// cutDir returns the optional DIR, and the n arguments that follow it.
func cutDir(args []string, n int) (dir string, hasDir bool, rest []string) {
	if len(args) == n {
		return "", false, args
	}
	return args[0], true, args[1:]
}

// sharedHelp is a part of the help of serve.
const sharedHelp = "With --shared, several machines share their thumbnails through Redis, S3 or both, and\n" +
	"each thumbnail is made by one of them only. All of them must serve the same media\n" +
	"under the same relative paths, with the same modification times. Different media need\n" +
	"different prefixes, such as 'redis://host:6379/0?prefix=music:' and\n" +
	"'s3://bucket/music?region=eu-central-1'. With --dir '', nothing is kept on the disk of\n" +
	"this machine.\n\n" +
	"The credentials of S3 are in the environment (AWS_ACCESS_KEY_ID and\n" +
	"AWS_SECRET_ACCESS_KEY) or in ~/.aws. '--shared @FILE' reads the URL from a file, so\n" +
	"that a password in it does not appear in lists of processes."

// given reports whether there is a shared tier.
func (f *sharedFlags) given() bool { return len(f.urls) > 0 }

// check checks the flags of a command that runs a cache.
func (f *sharedFlags) check(cmd *cobra.Command) error {
	flags := cmd.Flags()
	switch {
	case isEmpty(flags.Lookup("dir")) && !f.given():
		return usageError{errors.New("--dir is empty, which is possible only with --shared")}
	case flags.Changed("shared-timeout") && f.timeout <= 0:
		return usageError{errors.New("--shared-timeout must be positive")}
	}
	return nil
}

// isEmpty reports whether the user has set a flag to "".
func isEmpty(f *pflag.Flag) bool { return f.Changed && f.Value.String() == "" }

// open returns the shared tier. Without --shared it returns nil. It does not connect. Its errors contain nothing that may be secret.
func (f *sharedFlags) open() (*sharedTier, error) {
	if !f.given() {
		return nil, nil
	}
	t := new(sharedTier)
	for _, rawURL := range f.urls {
		e, err := openEngine(rawURL)
		if err != nil {
			t.close()
			return nil, usageError{errors.New("--shared: " + strings.TrimSuffix(err.Error(), ": "+fs.ErrInvalid.Error()))}
		}
		t.engines = append(t.engines, e)
	}
	if err := t.combine(); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

// A sharedTier is what --shared names: one engine, or S3 and Redis together.
type sharedTier struct {
	thumbcache.Shared                 // of all engines together
	engines           []*sharedEngine // the first one has the values
}

// A sharedEngine is a server that --shared names.
type sharedEngine struct {
	name  string // contains no secret
	store engine
	redis *redis.Store // either redis or s3 is nil
	s3    *s3.Store
}

// An engine is what the stores of the modules redis and s3 have in common.
type engine interface {
	thumbcache.Shared
	Check(ctx context.Context) error
	Walk(ctx context.Context, fn func(source, variant string, sealed []byte) error) error
}

// openEngine opens the engine with a URL, or with the URL that is in a file, if it begins with "@".
func openEngine(rawURL string) (*sharedEngine, error) {
	if name, ok := strings.CutPrefix(rawURL, "@"); ok {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("%s: %s", quoteName(name), describeError(err))
		}
		rawURL = strings.TrimSpace(string(text))
	}
	scheme, _, _ := strings.Cut(rawURL, "://")
	switch scheme {
	case "redis", "rediss", "unix":
		s, err := redis.Open(rawURL)
		if err != nil {
			return nil, err
		}
		return &sharedEngine{name: describeURL(rawURL), store: s, redis: s}, nil
	case "s3":
		s, err := s3.Open(rawURL)
		if err != nil {
			return nil, err
		}
		return &sharedEngine{name: describeURL(rawURL), store: s, s3: s}, nil
	}
	if scheme == rawURL || strings.Trim(scheme, "abcdefghijklmnopqrstuvwxyz") != "" { // it may be a password
		return nil, errors.New("not a URL such as redis://host:6379/0 or s3://bucket/prefix")
	}
	return nil, fmt.Errorf("the scheme %q is none of redis, rediss, unix and s3", scheme)
}

// combine sets what the engines are together.
func (t *sharedTier) combine() error {
	switch {
	case len(t.engines) == 1:
		t.Shared = t.engines[0].store
		return nil
	case len(t.engines) > 2 || (t.engines[0].s3 == nil) == (t.engines[1].s3 == nil):
		return usageError{errors.New("--shared: two URLs must be one of S3 and one of Redis")}
	}
	if t.engines[0].s3 == nil {
		slices.Reverse(t.engines)
	}
	t.Shared = thumbcache.Compose(t.engines[0].s3, t.engines[1].redis)
	return nil
}

// describeURL returns the parts of a URL of an engine that are no secrets.
func describeURL(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return "an unknown engine" // it was opened, so this cannot happen
	}
	query := u.Query()
	if u.Scheme == "s3" {
		name := "s3 bucket " + u.Host + u.Path
		if endpoint, err := url.Parse(query.Get("endpoint")); err == nil && endpoint.Host != "" {
			name += " at " + endpoint.Host
		}
		return name
	}
	name := "redis at " + u.Host + u.Path
	if prefix := query.Get("prefix"); prefix != "" {
		name += " (prefix " + quoteName(prefix) + ")"
	}
	return name
}

func (t *sharedTier) String() string {
	names := make([]string, len(t.engines))
	for i, e := range t.engines {
		names[i] = e.name
	}
	return strings.Join(names, ", with ")
}

// configure makes a cache use the tier, which may be nil.
func (t *sharedTier) configure(config *thumbcache.Config, f *sharedFlags) {
	if t != nil {
		config.Shared, config.SharedTimeout = t.Shared, cmp.Or(f.timeout, t.engines[0].defaultTimeout())
	}
}

// defaultTimeout returns how long a request waits for a value. S3 may be far away.
func (e *sharedEngine) defaultTimeout() time.Duration {
	if e.s3 != nil {
		return 500 * time.Millisecond
	}
	return 100 * time.Millisecond
}

// close closes connections.
func (t *sharedTier) close() {
	if t == nil {
		return
	}
	for _, e := range t.engines {
		if e.redis != nil {
			e.redis.Close() // there is nothing left to lose
		}
	}
}

const sharedCheckTimeout = 5 * time.Second // for each engine

// check returns an error if a setting is wrong. It prints a warning about an engine that does not work at present: the cache goes on
// without it until it does.
func (t *sharedTier) check(ctx context.Context, c *console) error {
	if t == nil {
		return nil
	}
	for _, e := range t.engines {
		err := e.check(ctx)
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return ctx.Err()
		case isWrongSetting(err):
			return e.wrap(err)
		default:
			fmt.Fprintf(c.err, "thumbcache: --shared: %s does not work now, and is not used until it does: %s\n", escapeUnprintable(e.name), escapeUnprintable(err.Error()))
		}
	}
	return nil
}

// isWrongSetting reports whether an error of a check does not end by itself.
func isWrongSetting(err error) bool {
	return errors.Is(err, fs.ErrInvalid) || errors.Is(err, fs.ErrPermission)
}

func (e *sharedEngine) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, sharedCheckTimeout)
	defer cancel()
	return e.store.Check(ctx)
}

// wrap adds the name of the engine to an error.
func (e *sharedEngine) wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("--shared: %s: %w", e.name, err)
}

// prepare opens the tier and checks it, for commands that run a cache. Without --shared it returns nil.
func (f *sharedFlags) prepare(ctx context.Context, c *console) (*sharedTier, error) {
	t, err := f.open()
	if err != nil {
		return nil, err
	}
	if err := t.check(ctx, c); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

// hideSecrets returns the arguments of a command line with a description in place of each URL of --shared.
func hideSecrets(args []string) []string {
	hidden := slices.Clone(args)
	for i, arg := range args {
		rawURL, ok := strings.CutPrefix(arg, "--shared=")
		ok = ok || i > 0 && args[i-1] == "--shared"
		if ok && !strings.HasPrefix(rawURL, "@") {
			hidden[i] = strings.TrimSuffix(arg, rawURL) + describeURL(rawURL)
		}
	}
	return hidden
}
