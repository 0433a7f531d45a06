package thumbcache

import (
	"context"
	"errors"
	"time"
)

// A Shared is a place for thumbnails that several machines use, on an engine such as Redis or an object store. Modules of this
// repository implement it: redis and s3. A [Cache] asks it for thumbnails that are neither in memory nor in [Config.Dir], and
// stores there what it makes.
//
// A value is a sealed file, as described in docs/format.md. The Cache checks every value, so a damaged or foreign one is a miss.
// Source is a hash of 64 hex digits. Variant says which thumbnail of the source it is, and by which settings it was made. It
// has at most 64 characters: a-z, 0-9, "_" and "."; the first is a letter or digit.
//
// An engine may fail at any time: no Get fails because of it. Each call has a deadline: that of [Config.SharedTimeout] if a
// request waits for it, and up to ten times as long otherwise. It should return as soon as its context ends. All
// methods may be called from several goroutines at once. The package sharedtest checks an implementation.
//
// An engine may have more abilities, which the Cache finds by type assertion: [Leaser], [Committer] and [Notifier]. Without a
// Leaser, several machines may make the same thumbnail at the same time, and one that has not yet heard of an Invalidate may store
// what it has made before. Without a Notifier, machines do not hear of an Invalidate on another one.
type Shared interface {
	// Get returns a value. The error is fs.ErrNotExist if there is none.
	Get(ctx context.Context, source, variant string) ([]byte, error)

	// Put stores a value, and replaces an older one. It must not keep or change sealed.
	Put(ctx context.Context, source, variant string, sealed []byte) error

	// Remove removes all values of a source, and ends all its leases. It returns nil if there are none.
	Remove(ctx context.Context, source string) error
}

// A Leaser lets one machine at a time make a thumbnail.
type Leaser interface {
	// Lease returns the right to make a thumbnail. It ends after life, unless it is renewed. The error is ErrHeld if another
	// machine has it. A lease that was not renewed yet may end after 2 seconds already. So if the answer with a lease is lost, other
	// machines do not wait for long.
	Lease(ctx context.Context, source, variant string, life time.Duration) (Lease, error)
}

// A Lease is the right of one machine to make one thumbnail.
type Lease interface {
	// Renew restarts the life of the lease. The error is ErrLeaseLost if it has expired, or if the source was removed.
	Renew(ctx context.Context) error

	// Release ends the lease. The error is ErrLeaseLost as for Renew; then another machine's lease is left alone.
	Release(ctx context.Context) error
}

// A Committer stores a value and ends a lease in one step. Without it, the Cache calls Put, then Release, and if the lease was lost
// meanwhile, Remove.
type Committer interface {
	// Commit is Put and Release. The error is ErrLeaseLost if the lease had ended; then nothing is stored. The lease is one of
	// the same engine and source, perhaps for another variant.
	Commit(ctx context.Context, lease Lease, source, variant string, sealed []byte) error
}

// A Notifier tells other machines what happens on this one. Messages may be lost. They have 1 byte to 64 KiB.
type Notifier interface {
	Notify(ctx context.Context, message []byte) error

	// Listen calls heard for each message of any machine, including this one. It calls heard with nil first, as soon as no
	// later message can be missed. It returns an error when it can no longer be sure of that, such as after a lost connection,
	// or when ctx ends. The Cache then calls it again.
	Listen(ctx context.Context, heard func(message []byte)) error
}

// Errors of engines.
var (
	ErrHeld      = errors.New("thumbcache: another machine has the lease")
	ErrLeaseLost = errors.New("thumbcache: the lease has ended")
)

// Turns is an engine that has leases and messages, such as Redis. Its Remove ends the leases of a source.
type Turns interface {
	Leaser
	Notifier
	Remove(ctx context.Context, source string) error
}

// Compose returns a Shared that keeps values in one engine, such as S3, and takes leases and messages from another, such as Redis. If
// one of them fails, a Cache still uses the other. Between the check of a lease and the removal of a value that was stored too
// late, other machines may see that value for a moment.
func Compose(values Shared, turns Turns) Shared { return &composed{values, turns, turns, turns} }

type composed struct {
	Shared
	Leaser
	Notifier
	turns Turns
}

// Remove ends the leases first, so that no value is committed after its removal.
func (c *composed) Remove(ctx context.Context, source string) error {
	return errors.Join(c.turns.Remove(ctx, source), c.Shared.Remove(ctx, source))
}
