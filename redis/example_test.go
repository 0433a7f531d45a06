package redis_test

import (
	"context"
	"errors"
	"io/fs"
	"log"
	"time"

	"github.com/thumbcache/thumbcache"
	"github.com/thumbcache/thumbcache/redis"
)

// A server that shares thumbnails with others. It starts without Redis too, unless a setting is wrong.
func Example() {
	store, err := redis.Open("redis://:secret@cache.example.org:6379/0?pool_size=20")
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	switch err := store.Check(ctx); {
	case errors.Is(err, fs.ErrPermission), errors.Is(err, fs.ErrInvalid):
		log.Fatal(err)
	case err != nil:
		log.Print("thumbnails are not shared yet: ", err)
	}

	cache, err := thumbcache.New(thumbcache.Config{
		Providers: map[string]thumbcache.Provider{"music": thumbcache.Files("/srv/music")},
		Dir:       "/var/cache/thumbs", // of this machine
		Shared:    store,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer cache.Close()
}
