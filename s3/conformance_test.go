//go:build unix

package s3

import (
	"testing"

	"github.com/thumbcache/thumbcache"
	"github.com/thumbcache/thumbcache/sharedtest"
)

func TestConformance(t *testing.T) {
	server := newServer(t)
	sharedtest.Run(t, sharedtest.Config{
		Open: func(*testing.T) sharedtest.Engine {
			return sharedtest.Engine{
				Machine: func() thumbcache.Shared { return server.open() },
				Freeze:  server.freeze,
				Thaw:    server.thaw,
			}
		},
		Leaser:    true,
		Committer: true,
	})
}

// TestConformanceComposed tests values in S3 with leases and messages of another engine.
func TestConformanceComposed(t *testing.T) {
	server := newServer(t)
	sharedtest.Run(t, sharedtest.Config{
		Open: func(*testing.T) sharedtest.Engine {
			turns := new(sharedtest.Memory)
			return sharedtest.Engine{
				Machine:    func() thumbcache.Shared { return thumbcache.Compose(server.open(), turns.Machine()) },
				Freeze:     func() { server.freeze(); turns.Freeze() },
				Thaw:       func() { server.thaw(); turns.Thaw() },
				Disconnect: turns.Disconnect,
			}
		},
		Leaser:   true,
		Notifier: true,
	})
}
