package thumbcache_test

import (
	"archive/zip"
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
	"net/netip"
	"slices"
	"strconv"
	"strings"
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

// library stands for the database. It maps the id of an album, artist or track to the file with its cover, or to a URL.
type library map[string]string

// coverOf returns the file or URL of the cover for an id, or "" if it has none. The error for an unknown id must match
// fs.ErrNotExist, which sql.ErrNoRows does not.
func (l library) coverOf(ctx context.Context, id string) (string, error) {
	where, ok := l[id]
	if !ok {
		return "", fs.ErrNotExist
	}
	return where, nil
}

// target says where the cover for an id is: al-123, ar-7, tr-4711.
func (l library) target(ctx context.Context, id string) (thumbcache.Target, error) {
	where, err := l.coverOf(ctx, id)
	switch {
	case err != nil:
		return thumbcache.Target{}, err
	case where == "":
		return thumbcache.Target{}, thumbcache.ErrNoMedia
	case strings.HasPrefix(where, "https://"):
		return thumbcache.Target{Provider: "web", Path: where}, nil
	}
	return thumbcache.Target{Provider: "music", Path: where}, nil
}

func newCovers(db library, cacheDir string, musicDirs ...string) (*thumbcache.Cache, error) {
	return thumbcache.New(thumbcache.Config{
		Providers: map[string]thumbcache.Provider{
			"covers": thumbcache.Resolve(db.target),
			"music":  thumbcache.Files(musicDirs...),
			"web":    thumbcache.HTTP(thumbcache.HTTPOptions{}),
		},
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
	w.Header().Set("Cache-Control", "private, no-cache") // the URL holds a user's token
	s.covers.Serve(w, r, thumbcache.Request{Provider: "covers", Path: r.FormValue("id"), Size: size})
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
	db := library{
		"al-1": "Ada Rings/Lossless/01 One Cover.flac",
		"tr-1": "Ada Rings/Lossless/01 One Cover.flac", // shares the thumbnail of its album
		"al-2": "",
		"al-3": "https://192.168.0.1/admin", // refused
	}
	cache, err := newCovers(db, "", "testdata/library")
	if err != nil {
		log.Fatal(err)
	}
	defer cache.Close()
	s := &server{cache}

	warmed, err := s.scanned(context.Background(), []string{"al-1", "tr-1", "al-2"})
	fmt.Printf("%+v %v\n", warmed, err)
	for _, id := range []string{"al-1", "tr-1", "al-2", "al-3", "al-4"} {
		w := httptest.NewRecorder()
		s.getCoverArt(w, httptest.NewRequest("GET", "/rest/getCoverArt?id="+id+"&size=250", nil))
		fmt.Println(id, w.Code, w.Header().Get("Content-Type"))
	}
	fmt.Println(cache.Stats().Extractions, "extraction")
	// Output:
	// {Extracted:1 Reused:1 NoPicture:1 Failed:0} <nil>
	// al-1 200 image/jpeg
	// tr-1 200 image/jpeg
	// al-2 404 text/plain; charset=utf-8
	// al-3 400 text/plain; charset=utf-8
	// al-4 404 text/plain; charset=utf-8
	// 1 extraction
}

// Twelve songs lead to the cover of their album: one extraction and one thumbnail. A song that the database does not know is an
// error like any other.
func ExampleResolve() {
	albumOf := func(ctx context.Context, song string) (thumbcache.Target, error) {
		n, err := strconv.Atoi(strings.TrimPrefix(song, "tr-"))
		if err != nil || n < 1 || n > 12 {
			return thumbcache.Target{}, fs.ErrNotExist
		}
		return thumbcache.Target{Provider: "music", Path: "Ada Rings/Lossless/01 One Cover.flac"}, nil
	}
	cache, err := thumbcache.New(thumbcache.Config{Providers: map[string]thumbcache.Provider{
		"songs": thumbcache.Resolve(albumOf),
		"music": thumbcache.With(thumbcache.Files("testdata/library"), thumbcache.Settings{Internal: true}), // clients see only songs
	}})
	if err != nil {
		log.Fatal(err)
	}
	defer cache.Close()

	for n := range 13 {
		if _, err := cache.Get(context.Background(), "songs", fmt.Sprint("tr-", n), 300); err != nil {
			fmt.Println(n, thumbcache.HTTPStatus(err))
		}
	}
	fmt.Println(cache.Stats().Extractions, cache.Stats().MemoryHits)
	// Output:
	// 0 404
	// 1 11
}

// A library on two disks. A path is found on either of them.
func ExampleFiles() {
	music := thumbcache.Files("testdata/library/Ada Rings", "testdata/library")
	cache, err := thumbcache.New(thumbcache.Config{Providers: map[string]thumbcache.Provider{"music": music}})
	if err != nil {
		log.Fatal(err)
	}
	defer cache.Close()

	for _, path := range []string{"Lossless/01 One Cover.flac", "Pictures/Glass.png", "../passwords"} {
		_, err := cache.Get(context.Background(), "music", path, 64)
		fmt.Println(path, thumbcache.HTTPStatus(err))
	}
	// Output:
	// Lossless/01 One Cover.flac 200
	// Pictures/Glass.png 200
	// ../passwords 400
}

// Pictures in an archive. An embed.FS works in the same way.
func ExampleFS() {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	file, err := w.Create("covers/1.png")
	if err == nil {
		_, err = file.Write(picture(400, 200))
	}
	if err = errors.Join(err, w.Close()); err != nil {
		log.Fatal(err)
	}
	archive, err := zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		log.Fatal(err)
	}
	cache, err := thumbcache.New(thumbcache.Config{Providers: map[string]thumbcache.Provider{"zip": thumbcache.FS(archive)}})
	if err != nil {
		log.Fatal(err)
	}
	defer cache.Close()
	thumb, err := cache.Get(context.Background(), "zip", "covers/1.png", 100)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(thumb.Width, thumb.Height)
	// Output: 100 50
}

// Pictures of a server in the own network, below one URL. Its address is not public, so it must be allowed.
func ExampleHTTP() {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/artists/7.png" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("ETag", `"1"`)
		w.Write(picture(400, 200))
	}))
	defer web.Close()

	cache, err := thumbcache.New(thumbcache.Config{Providers: map[string]thumbcache.Provider{
		"artists": thumbcache.HTTP(thumbcache.HTTPOptions{
			Base:     web.URL + "/artists",
			Allow:    []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")},
			MaxBytes: 10 << 20,
			Client:   &http.Client{Timeout: 10 * time.Second},
		}),
		"urls": thumbcache.HTTP(thumbcache.HTTPOptions{}),
	}})
	if err != nil {
		log.Fatal(err)
	}
	defer cache.Close()

	for _, source := range [][2]string{{"artists", "7.png"}, {"artists", "8.png"}, {"urls", web.URL + "/artists/7.png"}} {
		_, err := cache.Get(context.Background(), source[0], source[1], 100)
		fmt.Println(thumbcache.HTTPStatus(err), errors.Is(err, thumbcache.ErrNoMedia))
	}
	// Output:
	// 200 false
	// 404 true
	// 400 false
}

