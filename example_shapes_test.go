package thumbcache_test

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/png"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"

	"github.com/thumbcache/thumbcache"
	"github.com/thumbcache/thumbcache/sharedtest"
)

// Render makes a thumbnail of a picture in hand. It takes the same shapes and formats as a request to a Cache.
func ExampleRender() {
	var upload bytes.Buffer
	if err := png.Encode(&upload, image.NewGray(image.Rect(0, 0, 400, 200))); err != nil {
		log.Fatal(err)
	}
	for _, req := range []thumbcache.Request{
		{Size: 100},
		{Width: 120, Height: 40},
		{Width: 60, Height: 90, Fit: thumbcache.Cover, FocusX: 0.3, FocusY: 0.5},
		{Size: 100, Fit: thumbcache.Pad, Background: "blur"},
		{Size: 100, Fit: thumbcache.Pad, Background: "transparent", Format: thumbcache.Auto},
		{Size: 100, Format: thumbcache.WebP},
	} {
		thumb, err := thumbcache.Render(context.Background(), upload.Bytes(), req)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(thumb.Width, thumb.Height, thumb.ContentType)
	}
	// Output:
	// 100 50 image/jpeg
	// 80 40 image/jpeg
	// 60 90 image/jpeg
	// 100 100 image/jpeg
	// 100 100 image/png
	// 100 50 image/webp
}

// With Negotiate, the same URL is WebP for a browser and JPEG for a client that does not know WebP. An immutable URL is the same for
// all clients unless it says format=auto.
func ExampleConfig_negotiate() {
	cache, err := thumbcache.New(thumbcache.Config{
		Providers: map[string]thumbcache.Provider{"music": thumbcache.Files("testdata/library")},
		Negotiate: true,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer cache.Close()
	const song = "/thumb/music/Ada Rings/First Light/01 Old Tag.mp3"
	for _, query := range []string{"size=100", "size=100&v=1", "size=100&format=auto&v=1"} {
		for _, accept := range []string{"image/avif,image/webp,*/*;q=0.8", "*/*"} {
			r := httptest.NewRequest("GET", (&url.URL{Path: song, RawQuery: query}).String(), nil)
			r.Header.Set("Accept", accept)
			w := httptest.NewRecorder()
			cache.Handler().ServeHTTP(w, r)
			fmt.Println(query, w.Header().Get("Content-Type"), w.Header()["Vary"])
		}
	}
	// Output:
	// size=100 image/webp [Accept]
	// size=100 image/jpeg [Accept]
	// size=100&v=1 image/jpeg []
	// size=100&v=1 image/jpeg []
	// size=100&format=auto&v=1 image/webp [Accept]
	// size=100&format=auto&v=1 image/jpeg [Accept]
}

// ServeOriginal serves a picture as it is, such as an animation, to those that the server allows to see it.
func ExampleCache_ServeOriginal() {
	cache, err := thumbcache.New(thumbcache.Config{
		Providers: map[string]thumbcache.Provider{"music": thumbcache.Files("testdata/library")},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer cache.Close()
	handler := func(w http.ResponseWriter, r *http.Request) {
		cache.ServeOriginal(w, r, thumbcache.Request{Provider: "music", Path: r.FormValue("path")})
	}
	w := httptest.NewRecorder()
	handler(w, httptest.NewRequest("GET", "/original?path=missing.gif", nil))
	fmt.Println(w.Code)
	// Output: 404
}

// An Extractor may hand over pixels instead of an encoded picture. Shared is what several machines use: redis.Open and s3.Open return
// one; here it is in memory.
func ExamplePicture() {
	draw := func(context.Context, *thumbcache.Source) (*thumbcache.Picture, error) {
		return &thumbcache.Picture{Image: image.NewGray(image.Rect(0, 0, 400, 200))}, nil
	}
	engine := new(sharedtest.Memory)
	for range 2 { // machines
		cache, err := thumbcache.New(thumbcache.Config{
			Providers: map[string]thumbcache.Provider{"music": thumbcache.Files("testdata")},
			Extractor: thumbcache.ExtractorFunc(draw),
			Shared:    engine.Machine(),
		})
		if err != nil {
			log.Fatal(err)
		}
		thumb, err := cache.Get(context.Background(), "music", "README.md", 100)
		if err != nil {
			log.Fatal(err)
		}
		cache.Close()
		fmt.Println(thumb.Width, thumb.Height, cache.Stats().Extractions, cache.Stats().SharedHits)
	}
	// Output:
	// 100 50 1 0
	// 100 50 0 1
}
