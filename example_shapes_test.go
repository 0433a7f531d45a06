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