// Two folders with settings of their own: a share that is slow and rarely changes, and uploads that must appear soon.
func ExampleWith() {
	cache, err := thumbcache.New(thumbcache.Config{Providers: map[string]thumbcache.Provider{
		"archive": thumbcache.With(thumbcache.Files("testdata/library"), thumbcache.Settings{
			Revalidate: 24 * time.Hour,
			Timeout:    2 * time.Minute,
			FolderArt:  []string{"{name}.*", "sleeve.*"},
		}),
		"uploads": thumbcache.With(thumbcache.Files("testdata"), thumbcache.Settings{
			Revalidate: time.Second,
			FailureTTL: time.Second, // a broken file may be one that is still being written
			Internal:   true,
		}),
	}})
	if err != nil {
		log.Fatal(err)
	}
	defer cache.Close()

	for _, url := range []string{"/thumb/archive/Pictures/Glass.png", "/thumb/uploads/library/Pictures/Glass.png"} {
		w := httptest.NewRecorder()
		cache.Handler().ServeHTTP(w, httptest.NewRequest("GET", url, nil))
		fmt.Println(w.Code)
	}
	_, err = cache.Get(context.Background(), "uploads", "library/Pictures/Glass.png", 300)
	fmt.Println(err)
	// Output:
	// 200
	// 404
	// <nil>
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
