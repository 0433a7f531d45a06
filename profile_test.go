package thumbcache

import (
	"bytes"
	"errors"
	"image"
	"io/fs"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// spelled returns the values of a header whose name has exactly this spelling.
func spelled(h http.Header, name string) []string { return h[name] }

// Each profile of DLNA has a thumbnail within its box, whatever MaxSize and Sizes are, of its type and with its headers.
func TestDLNAProfiles(t *testing.T) {
	p := newTestProvider()
	p.set("a", tag("1"), plain(42, 4200, red))
	c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Profiles: DLNAProfiles(), MaxSize: 100, Sizes: []int{50}})
	for name, want := range map[string]struct {
		pn, contentType string
		w, h            int
	}{
		"dlna-tn":      {"JPEG_TN", "image/jpeg", 2, 160},
		"dlna-sm":      {"JPEG_SM", "image/jpeg", 5, 480},
		"dlna-med":     {"JPEG_MED", "image/jpeg", 8, 768},
		"dlna-lrg":     {"JPEG_LRG", "image/jpeg", 41, 4096},
		"dlna-png-tn":  {"PNG_TN", "image/png", 2, 160},
		"dlna-png-lrg": {"PNG_LRG", "image/png", 41, 4096},
	} {
		w := serve(c.Handler(), "GET", "/thumb/p/a?profile="+name)
		size, _, err := image.DecodeConfig(bytes.NewReader(w.Body.Bytes()))
		h := w.Header()
		if err != nil || w.Code != 200 || size.Width != want.w || size.Height != want.h || h.Get("Content-Type") != want.contentType {
			t.Errorf("%s: %d, %dx%d, %v, %v", name, w.Code, size.Width, size.Height, h, err)
		}
		features, mode := spelled(h, "contentFeatures.dlna.org"), spelled(h, "transferMode.dlna.org")
		if len(mode) != 1 || mode[0] != "Interactive" || len(features) != 1 || !strings.HasPrefix(features[0], "DLNA.ORG_PN="+want.pn+";") {
			t.Errorf("%s: %q, %q", name, mode, features)
		}
		if want.contentType == "image/jpeg" && !bytes.Contains(w.Body.Bytes(), []byte("\xff\xc0\x00\x11\x08")) {
			t.Errorf("%s is not a baseline JPEG", name)
		}
	}
	if n := len(DLNAProfiles()); n != 6 {
		t.Errorf("%d profiles", n)
	}
}

