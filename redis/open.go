package redis

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Open returns a Store for a URL. It does not connect; see [Store.Check].
//
//	redis://user:password@host:6379/0                                  a single server, and its database
//	rediss://host:6380                                                 the same, with TLS
//	unix:///run/redis.sock?db=1                                        the same, through a socket
//	redis://host1:6379?cluster=true&addr=host2:6379&addr=host3:6379    a Cluster
//	redis://host1:26379/0?master_name=main&addr=host2:26379            servers that Sentinels watch
//
// Characters of a password that have a meaning in URLs must be escaped, such as "@" as "%40". With Sentinels, the user and password
// before the "@" are for the Sentinels; those for Redis are the options username and password.
//
// The options prefix and ttl are those of [Options], such as "prefix=covers:&ttl=720h". The following have the same meaning as in
// go-redis: client_name, conn_max_idle_time, conn_max_lifetime, db, dial_timeout, max_idle_conns, min_idle_conns, pool_size,
// pool_timeout, read_timeout, skip_verify, write_timeout. If this is not enough, create a client and use [New].
//
// An error is fs.ErrInvalid. It contains no part of the URL that may be secret.
func Open(rawURL string) (*Store, error) {
	s, err := open(rawURL)
	if err != nil {
		return nil, fmt.Errorf("redis: %w: %w", err, fs.ErrInvalid)
	}
	return s, nil
}

func open(rawURL string) (*Store, error) {
	u, err := url.Parse(rawURL)
	if err != nil || strings.Contains(u.Path+u.RawQuery+u.Fragment, "@") {
		// The text of err may contain a part of the password. So may what follows the host, if it has the "@".
		return nil, errors.New("the URL is malformed, or its password is not escaped")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, errors.New("the options of the URL are malformed")
	}
	if err := checkOptions(query); err != nil {
		return nil, err
	}
	var o Options
	if ttl := query.Get("ttl"); ttl != "" {
		if o.TTL, err = time.ParseDuration(ttl); err != nil {
			return nil, errors.New("ttl is not a duration such as 720h")
		}
	}
	o.Prefix = query.Get("prefix")
	cluster := query.Get("cluster") == "true"
	for _, name := range []string{"cluster", "prefix", "ttl"} {
		query.Del(name)
	}
	u.RawQuery = query.Encode()
	client, err := connect(u, query, cluster)
	if err != nil {
		return nil, err
	}
	s, err := New(client, o)
	if err != nil {
		client.Close()
		return nil, err
	}
	s.owned = true
	return s, nil
}

// The options of a URL. Others of go-redis could make it panic, retry, or read removed values from replicas.
var (
	textOptions = []string{"addr", "client_name", "cluster", "conn_max_idle_time", "conn_max_lifetime", "db", "dial_timeout", "master_name",
		"password", "pool_timeout", "prefix", "read_timeout", "skip_verify", "ttl", "username", "write_timeout"}
	poolOptions = []string{"max_idle_conns", "min_idle_conns", "pool_size"}
)

func checkOptions(query url.Values) error {
	for name := range query {
		value := query.Get(name)
		switch {
		case slices.Contains(poolOptions, name):
			if n, err := strconv.Atoi(value); err != nil || n < 1 || n > 10000 {
				return fmt.Errorf("%s is not a number from 1 to 10000", name)
			}
		case !slices.Contains(textOptions, name):
			return fmt.Errorf("the option %q is unknown", name)
		case name == "cluster" && value != "true" && value != "false":
			return errors.New("cluster is neither true nor false")
		case name == "addr" && query.Get("cluster") != "true" && !query.Has("master_name"):
			return errors.New("addr needs cluster=true or master_name")
		}
	}
	return nil
}

// Timeouts of the clients that Open creates, for calls whose context has no earlier deadline. They are shorter than those of
// go-redis, because a Cache can do without an engine that is slow.
const (
	dialTimeout = 2 * time.Second
	readTimeout = 2 * time.Second
)

