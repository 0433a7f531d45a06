package thumbcachetest_test

import (
	"errors"
	"fmt"
	"image/color"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/thumbcache/thumbcache"
	"github.com/thumbcache/thumbcache/thumbcachetest"
)

var red = color.RGBA{R: 200, A: 255}

// albums is a handler under test: it serves the cover of an album by its id.
func albums(cache *thumbcache.Cache) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cache.Serve(w, r, thumbcache.Request{Provider: "music", Path: r.FormValue("id") + "/cover.png", Size: 64})
	})
}

func TestHandler(t *testing.T) {
	var media thumbcachetest.Provider
	media.Set("a1/cover.png", thumbcachetest.Picture(500, 500, red))
	w := httptest.NewRecorder()
	albums(thumbcachetest.New(t, "music", &media)).ServeHTTP(w, httptest.NewRequest("GET", "/?id=a1", nil))
	if w.Code != http.StatusOK || !thumbcachetest.IsColor(t, w.Body.Bytes(), red) {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
}

func TestProvider(t *testing.T) {
	var media thumbcachetest.Provider
	cache := thumbcachetest.New(t, "p", &media)
	if _, err := cache.Get(t.Context(), "p", "a", 10); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	media.Set("a", thumbcachetest.Picture(20, 20, red))
	first, err := media.Stat(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cache.Get(t.Context(), "p", "a", 10); err != nil {
		t.Error(err)
	}
	media.Set("a", thumbcachetest.Picture(20, 20, color.White))
	if second, _ := media.Stat(t.Context(), "a"); first == second {
		t.Error("Set made no new state")
	}
	if stats, opens := media.Calls(); stats < 3 || opens != 1 {
		t.Errorf("%d calls of Stat, %d of Open", stats, opens)
	}
	media.Set("folder/b", nil)
	if names, err := media.List(t.Context(), "folder"); err != nil || !slices.Equal(names, []string{"b"}) {
		t.Errorf("%q, %v", names, err)
	}
	media.Fail(fs.ErrPermission)
	if _, err := media.Open(t.Context(), "a"); err != fs.ErrPermission {
		t.Error(err)
	}
	media.Fail(nil)
	media.Remove("a")
	if _, err := media.Open(t.Context(), "a"); err != fs.ErrNotExist {
		t.Error(err)
	}
}

func TestExtractor(t *testing.T) {
	var media thumbcachetest.Provider
	media.Set("game.rom", []byte("no picture"))
	media.Set("other", []byte("no picture"))
	extractor := &thumbcachetest.Extractor{Find: func(name string) ([]byte, error) {
		if name == "other" {
			return nil, thumbcache.ErrNoPicture
		}
		return thumbcachetest.Picture(50, 50, red), nil
	}}
	cache, err := thumbcache.New(thumbcache.Config{
		Providers: map[string]thumbcache.Provider{"p": &media},
		Extractor: extractor,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close()
	thumb, err := cache.Get(t.Context(), "p", "game.rom", 10)
	if err != nil || !thumbcachetest.IsColor(t, thumb.Data, red) || thumbcachetest.IsColor(t, thumb.Data, color.Black) {
		t.Error(err)
	}
	if _, err := cache.Get(t.Context(), "p", "other", 10); !errors.Is(err, thumbcache.ErrNoPicture) {
		t.Error(err)
	}
	if n := extractor.Calls(); n != 2 {
		t.Errorf("%d extractions", n)
	}
	if pic, err := new(thumbcachetest.Extractor).Extract(t.Context(), nil); err != nil || !thumbcachetest.IsColor(t, pic.Data, color.Gray{128}) {
		t.Error(err)
	}
}

func Example() {
	// In a test, t is its *testing.T, and handler the code under test.
	t, handler := new(testing.T), albums

	var media thumbcachetest.Provider
	media.Set("a1/cover.png", thumbcachetest.Picture(500, 500, color.Black))
	w := httptest.NewRecorder()
	handler(thumbcachetest.New(t, "music", &media)).ServeHTTP(w, httptest.NewRequest("GET", "/?id=a1", nil))
	fmt.Println(w.Code, w.Header().Get("Content-Type"), thumbcachetest.IsColor(t, w.Body.Bytes(), color.Black))
	// Output: 200 image/jpeg true
}