// Headers of a profile belong to its thumbnail only: not to an error, and not to the same thumbnail without the profile.
func TestProfileHeaders(t *testing.T) {
	p := newTestProvider()
	p.set("a", tag("1"), plain(300, 200, red))
	profiles := map[string]Profile{"tv": {Width: 160, Height: 160, Header: map[string]string{"x-tv": "1", "Cache-Control": "private", "Content-Type": "image/jpg"}}}
	c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Profiles: profiles})
	clear(profiles) // the Cache has its own

	w := serve(c.Handler(), "GET", "/thumb/p/a?profile=tv&v=1")
	etag := w.Header().Get("ETag")
	if w.Code != 200 || spelled(w.Header(), "x-tv") == nil || w.Header().Get("Cache-Control") != "private" || w.Header().Get("Content-Type") != "image/jpeg" || len(w.Header()["Content-Type"]) != 1 {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	w = serve(c.Handler(), "GET", "/thumb/p/a?profile=tv&v=1", "If-None-Match", etag)
	if w.Code != 304 || spelled(w.Header(), "x-tv") == nil {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	w = serve(c.Handler(), "GET", "/thumb/p/a?size=160&v=1")
	if w.Code != 200 || spelled(w.Header(), "x-tv") != nil || w.Header().Get("ETag") != etag || c.Stats().Misses != 1 {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	for query, status := range map[string]int{
		"/a?profile=TV": 400, "/a?profile=tv&size=10": 400, "/a?profile=tv&width=10": 400, "/a?profile=tv&fit=cover": 400, "/a?profile=tv&format=png": 400,
		"/b?profile=tv": 404, "/a?profile=tv&dpr=2": 200,
	} {
		w := serve(c.Handler(), "GET", "/thumb/p"+query)
		if w.Code != status || (spelled(w.Header(), "x-tv") != nil) != (status == 200) {
			t.Errorf("%s: %d %v", query, w.Code, w.Header())
		}
	}
	if _, err := c.Do(t.Context(), Request{Provider: "p", Path: "a", Profile: "x"}); !errors.Is(err, fs.ErrInvalid) {
		t.Error(err)
	}
	if _, err := Render(t.Context(), plain(3, 2, red), Request{Profile: "tv"}); !errors.Is(err, fs.ErrInvalid) {
		t.Error(err)
	}
}

// A limit in bytes is part of a thumbnail's identity: of its ETag, its file, and what equal pictures share.
func TestProfileMaxBytes(t *testing.T) {
	p := newTestProvider()
	picture := noisy(500, 400, 95)
	p.set("a", tag("1"), picture)
	p.set("twin", tag("1"), picture)
	profiles := make(map[string]Profile)
	for _, n := range []int{0, 2000, 10_000, 20_000, 1 << 20} {
		profiles[strconv.Itoa(n)] = Profile{Width: 320, Height: 320, MaxBytes: n}
	}
	profiles["box"] = Profile{Width: 320, Height: 240, MaxBytes: 10_000, Format: PNG}
	profiles["none"] = Profile{Width: 320, Height: 320, MaxBytes: 10}
	dir := t.TempDir()
	cfg := Config{Providers: map[string]Provider{"p": p}, Profiles: profiles, Dir: dir}
	c := mustNew(t, cfg)
	tags := make(map[string]string)
	for name, profile := range profiles {
		thumb, err := c.Do(t.Context(), Request{Provider: "p", Path: "a", Profile: name})
		if name == "none" {
			if !errors.Is(err, ErrTooLarge) || HTTPStatus(err) != 413 {
				t.Error(err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		img, _, err := image.Decode(bytes.NewReader(thumb.Data))
		if err != nil || img.Bounds().Dx() != thumb.Width || img.Bounds().Dy() != thumb.Height {
			t.Errorf("%s: %v, %v, says %dx%d", name, err, img.Bounds(), thumb.Width, thumb.Height)
		}
		if n := len(thumb.Data); profile.MaxBytes > 0 && n > profile.MaxBytes || profile.MaxBytes == 2000 && n < 1000 {
			t.Errorf("%s: %d bytes", name, n)
		}
		if tags[thumb.ETag] != "" {
			t.Errorf("%s and %s have the same ETag", name, tags[thumb.ETag])
		}
		tags[thumb.ETag] = name
		twin, err := c.Do(t.Context(), Request{Provider: "p", Path: "twin", Profile: name})
		if err != nil || &twin.Data[0] != &thumb.Data[0] {
			t.Errorf("%s: %v, not shared", name, err)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, name := range filesIn(t, dir) {
		if strings.HasPrefix(name, hashOf(source{"p", "a"})) {
			names = append(names, name[64:])
		}
	}
	want := map[string]bool{"_320.jpg": true, "_320b2000.jpg": true, "_320b10000.jpg": true, "_320b20000.jpg": true, "_320b1048576.jpg": true, "_320x240b10000.png": true}
	got := make(map[string]bool)
	for _, name := range names {
		got[name] = true
	}
	if !maps.Equal(got, want) {
		t.Errorf("files %v", names)
	}
	c = mustNew(t, cfg)
	for tag, name := range tags {
		thumb, err := c.Do(t.Context(), Request{Provider: "p", Path: "a", Profile: name})
		if err != nil || thumb.ETag != tag {
			t.Errorf("%s from disk: %v", name, err)
		}
	}
	if s := c.Stats(); s.DiskHits != uint64(len(tags)) || s.Misses != 0 {
		t.Errorf("%+v", s)
	}
}

func TestBadProfiles(t *testing.T) {
	for _, test := range []struct {
		name string
		p    Profile
	}{
		{"", Profile{Width: 1, Height: 1}}, {"a", Profile{Width: 1}}, {"a", Profile{Height: 1}}, {"a", Profile{Width: 65536, Height: 1}}, {"a", Profile{Width: -1, Height: 1}},
		{"a", Profile{Width: 1, Height: 1, Format: Auto}}, {"a", Profile{Width: 1, Height: 1, MaxBytes: -1}},
	} {
		_, err := New(Config{Providers: map[string]Provider{"p": newTestProvider()}, Profiles: map[string]Profile{test.name: test.p}})
		if err == nil || !strings.Contains(err.Error(), "Config.Profiles") {
			t.Errorf("%+v: %v", test.p, err)
		}
	}
}
