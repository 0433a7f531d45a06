// Package redis lets several machines share thumbnails through Redis or Valkey.
//
//	store, err := redis.Open("redis://:password@cache.example.org:6379/0")
//	...
//	cache, err := thumbcache.New(thumbcache.Config{Shared: store, ...})
//
// A [Store] has all abilities that thumbcache knows: values, leases and messages. So each thumbnail is made by one machine only,
// and Invalidate reaches all machines. To keep the values in another engine, combine both by [thumbcache.Compose].
//
// It is for Redis 6 or later, and for Valkey: a single server, servers with Sentinels, or a Cluster. The tests use Redis 7.
//
// # What is stored
//
// A source is one hash with the key "thumbcache:{hash of the source}". Each of its thumbnails is a field, and so is each lease. A
// source expires 30 days after its last use ([Options.TTL]). To save writes, a use counts at most once an hour.
//
// # Memory
//
// Set maxmemory, and the maxmemory-policy allkeys-lru. Redis then evicts the sources that have not been used for the longest time.
// With the policy noeviction, nothing more is stored when the memory is full. Neither is a failure of requests: a Cache makes
// what it does not find. Persistence (RDB, AOF) is not needed.
//
// # What is promised
//
//   - One machine at a time has a lease. Its life is measured by the clock of Redis, so the clocks of the machines do not matter.
//   - After [Store.Remove] has returned, [Store.Commit] stores nothing that was begun before.
//   - [Store.Listen] returns an error when it may have missed messages, even if the server only stops answering.
//   - Each call ends soon after the deadline of its context. Nothing is retried.
//
// What is not promised: Redis replicates asynchronously. When a replica takes over, it may lack the last writes. Then two machines
// may make the same thumbnail, and a removed one may be there again. An evicted lease has ended; its holder stores nothing. In a
// Cluster, messages pass between the nodes, and are lost if the nodes lose each other.
//
// # Security
//
// Whoever can write to Redis can show pictures. Use a password, and TLS (rediss://) on networks that you do not trust. If you use ACLs,
// the user needs these rights:
//
//	~thumbcache:* &thumbcache:* +@read +@write +@scripting +@pubsub +@connection +time +info +cluster
//
// # Logs
//
// The client, go-redis, logs lost connections to the standard error stream. Its function SetLogger changes that for the whole program.
package redis

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/thumbcache/thumbcache"
)

// Options are the settings of a [Store].
type Options struct {
	// Prefix begins all keys, and the name of the channel for messages. Caches with different prefixes share nothing. Channels
	// belong to no database, so caches in different databases of one server need different prefixes too. The default is
	// "thumbcache:".
	Prefix string

	// TTL is how long a source is kept after its last use. The default is 30 days. With a negative TTL it does not expire.
	TTL time.Duration
}

// A Store keeps thumbnails in Redis. It implements [thumbcache.Shared], [thumbcache.Leaser], [thumbcache.Committer] and
// [thumbcache.Notifier]. Create one with [Open] or [New].
type Store struct {
	client  goredis.UniversalClient
	owned   bool // Close closes client
	prefix  string
	channel string
	ttl     time.Duration // 0 means that sources do not expire
	refresh time.Duration // a hit with less time left begins the TTL anew
}