// connect creates a client for a URL of go-redis. For the same reason it does not retry. Pipelines use the same connections as
// other commands.
func connect(u *url.URL, query url.Values, cluster bool) (goredis.UniversalClient, error) {
	for name, value := range map[string]time.Duration{"dial_timeout": dialTimeout, "read_timeout": readTimeout} {
		if !query.Has(name) {
			query.Set(name, value.String())
		}
	}
	u.RawQuery = query.Encode()
	// They cost a round trip for each connection, and only Redis Enterprise sends them.
	noNotifications := &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	switch {
	case query.Has("master_name"):
		o, err := goredis.ParseFailoverURL(u.String())
		if err != nil {
			return nil, err
		}
		o.Dialer = limited(&goredis.Options{DialTimeout: o.DialTimeout, TLSConfig: o.TLSConfig})
		o.ContextTimeoutEnabled, o.MaxRetries, o.DialerRetries, o.PipelinePoolSize = true, -1, 1, -1
		return goredis.NewFailoverClient(o), nil
	case cluster:
		o, err := goredis.ParseClusterURL(u.String())
		if err != nil {
			return nil, err
		}
		o.Dialer = limited(&goredis.Options{DialTimeout: o.DialTimeout, TLSConfig: o.TLSConfig})
		o.ContextTimeoutEnabled, o.MaxRetries, o.DialerRetries, o.PipelinePoolSize = true, -1, 1, -1
		o.MaintNotificationsConfig = noNotifications
		return goredis.NewClusterClient(o), nil
	}
	o, err := goredis.ParseURL(u.String())
	if err != nil {
		return nil, err
	}
	o.Dialer = limited(&goredis.Options{DialTimeout: o.DialTimeout, TLSConfig: o.TLSConfig})
	o.ContextTimeoutEnabled, o.MaxRetries, o.DialerRetries, o.PipelinePoolSize = true, -1, 1, -1
	o.MaintNotificationsConfig = noNotifications
	return goredis.NewClient(o), nil
}

// Check uses each kind of command once, to find wrong settings when a program starts. If its error is fs.ErrPermission, the user,
// the password or the rights of the user are wrong. If it is fs.ErrInvalid, the server has refused something else, such as the
// number of the database. Other errors, such as an absent server, may end by themselves.
func (s *Store) Check(ctx context.Context) error {
	err := s.try(ctx)
	var refusal goredis.Error
	switch {
	case err == nil:
		return nil
	case isPermission(err):
		return fmt.Errorf("%w: %w", err, fs.ErrPermission)
	case !errors.As(err, &refusal), isTemporary(err):
		return err
	}
	return fmt.Errorf("%w: %w", err, fs.ErrInvalid)
}

// isPermission reports whether an answer of the server is about the user. A right that only a script lacks has messages of its own.
func isPermission(err error) bool {
	return goredis.IsAuthError(err) || goredis.IsPermissionError(err) ||
		strings.Contains(err.Error(), "The user executing the script") || strings.Contains(err.Error(), "ACL failure in script")
}

// isTemporary reports whether an answer of the server says that it cannot work now.
func isTemporary(err error) bool {
	return goredis.IsLoadingError(err) || goredis.IsClusterDownError(err) || goredis.IsTryAgainError(err) || goredis.IsMasterDownError(err) ||
		goredis.IsMaxClientsError(err) || goredis.IsOOMError(err) || goredis.IsNoReplicasError(err) || goredis.IsReadOnlyError(err) ||
		goredis.HasErrorPrefix(err, "MISCONF")
}

func (s *Store) try(ctx context.Context) error {
	var random [32]byte
	rand.Read(random[:])
	source := hex.EncodeToString(random[:])
	l, err := s.Lease(ctx, source, "check", time.Second)
	if err != nil {
		return err
	}
	if err := s.Commit(ctx, l, source, "check", []byte("check")); err != nil {
		return err
	}
	if err := s.Put(ctx, source, "check", []byte("check")); err != nil {
		return err
	}
	if _, err := s.Get(ctx, source, "check"); err != nil {
		return err
	}
	if err := s.Remove(ctx, source); err != nil {
		return err
	}
	return s.Notify(ctx, nil) // Listen ignores it
}
