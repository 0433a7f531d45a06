package collage_test

import (
	"context"
	"fmt"
	"image/color"
	"log"

	"github.com/thumbcache/thumbcache"
	"github.com/thumbcache/thumbcache/collage"
	"github.com/thumbcache/thumbcache/thumbcachetest"
)

func ExampleNew() {
	// In a server, this is Files("/srv/music") or the like.
	music := &thumbcachetest.Provider{}
	music.Set("blue/01.flac", thumbcachetest.Picture(500, 500, color.NRGBA{B: 255, A: 255}))
	music.Set("red/07.flac", thumbcachetest.Picture(500, 500, color.NRGBA{R: 255, A: 255}))

	covers, err := thumbcache.New(thumbcache.Config{Providers: map[string]thumbcache.Provider{"music": music}})
	if err != nil {
		log.Fatal(err)
	}
	defer covers.Close()

	// In a server, this is a query of its database.
	songs := func(ctx context.Context, playlist string) ([]thumbcache.Target, error) {
		return []thumbcache.Target{{Provider: "music", Path: "blue/01.flac"}, {Provider: "music", Path: "red/07.flac"}}, nil
	}
	playlists, err := collage.New(covers, songs, collage.Options{})
	if err != nil {
		log.Fatal(err)
	}
	cache, err := thumbcache.New(thumbcache.Config{
		Providers: map[string]thumbcache.Provider{"music": music, "playlists": playlists},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer cache.Close()

	t, err := cache.Get(context.Background(), "playlists", "42", 300)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(t.ContentType, t.Width, t.Height)
	// Output: image/jpeg 300 300
}
