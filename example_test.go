package thumbcache_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"expvar"
	"fmt"
	"html"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"io/fs"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"time"

	"github.com/thumbcache/thumbcache"
)

// A server for a folder of music. One route serves all thumbnails.
//
// With chi the route is r.Handle("/thumb/{provider}/*", cache.Handler()), with echo e.GET("/thumb/*",
// echo.WrapHandler(cache.Handler())), with gin r.GET("/thumb/*path", gin.WrapH(cache.Handler())).
func Example() {
	cache, err := thumbcache.New(thumbcache.Config{
		Providers: map[string]thumbcache.Provider{"music": thumbcache.Files("testdata/library")},
		Dir:       "", // name a folder to keep thumbnails over a restart
		Sizes:     []int{64, 300, 600},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer cache.Close()

	mux := http.NewServeMux()
	mux.Handle("GET /thumb/{provider}/{path...}", cache.Handler())

	// Requests of a browser.
	for _, url := range []string{
		"/thumb/music/Ada%20Rings/Lossless/01%20One%20Cover.flac?size=100",
		"/thumb/music/no/such/song.flac?size=100",
	} {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest("GET", url, nil))
		fmt.Println(w.Code, w.Header().Get("Content-Type"))
	}
	// Output:
	// 200 image/jpeg
	// 404 text/plain; charset=utf-8
}

// The following is the code of docs/moving.md: a server whose clients request covers by the ids of its database.

// library stands for the database. It maps the id of an album, artist or track to the file with its cover.
type library map[string]string

// coverFile returns the file with the cover for an id. The error for an unknown id must match fs.ErrNotExist, which sql.ErrNoRows
// does not.
func (l library) coverFile(ctx context.Context, id string) (string, error) {
	file, ok := l[id]
	if !ok {
		return "", fs.ErrNotExist
	}
	return file, nil
}

// covers is a Provider of the ids in the database: al-123, ar-7, tr-4711.
type covers struct {
	db    library
	music thumbcache.Provider // of the files that the database names
}

func (c covers) Stat(ctx context.Context, id string) (thumbcache.Stamp, error) {
	file, err := c.db.coverFile(ctx, id)
	if err != nil {
		return thumbcache.Stamp{}, err
	}
	stamp, err := c.music.Stat(ctx, file)
	stamp.Tag = file // another file is another picture, even one of the same size and time
	return stamp, err
}

func (c covers) Open(ctx context.Context, id string) (*thumbcache.Source, error) {
	file, err := c.db.coverFile(ctx, id)
	if err != nil {
		return nil, err
	}
	src, err := c.music.Open(ctx, file)
	if err != nil {
		return nil, err
	}
	src.Stamp.Tag = file
	return src, nil
}

func newCovers(db library, musicDir, cacheDir string) (*thumbcache.Cache, error) {
	return thumbcache.New(thumbcache.Config{
		Providers: map[string]thumbcache.Provider{"covers": covers{db, thumbcache.Files(musicDir)}},
		Dir:       cacheDir,
		DiskBytes: 1 << 30,
		Sizes:     []int{64, 160, 300, 600, 1200},
	})
}

type server struct {
	covers *thumbcache.Cache
}

func (s *server) getCoverArt(w http.ResponseWriter, r *http.Request) {
	size, err := strconv.Atoi(cmp.Or(r.FormValue("size"), "600"))
	if err != nil {
		http.Error(w, "bad size", http.StatusBadRequest)
		return
	}
	thumb, err := s.covers.Get(r.Context(), "covers", r.FormValue("id"), size)
	if err != nil {
		http.Error(w, "no cover", thumbcache.HTTPStatus(err))
		return
	}
	w.Header().Set("Cache-Control", "private, no-cache") // the URL holds a user's token
	thumb.ServeHTTP(w, r)
}

// scanned is called at the end of a scan, with the ids whose cover is new or another one.
func (s *server) scanned(ctx context.Context, changed []string) (thumbcache.Warmed, error) {
	for _, id := range changed {
		if err := s.covers.Invalidate("covers", id); err != nil {
			return thumbcache.Warmed{}, err
		}
	}
	return s.covers.Warm(ctx, "covers", slices.Values(changed), 300)
}

// A server that used to have its own cover cache. The requests of its clients stay the same: getCoverArt?id=al-1&size=250.
func Example_getCoverArt() {
	db := library{"al-1": "Ada Rings/Lossless/01 One Cover.flac"}
	cache, err := newCovers(db, "testdata/library", "")
	if err != nil {
		log.Fatal(err)
	}
	defer cache.Close()
	s := &server{cache}

	warmed, err := s.scanned(context.Background(), []string{"al-1"})
	fmt.Println(warmed.Extracted, err)
	for _, id := range []string{"al-1", "al-2"} {
		w := httptest.NewRecorder()
		s.getCoverArt(w, httptest.NewRequest("GET", "/rest/getCoverArt?id="+id+"&size=250", nil))
		fmt.Println(w.Code, w.Header().Get("Content-Type"))
	}
	// Output:
	// 1 <nil>
	// 200 image/jpeg
	// 404 text/plain; charset=utf-8
}

// albums is a Provider for media named by a database id. It may get the bytes from anywhere, such as an object store. Here they
// are in a map.
type albums map[string]album

type album struct {
	updated time.Time
	cover   []byte
}

func (a albums) Stat(ctx context.Context, id string) (thumbcache.Stamp, error) {
	album, ok := a[id]
	if !ok {
		return thumbcache.Stamp{}, fs.ErrNotExist // its cached thumbnails are removed
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

// picture returns a gray PNG.
func picture(width, height int) []byte {
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, width, height))); err != nil {
		log.Fatal(err)
	}
	return b.Bytes()
}

