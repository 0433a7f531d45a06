// Package thumbcachetest helps to test programs that use thumbcache: it has a provider in memory, an extractor without decoders, and
// pictures of one color. See the example.
package thumbcachetest

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	_ "image/jpeg" // for Color
	"image/png"
	"io/fs"
	"path"
	"strconv"
	"sync"
	"testing"

	"github.com/thumbcache/thumbcache"
)

// New returns a Cache without a Dir for one provider. It is closed when the test ends.
func New(t testing.TB, provider string, p thumbcache.Provider) *thumbcache.Cache {
	t.Helper()
	c, err := thumbcache.New(thumbcache.Config{Providers: map[string]thumbcache.Provider{provider: p}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// A Provider is a [thumbcache.Provider] and [thumbcache.Lister] of media in memory. The zero value is empty and ready to use. Its
// methods may be called from several goroutines at once.
type Provider struct {
	mu           sync.Mutex // protects the following fields
	media        map[string]*thumbcache.Source
	states       int   // how often media was set
	err          error // of every call
	stats, opens int
}

// Set makes data the media at path, in a state of its own: after each Set, a Cache sees that the media has changed.
func (p *Provider) Set(path string, data []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.media == nil {
		p.media = make(map[string]*thumbcache.Source)
	}
	p.states++
	p.media[path] = thumbcache.BytesSource(path, thumbcache.Stamp{Tag: strconv.Itoa(p.states)}, data)
}

// Remove removes the media at path.
func (p *Provider) Remove(path string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.media, path)
}

// Fail lets every call of Stat, Open and List fail with err, as if the media could not be reached. A nil error ends that.
func (p *Provider) Fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
}

// Calls returns how often Stat and Open were called.
func (p *Provider) Calls() (stats, opens int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stats, p.opens
}

// Stat implements [thumbcache.Provider].
func (p *Provider) Stat(_ context.Context, path string) (thumbcache.Stamp, error) {
	src, err := p.find(path, &p.stats)
	if err != nil {
		return thumbcache.Stamp{}, err
	}
	return src.Stamp, nil
}

// Open implements [thumbcache.Provider].
func (p *Provider) Open(_ context.Context, path string) (*thumbcache.Source, error) {
	return p.find(path, &p.opens)
}

func (p *Provider) find(path string, calls *int) (*thumbcache.Source, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	*calls++
	src := p.media[path]
	switch {
	case p.err != nil:
		return nil, p.err
	case src == nil:
		return nil, fs.ErrNotExist
	}
	return src, nil
}

// List implements [thumbcache.Lister].
func (p *Provider) List(_ context.Context, folder string) (names []string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name := range p.media {
		if path.Dir(name) == path.Clean(folder) {
			names = append(names, path.Base(name))
		}
	}
	return names, p.err
}

// An Extractor is a [thumbcache.Extractor] that does not look at the media. The zero value finds a gray picture in everything. Its
// methods may be called from several goroutines at once.
type Extractor struct {
	// Find returns the picture in the media of a name, or an error such as thumbcache.ErrNoPicture. It may be nil.
	Find func(name string) (picture []byte, err error)

	mu    sync.Mutex
	calls int
}

// Extract implements [thumbcache.Extractor].
func (e *Extractor) Extract(_ context.Context, src *thumbcache.Source) (*thumbcache.Picture, error) {
	e.mu.Lock()
	e.calls++
	e.mu.Unlock()
	if e.Find == nil {
		return &thumbcache.Picture{Data: Picture(100, 100, color.Gray{128})}, nil
	}
	data, err := e.Find(src.Name)
	if err != nil {
		return nil, err
	}
	return &thumbcache.Picture{Data: data}, nil
}

// Calls returns how often Extract was called.
func (e *Extractor) Calls() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.calls
}

// Picture returns a PNG of one color.
func Picture(width, height int, c color.Color) []byte {
	img := image.NewNRGBA(image.Rect(0, 0, width, height))
	draw.Draw(img, img.Bounds(), image.NewUniform(c), image.Point{}, draw.Src)
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		panic(fmt.Sprintf("thumbcachetest: a picture of %d x %d: %v", width, height, err)) // a mistake in the test
	}
	return b.Bytes()
}

// IsColor reports whether the center of a JPEG or PNG has a color, as closely as a JPEG can have it. It ends the test if data is no such
// picture.
func IsColor(t testing.TB, data []byte, want color.Color) bool {
	t.Helper()
	img, _, err := image.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatalf("thumbcachetest: %d bytes are not a picture: %v", len(data), err)
	}
	size := img.Bounds().Size()
	r, g, b, a := img.At(img.Bounds().Min.X+size.X/2, img.Bounds().Min.Y+size.Y/2).RGBA()
	r2, g2, b2, a2 := want.RGBA()
	return isNear(r, r2) && isNear(g, g2) && isNear(b, b2) && isNear(a, a2)
}

// isNear reports whether two values of 16 bits differ by less than 1/40 of their range.
func isNear(a, b uint32) bool { return max(a, b)-min(a, b) < 0xffff/40 }