// New returns a Store that uses a client. The caller closes the client.
//
// The client must have the option ContextTimeoutEnabled. Without it, a client ignores deadlines, and a server that does not answer
// delays requests by seconds. It should not retry (MaxRetries: -1). Unlike a client of [Open], it allocates as much memory as the
// server announces, so use a server that you trust.
func New(client goredis.UniversalClient, o Options) (*Store, error) {
	obeys := true
	switch c := client.(type) {
	case *goredis.Client:
		obeys = c.Options().ContextTimeoutEnabled
	case *goredis.ClusterClient:
		obeys = c.Options().ContextTimeoutEnabled
	}
	if !obeys {
		return nil, fmt.Errorf("redis: the client does not have ContextTimeoutEnabled: %w", fs.ErrInvalid)
	}
	if o.Prefix == "" {
		o.Prefix = "thumbcache:"
	}
	if strings.ContainsAny(o.Prefix, "{}") { // a Cluster would keep all sources on one node
		return nil, fmt.Errorf("redis: the prefix %q contains a brace: %w", o.Prefix, fs.ErrInvalid)
	}
	switch {
	case o.TTL == 0:
		o.TTL = 30 * 24 * time.Hour
	case o.TTL < 0:
		o.TTL = 0
	case o.TTL < time.Minute:
		return nil, fmt.Errorf("redis: the TTL %v is less than a minute: %w", o.TTL, fs.ErrInvalid)
	}
	return &Store{
		client:  client,
		prefix:  o.Prefix,
		channel: o.Prefix + "messages",
		ttl:     o.TTL,
		refresh: o.TTL - min(time.Hour, o.TTL/2),
	}, nil
}

// Close closes the connections of a Store that [Open] has returned. Listen returns then.
func (s *Store) Close() error {
	if s.owned {
		return s.client.Close()
	}
	return nil
}

// key returns the key of a source. The braces make it a hash tag: all that belongs to a source is on one node of a Cluster.
func (s *Store) key(source string) string { return s.prefix + "{" + source + "}" }

// leaseField returns the field of a lease. No variant contains a colon.
func leaseField(variant string) string { return "lease:" + variant }

// failed wraps an error of the client. If the context has ended, that is the reason. The client may notice a deadline before the
// context does.
func failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		err = ctx.Err()
	} else if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
		err = context.DeadlineExceeded
	}
	return fmt.Errorf("redis: %w", err)
}

// Get implements [thumbcache.Shared].
func (s *Store) Get(ctx context.Context, source, variant string) ([]byte, error) {
	key := s.key(source)
	var value *goredis.StringCmd
	var left *goredis.DurationCmd
	if s.ttl == 0 {
		value = s.client.HGet(ctx, key, variant)
	} else {
		// One round trip for both. A script would be one too, but with a value of 20 KB it takes three times as long.
		_, err := s.client.Pipelined(ctx, func(p goredis.Pipeliner) error {
			value, left = p.HGet(ctx, key, variant), p.PTTL(ctx, key)
			return nil
		})
		if err != nil && value.Err() == nil && left.Err() == nil { // no connection could log in, which is no command's error
			return nil, failed(ctx, err)
		}
	}
	sealed, err := value.Bytes()
	switch {
	case errors.Is(err, goredis.Nil):
		return nil, fs.ErrNotExist
	case err != nil:
		return nil, failed(ctx, err)
	}
	if left != nil && left.Err() == nil && left.Val() > 0 && left.Val() < s.refresh {
		s.client.PExpire(ctx, key, s.ttl) // if it fails, the next hit tries again
	}
	return sealed, nil
}

// errLargeValue refuses what Get could not return.
var errLargeValue = fmt.Errorf("redis: a value has at most %d bytes: %w", maxValue, fs.ErrInvalid)

// Put implements [thumbcache.Shared].
func (s *Store) Put(ctx context.Context, source, variant string, sealed []byte) error {
	if len(sealed) > maxValue {
		return errLargeValue
	}
	err := putScript.Run(ctx, s.client, []string{s.key(source)}, variant, sealed, s.ttl.Milliseconds()).Err()
	if err != nil {
		return failed(ctx, err)
	}
	return nil
}

// Remove implements [thumbcache.Shared].
func (s *Store) Remove(ctx context.Context, source string) error {
	if err := s.client.Unlink(ctx, s.key(source)).Err(); err != nil {
		return failed(ctx, err)
	}
	return nil
}