// newCache returns a cache of the covers in db.
func newCache(db albums) *thumbcache.Cache {
	cache, err := thumbcache.New(thumbcache.Config{
		Providers: map[string]thumbcache.Provider{"albums": db},
		Sizes:     []int{64, 300, 600},
	})
	if err != nil {
		log.Fatal(err)
	}
	return cache
}

// A Provider of media that is named by a database id, see the type albums.
func ExampleProvider() {
	db := albums{"al-42": {time.Now(), picture(1000, 500)}}
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

// An Extractor for an additional kind of media, here a text that names a color. The default extractors are asked afterwards.
func ExampleExtractorFunc() {
	paint := thumbcache.ExtractorFunc(func(ctx context.Context, src *thumbcache.Source) (*thumbcache.Picture, error) {
		head := make([]byte, 4)
		if _, err := src.Content.ReadAt(head, 0); err != nil || string(head) != "red\n" {
			return nil, thumbcache.ErrUnsupported // asks the next extractor
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

// ffmpeg with one process at a time, which shows the frame at a quarter of a video. Music and pictures need no process.
func ExampleFFmpeg() {
	cache, err := thumbcache.New(thumbcache.Config{
		Providers: map[string]thumbcache.Provider{"media": thumbcache.Files("testdata/library")},
		Extractor: thumbcache.FirstOf(
			thumbcache.Images(),
			thumbcache.CoverArt(),
			&thumbcache.FFmpeg{Processes: 1, At: 0.25, Timeout: time.Minute},
		),
		Timeout: 2 * time.Minute,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer cache.Close()
	if _, err := cache.Get(context.Background(), "media", "Bob Wave/Streams & Boxes/03 Vorbis.ogg", 64); err != nil {
		log.Fatal(err)
	}
	fmt.Println(cache.Stats().Processes)
	// Output: 0
}

// Errors can be told apart with errors.Is.
func ExampleCache_Get() {
	cache, err := thumbcache.New(thumbcache.Config{
		Providers: map[string]thumbcache.Provider{"music": thumbcache.Files("testdata/library")},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer cache.Close()

	for _, path := range []string{
		"Ada Rings/First Light/03 New Tag.mp3", "Nobody/No Cover.mp3", "Nobody/Broken.flac", "gone.mp3", "../passwords",
	} {
		thumb, err := cache.Get(context.Background(), "music", path, 64)
		switch {
		case err == nil:
			fmt.Println(thumb.ContentType, thumb.Width, thumb.Height)
		case errors.Is(err, thumbcache.ErrNoPicture):
			fmt.Println("a song without a cover")
		case errors.Is(err, thumbcache.ErrCorrupt):
			fmt.Println("a broken file")
		case errors.Is(err, fs.ErrNotExist):
			fmt.Println("no such song")
		case errors.Is(err, fs.ErrInvalid):
			fmt.Println("not a path")
		default:
			fmt.Println("try again later:", err)
		}
	}
	// Output:
	// image/jpeg 64 64
	// a song without a cover
	// a broken file
	// no such song
	// not a path
}

// A request with a Version: the caller knows when the media changed. Then the provider's Stat is not called, and a thumbnail from
// before the change is never returned.
func ExampleCache_Do() {
	cache := newCache(albums{"al-42": {time.Now(), picture(1000, 500)}})
	defer cache.Close()
	updatedAt := time.Unix(1e9, 0) // from the database
	thumb, err := cache.Do(context.Background(), thumbcache.Request{
		Provider: "albums", Path: "al-42", Size: 200, // the next size up is 300
		Fit:     thumbcache.Cover,
		Format:  thumbcache.PNG,
		Version: updatedAt.UTC().Format(time.RFC3339),
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(thumb.ContentType, thumb.Width, thumb.Height)
	// Output: image/png 300 300
}

// After a scan, Warm makes the covers of all albums in two sizes, before they are requested. It starts nothing while a request
// waits.
func ExampleCache_Warm() {
	db := albums{
		"al-42": {time.Unix(1e9, 0), picture(1000, 500)},
		"al-43": {time.Unix(2e9, 0), picture(700, 700)},
	}
	cache := newCache(db)
	defer cache.Close()
	for range 2 { // the second time, all thumbnails are cached
		done, err := cache.Warm(context.Background(), "albums", maps.Keys(db), 64, 300)
		if err != nil {
			log.Fatal(err) // for example, ctx was canceled; Warm can be started again later
		}
		fmt.Printf("%+v\n", done)
	}
	// Output:
	// {Extracted:2 Reused:0 NoPicture:0 Failed:0}
	// {Extracted:0 Reused:2 NoPicture:0 Failed:0}
}

// A page contains blurred miniatures, which the browser paints until the pictures arrive. Peek makes nothing, so a page can call
// it for a hundred albums.
func ExampleCache_Peek() {
	cache := newCache(albums{"al-42": {time.Unix(1e9, 0), picture(1000, 500)}})
	defer cache.Close()
	ctx := context.Background()

	img := func(req thumbcache.Request) string {
		var blur string
		if thumb, ok := cache.Peek(ctx, req); ok {
			blur = base64.StdEncoding.EncodeToString(thumb.ThumbHash)
		}
		return fmt.Sprintf(`<img src="%s" data-thumbhash="%s">`, html.EscapeString(req.URL()), blur)
	}
	req := thumbcache.Request{Provider: "albums", Path: "al-42", Size: 300}
	before := img(req)
	if _, err := cache.Do(ctx, req); err != nil {
		log.Fatal(err)
	}
	after := img(req)
	fmt.Println(before)
	fmt.Println(len(after) > len(before))
	// Output:
	// <img src="/thumb/albums/al-42?size=300" data-thumbhash="">
	// true
}

// A new cover was uploaded. Without Invalidate, it appears after Config.Revalidate. With Invalidate, the next request gets it.
func ExampleCache_Invalidate() {
	db := albums{"al-42": {time.Unix(1e9, 0), picture(1000, 500)}}
	cache := newCache(db)
	defer cache.Close()
	show := func() {
		thumb, err := cache.Get(context.Background(), "albums", "al-42", 300)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(thumb.Width, thumb.Height)
	}
	show()
	db["al-42"] = album{time.Unix(2e9, 0), picture(500, 1000)}  // first change the cover,
	if err := cache.Invalidate("albums", "al-42"); err != nil { // then invalidate it
		log.Fatal(err)
	}
	show()
	// Output:
	// 300 150
	// 150 300
}

// The counters are published at /debug/vars of http.DefaultServeMux, by package expvar. For Prometheus, see the module
// thumbcache/prometheus.
func ExampleCache_Stats() {
	cache := newCache(albums{"al-42": {time.Unix(1e9, 0), picture(1000, 500)}})
	defer cache.Close()
	expvar.Publish("covers", expvar.Func(func() any { return cache.Stats() }))

	for range 10 {
		cache.Get(context.Background(), "albums", "al-42", 300)
	}
	var seen struct {
		Misses     int `json:"misses"`
		MemoryHits int `json:"memory_hits"`
	}
	if err := json.Unmarshal([]byte(expvar.Get("covers").String()), &seen); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%+v\n", seen)
	// Output: {Misses:1 MemoryHits:9}
}

// An Observer for metrics and logs. Its functions are called by several goroutines at once and should return quickly.
func ExampleObserver() {
	answers := new(expvar.Map)
	cache, err := thumbcache.New(thumbcache.Config{
		Providers: map[string]thumbcache.Provider{"albums": albums{"al-42": {time.Unix(1e9, 0), picture(1000, 500)}}},
		Observer: &thumbcache.Observer{
			Request: func(ctx context.Context, req thumbcache.Request, from string, took time.Duration, err error) {
				if err != nil {
					from = strconv.Itoa(thumbcache.HTTPStatus(err))
				}
				answers.Add(from, 1)
			},
			Stage: func(provider, path, stage string, took time.Duration, err error) {
				if took > time.Minute {
					log.Printf("%s of %s/%s took %v", stage, provider, path, took)
				}
			},
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer cache.Close()

	for _, id := range []string{"al-42", "al-42", "al-42", "al-43"} {
		cache.Get(context.Background(), "albums", id, 300)
	}
	fmt.Println(answers)
	// Output: {"404": 1, "made": 1, "memory": 2}
}

// A page contains URLs of thumbnails that change when the picture changes. Browsers and proxies keep such thumbnails and do not
// check whether they have changed.
func ExampleCache_Handler() {
	db := albums{"al-42": {time.Unix(1e9, 0), picture(1000, 500)}}
	cache := newCache(db)
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

// A handler with its own routes and rules. ServeHTTP takes care of ETag, 304, HEAD and ranges.
func ExampleThumbnail_ServeHTTP() {
	cache := newCache(albums{"al-42": {time.Unix(1e9, 0), picture(1000, 500)}})
	defer cache.Close()

	mux := http.NewServeMux()
	mux.HandleFunc("GET /albums/{id}/cover", func(w http.ResponseWriter, r *http.Request) {
		thumb, err := cache.Get(r.Context(), "albums", r.PathValue("id"), 300)
		if err != nil {
			// The client needs to know no more. The text of err is for the log.
			http.Error(w, "no cover", thumbcache.HTTPStatus(err))
			return
		}
		w.Header().Set("Cache-Control", "private, max-age=3600")
		thumb.ServeHTTP(w, r)
	})

	first := httptest.NewRecorder()
	mux.ServeHTTP(first, httptest.NewRequest("GET", "/albums/al-42/cover", nil))
	again := httptest.NewRequest("GET", "/albums/al-42/cover", nil)
	again.Header.Set("If-None-Match", first.Header().Get("ETag"))
	second := httptest.NewRecorder()
	mux.ServeHTTP(second, again)
	fmt.Println(first.Code, second.Code, second.Body.Len())
	// Output: 200 304 0
}

// Media without a picture is shown as a tile with the first letter of its name. All other errors stay errors.
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

// A URL of a thumbnail, for a page. The version changes the URL when the picture changes.
func ExampleRequest_URL() {
	updatedAt := time.Unix(1e9, 0) // from the database
	req := thumbcache.Request{
		Provider: "albums", Path: "al-42", Size: 300, Fit: thumbcache.Cover,
		Version: thumbcache.Stamp{ModTime: updatedAt}.Version(),
	}
	fmt.Println(req.URL())

	// A path that servers or browsers would change goes into the query.
	fmt.Println(thumbcache.Request{Provider: "web", Path: "https://example.com/a.jpg", Size: 64}.URL())
	// Output:
	// /thumb/albums/al-42?size=300&fit=cover&v=vQtNCDXkQDvLkr9j
	// /thumb/?provider=web&path=https%3A%2F%2Fexample.com%2Fa.jpg&size=64
}
