package thumbcache_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"html"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/thumbcache/thumbcache"
)

// A server over a folder of music. One route serves every thumbnail.
func Example() {
	cache, err := thumbcache.New(thumbcache.Config{
		Providers: map[string]thumbcache.Provider{"music": thumbcache.Files("testdata/library")},
		Dir:       "", // a folder keeps them over a restart
		Sizes:     []int{64, 300, 600},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer cache.Close()

	mux := http.NewServeMux()
	mux.Handle("GET /thumb/{provider}/{path...}", cache.Handler())

	// A browser asks.
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest("GET", "/thumb/music/no/such/song.flac?size=100", nil))
	fmt.Println(w.Code)
	// Output: 404
}

// albums is a Provider for media that is named by a database id. Where the bytes come from is its own affair: here they
// lie in a map, elsewhere in an object store.
type albums map[string]struct {
	updated time.Time
	cover   []byte
}

func (a albums) Stat(ctx context.Context, id string) (thumbcache.Stamp, error) {
	album, ok := a[id]
	if !ok {
		return thumbcache.Stamp{}, fs.ErrNotExist // sure: what is cached of it goes
	}
	return thumbcache.Stamp{ModTime: album.updated}, nil
}

func (a albums) Open(ctx context.Context, id string) (*thumbcache.Source, error) {
	stamp, err := a.Stat(ctx, id)
	if err != nil {
		return nil, err
	}
	return thumbcache.BytesSource("album "+id, stamp, a[id].cover), nil
}

func ExampleProvider() {
	var cover bytes.Buffer
	if err := png.Encode(&cover, image.NewGray(image.Rect(0, 0, 1000, 500))); err != nil {
		log.Fatal(err)
	}
	db := albums{"al-42": {time.Now(), cover.Bytes()}}
	cache, err := thumbcache.New(thumbcache.Config{Providers: map[string]thumbcache.Provider{"albums": db}})
	if err != nil {
		log.Fatal(err)
	}
	defer cache.Close()

	thumb, err := cache.Get(context.Background(), "albums", "al-42", 300)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(thumb.ContentType, thumb.Width, thumb.Height)

	_, err = cache.Get(context.Background(), "albums", "al-43", 300)
	fmt.Println(errors.Is(err, fs.ErrNotExist), thumbcache.HTTPStatus(err))
	// Output:
	// image/jpeg 300 150
	// true 404
}

// An Extractor for a kind of media of one's own, here a text that names a colour, in front of the usual ones.
func ExampleExtractorFunc() {
	paint := thumbcache.ExtractorFunc(func(ctx context.Context, src *thumbcache.Source) (*thumbcache.Picture, error) {
		head := make([]byte, 4)
		if _, err := src.Content.ReadAt(head, 0); err != nil || string(head) != "red\n" {
			return nil, thumbcache.ErrUnsupported // not mine
		}
		img := image.NewRGBA(image.Rect(0, 0, 200, 200))
		draw.Draw(img, img.Bounds(), image.NewUniform(color.RGBA{200, 0, 0, 255}), image.Point{}, draw.Src)
		var b bytes.Buffer
		err := png.Encode(&b, img)
		return &thumbcache.Picture{Data: b.Bytes()}, err
	})
	cache, err := thumbcache.New(thumbcache.Config{
		Providers: map[string]thumbcache.Provider{"db": albums{"paint": {cover: []byte("red\n")}}},
		Extractor: thumbcache.FirstOf(paint, thumbcache.DefaultExtractor()),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer cache.Close()
	thumb, err := cache.Get(context.Background(), "db", "paint", 64)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(thumb.Width, thumb.Height)
	// Output: 64 64
}

// A caller that knows when its media changed says so. Then the provider is not asked, and a changed picture is never
// served from before the change.
func ExampleCache_Do() {
	var cover bytes.Buffer
	if err := png.Encode(&cover, image.NewGray(image.Rect(0, 0, 1000, 500))); err != nil {
		log.Fatal(err)
	}
	cache, err := thumbcache.New(thumbcache.Config{
		Providers: map[string]thumbcache.Provider{"albums": albums{"al-42": {time.Now(), cover.Bytes()}}},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer cache.Close()
	updatedAt := time.Unix(1e9, 0) // from the database
	thumb, err := cache.Do(context.Background(), thumbcache.Request{
		Provider: "albums", Path: "al-42", Size: 200,
		Fit:     thumbcache.Cover,
		Format:  thumbcache.PNG,
		Version: updatedAt.UTC().Format(time.RFC3339),
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(thumb.ContentType, thumb.Width, thumb.Height)
	// Output: image/png 200 200
}

// A page links to thumbnails by URLs that change when the picture does. Browsers and proxies keep them for good: they do
// not even ask whether there is a new one.
func ExampleCache_Handler() {
	var cover bytes.Buffer
	if err := png.Encode(&cover, image.NewGray(image.Rect(0, 0, 1000, 500))); err != nil {
		log.Fatal(err)
	}
	db := albums{"al-42": {time.Unix(1e9, 0), cover.Bytes()}}
	cache, err := thumbcache.New(thumbcache.Config{
		Providers: map[string]thumbcache.Provider{"albums": db},
		Sizes:     []int{64, 300, 600},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer cache.Close()

	mux := http.NewServeMux()
	mux.Handle("GET /thumb/", cache.Handler())
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		req := thumbcache.Request{Provider: "albums", Path: "al-42", Size: 300}
		stamp, err := db.Stat(r.Context(), req.Path)
		if err == nil {
			req.Version = stamp.Version() // or a hash, or updated_at as text
		}
		fmt.Fprint(w, html.EscapeString(req.URL()))
	})

	page := httptest.NewRecorder()
	mux.ServeHTTP(page, httptest.NewRequest("GET", "/", nil))
	src := html.UnescapeString(page.Body.String())
	fmt.Println(src)

	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest("GET", src, nil))
	fmt.Println(w.Code, w.Header().Get("Content-Type"), w.Header().Get("Cache-Control"))
	// Output:
	// /thumb/albums/al-42?size=300&v=vQtNCDXkQDvLkr9j
	// 200 image/jpeg public, max-age=31536000, immutable
}

// Media without a picture is shown as a tile with its first letter. Anything else that goes wrong stays an error.
func ExampleLetterTile() {
	cache, err := thumbcache.New(thumbcache.Config{
		Providers: map[string]thumbcache.Provider{"artists": albums{"al-43": {cover: []byte("no picture")}}},
		Extractor: thumbcache.FirstOf(thumbcache.Images(), thumbcache.CoverArt()),
		Placeholder: func(req thumbcache.Request, err error) *thumbcache.Thumbnail {
			if errors.Is(err, thumbcache.ErrNoPicture) || errors.Is(err, thumbcache.ErrUnsupported) {
				return thumbcache.LetterTile("Édith Piaf", req.Size) // the name that belongs to req.Path
			}
			return nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer cache.Close()

	for _, id := range []string{"al-43", "al-44"} {
		w := httptest.NewRecorder()
		cache.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/thumb/artists/"+id+"?size=100&v=1", nil))
		fmt.Println(w.Code, w.Header().Get("Content-Type"), w.Header().Get("Cache-Control"))
	}
	// Output:
	// 200 image/svg+xml no-cache
	// 404 text/plain; charset=utf-8 no-store
}

func ExampleRequest_URL() {
	updatedAt := time.Unix(1e9, 0) // from the database
	req := thumbcache.Request{
		Provider: "albums", Path: "al-42", Size: 300, Fit: thumbcache.Cover,
		Version: thumbcache.Stamp{ModTime: updatedAt}.Version(),
	}
	fmt.Println(req.URL())

	// What servers and browsers would clean from a path goes into the query.
	fmt.Println(thumbcache.Request{Provider: "web", Path: "https://example.com/a.jpg", Size: 64}.URL())
	// Output:
	// /thumb/albums/al-42?size=300&fit=cover&v=vQtNCDXkQDvLkr9j
	// /thumb/?provider=web&path=https%3A%2F%2Fexample.com%2Fa.jpg&size=64
}
