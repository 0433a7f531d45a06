//go:build unix

package redis_test

import (
	"testing"
	"time"

	"github.com/thumbcache/thumbcache"
	"github.com/thumbcache/thumbcache/sharedtest"
)

// life is long enough for a busy machine to renew a lease in time.
const life = 500 * time.Millisecond

func TestSingle(t *testing.T) {
	s := startServer(t)
	sharedtest.Run(t, sharedtest.Config{
		Leaser: true, Committer: true, Notifier: true, Life: life,
		Open: func(t *testing.T) sharedtest.Engine {
			return sharedtest.Engine{
				Machine: func() thumbcache.Shared { return s.open(t, "") },
				Freeze:  s.freeze, Thaw: s.thaw, Disconnect: s.disconnect,
			}
		},
	})
}

func TestCluster(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t)
	each := func(do func(s *server)) func() {
		return func() {
			for _, s := range nodes {
				do(s)
			}
		}
	}
	sharedtest.Run(t, sharedtest.Config{
		Leaser: true, Committer: true, Notifier: true, Life: life,
		Open: func(t *testing.T) sharedtest.Engine {
			return sharedtest.Engine{
				Machine: func() thumbcache.Shared { return open(t, clusterURL(nodes)) },
				Freeze:  each((*server).freeze), Thaw: each((*server).thaw), Disconnect: each((*server).disconnect),
			}
		},
	})
}