// Parts of scripts. KEYS[1] is the source. For those of leases, ARGV[1] is the field of the lease, and ARGV[2] its token. The value of
// the field is "token:end", in milliseconds of the clock of Redis. A key with nothing but leases expires with the last of them.
// A script returns 1, or 0 if the lease is not the caller's.
const (
	luaBegin = `
		local time = redis.call('TIME')
		local now = time[1] * 1000 + math.floor(time[2] / 1000)
		local token, ends = string.match(redis.call('HGET', KEYS[1], ARGV[1]) or '', '^(%x+):(%d+)$')
		local valid = ends and tonumber(ends) > now`
	luaOwn = luaBegin + `
		if not valid or token ~= ARGV[2] then return 0 end`
	luaExtend = `
		local left, life = redis.call('PTTL', KEYS[1]), tonumber(ARGV[3])
		redis.call('HSET', KEYS[1], ARGV[1], string.format('%s:%.0f', ARGV[2], now + life))
		if left == -2 or (left >= 0 and left < life) then redis.call('PEXPIRE', KEYS[1], life) end
		return 1`
	luaStore = `
		local variant, sealed, ttl = unpack(ARGV, #ARGV - 2)
		redis.call('HSET', KEYS[1], variant, sealed)
		if ttl == '0' then redis.call('PERSIST', KEYS[1]) else redis.call('PEXPIRE', KEYS[1], ttl) end`
)

var (
	putScript     = goredis.NewScript(luaStore + ` return 1`)
	leaseScript   = goredis.NewScript(luaBegin + ` if valid then return 0 end` + luaExtend)
	renewScript   = goredis.NewScript(luaOwn + luaExtend)
	releaseScript = goredis.NewScript(luaOwn + ` return redis.call('HDEL', KEYS[1], ARGV[1])`)
	commitScript  = goredis.NewScript(luaOwn + luaStore + ` return redis.call('HDEL', KEYS[1], ARGV[1])`)
)

// A lease is the right to make a thumbnail. Its random token distinguishes it from all other leases.
type lease struct {
	store                *Store
	source, field, token string
	life                 time.Duration
}

// firstLife is the life of a lease until its first renewal. A lease whose holder did not get the answer, such as one that a frozen
// server grants when it goes on, delays other machines by that.
const firstLife = 2 * time.Second

// Lease implements [thumbcache.Leaser].
func (s *Store) Lease(ctx context.Context, source, variant string, life time.Duration) (thumbcache.Lease, error) {
	var token [16]byte
	rand.Read(token[:])
	l := &lease{s, source, leaseField(variant), hex.EncodeToString(token[:]), life}
	if err := l.run(ctx, leaseScript, thumbcache.ErrHeld, min(life, firstLife).Milliseconds()); err != nil {
		return nil, err
	}
	return l, nil
}

// run executes a script. It returns refusal if the script returns 0.
func (l *lease) run(ctx context.Context, script *goredis.Script, refusal error, args ...any) error {
	args = append([]any{l.field, l.token}, args...)
	done, err := script.Run(ctx, l.store.client, []string{l.store.key(l.source)}, args...).Int()
	switch {
	case err != nil:
		return failed(ctx, err)
	case done == 0:
		return refusal
	}
	return nil
}

// Renew implements [thumbcache.Lease].
func (l *lease) Renew(ctx context.Context) error {
	return l.run(ctx, renewScript, thumbcache.ErrLeaseLost, l.life.Milliseconds())
}

// Release implements [thumbcache.Lease].
func (l *lease) Release(ctx context.Context) error {
	return l.run(ctx, releaseScript, thumbcache.ErrLeaseLost)
}

// Commit implements [thumbcache.Committer]. The value may be of another variant than the lease, but not of another source.
func (s *Store) Commit(ctx context.Context, held thumbcache.Lease, source, variant string, sealed []byte) error {
	l, ok := held.(*lease)
	if !ok || l.store != s || l.source != source {
		return fmt.Errorf("redis: %T is not a lease of source %s from this store: %w", held, source, fs.ErrInvalid)
	}
	if len(sealed) > maxValue {
		return errLargeValue
	}
	return l.run(ctx, commitScript, thumbcache.ErrLeaseLost, variant, sealed, s.ttl.Milliseconds())
}
