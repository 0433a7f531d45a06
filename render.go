package thumbcache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/thumbcache/thumbcache/internal/flight"
	"github.com/thumbcache/thumbcache/internal/render"
)

// Limits of Render, which are the defaults of a Cache.
const (
	renderQuality = 85
	renderMaxSize = 2048
	renderBytes   = 256 << 20
)

// Render makes a thumbnail of one picture, such as an upload or an avatar, without a Cache. Data is a JPEG, PNG, GIF, WebP, BMP, ICO
// or TIFF, recognized by content. Of req, it uses what describes the thumbnail; the largest size is 2048, and the quality is 85.
// There are no profiles.
//
// The errors are those of [Cache.Do]. A picture whose decoding takes more than 256 MiB is [ErrTooLarge]. Several goroutines may call
// Render at once; only the caller can limit how many. It starts no process, so formats that need ffmpeg are [ErrUnsupported].
func Render(ctx context.Context, data []byte, req Request) (*Thumbnail, error) {
	s := source{req.Provider, req.Path}
	r := recipe{quality: renderQuality, maxSize: renderMaxSize}
	shape, err := r.shapeOf(&req)
	if err != nil {
		return nil, fail("decode", s, err)
	}
	o := r.options(&shape)
	cost, err := render.Cost(data, o)
	if err == nil && cost > renderBytes {
		err = errTooCostly(cost)
	}
	var img rendered
	if err == nil {
		img, err = render.Make(ctx, data, o)
	}
	if err != nil {
		return nil, fail("decode", s, renderError(err))
	}
	return &Thumbnail{
		Data:        img.Data,
		ContentType: img.ContentType,
		ETag:        "W/" + tagOf(img.Data),
		Width:       img.Width,
		Height:      img.Height,
		ThumbHash:   img.ThumbHash,
	}, nil
}

func errTooCostly(cost int64) error {
	return fmt.Errorf("%w: decoding takes %d MiB", ErrTooLarge, cost>>20)
}

// twin returns the identity of e among thumbnails of equal pictures.
func (e *entry) twin() twinID { return twinID{e.picture, e.key.shape} }

// A twinID identifies a thumbnail by its content: the picture and what is made of it, whatever the source.
type twinID struct {
	picture string // a digest
	shape
}

// isBox reports whether a thumbnail is decoded alone. Others of the same picture can be made from a larger one of them.
func (s *shape) isBox() bool { return s.fit != Contain || s.height != 0 || s.detail != 0 }

// options returns how to make a thumbnail.
func (r recipe) options(s *shape) render.Options {
	focusX, focusY := s.focus()
	o := render.Options{
		Size:       int(s.size),
		Height:     int(s.height),
		Fit:        render.Fit(s.fit),
		PNG:        s.format == PNG,
		Auto:       s.format == Auto,
		WebP:       s.format == WebP,
		Quality:    r.quality,
		FocusX:     float64(focusX) / 100,
		FocusY:     float64(focusY) / 100,
		Background: render.Background(s.background()), // the same numbers
		MaxBytes:   int(min(uint64(s.maxBytes()), math.MaxInt)),
	}
	if s.size == 0 { // other sizes are within their limits, of which those of a Profile are its own
		o.MaxEdge = r.maxSize
	}
	return o
}

// rendered is a thumbnail without what depends on its source.
type rendered = render.Image

// resized returns the identity of the thumbnail in another size.
func (id twinID) resized(size int) twinID {
	id.size = uint16(size)
	return id
}

// anySize returns a shape that stands for all sizes, and is none of them.
func (s shape) anySize() shape {
	s.size, s.height = 0, 1
	return s
}

// render makes the thumbnail of a picture. Sources with equal pictures share it, and sizes that are wanted at the same time come
// from one decoding.
func (c *Cache) render(w *flight.Work, j *job, x *extracted) (t *Thumbnail, err error) {
	defer c.observer.stage("render", j.source())(&err)
	defer w.Waiting()() // the flight has a limit of its own
	own := twinID{x.pic.digest(), j.key.shape}
	id := own
	if !id.isBox() {
		id.shape = id.anySize()
	}
	for {
		images, joined, err := c.renders.Do(w, id, func(w *flight.Work) (map[int]rendered, error) {
			return c.renderSizes(w, own, c.wanted.of(&j.key), x.pic)
		})
		img, ok := images[int(own.size)]
		switch {
		case ok:
			return &Thumbnail{
				Data:        img.Data,
				ContentType: img.ContentType,
				ETag:        c.recipe.etag(j.hash, &j.key, &made{x.stamp, j.version}),
				ModTime:     x.stamp.lastModified(),
				Width:       img.Width,
				Height:      img.Height,
				ThumbHash:   img.ThumbHash,
			}, nil
		case err != nil && !(joined && errors.Is(err, ErrTooLarge)): // a smaller size may be possible
			return nil, fail("decode", j.source(), renderError(err))
		}
	}
}

// renderSizes makes the thumbnails id of a picture in its own size and others, within DecodeBytes.
func (c *Cache) renderSizes(w *flight.Work, id twinID, sizes []int, pic *Picture) (map[int]rendered, error) {
	if img, ok := c.twin(w, id); ok {
		return map[int]rendered{int(id.size): img}, nil
	}
	var missing []int // the largest first
	for _, size := range sizes {
		if size == int(id.size) || pic.isEnough(size) && !c.memory.hasTwin(id.resized(size)) {
			missing = append(missing, size)
		}
	}
	o := c.recipe.options(&id.shape)
	o.Orientation = pic.orientation
	var cost int64
	for {
		var err error
		o.Size = missing[0]
		if cost, err = render.Cost(pic.Data, o); err != nil {
			return nil, err
		}
		if cost <= c.decodeBytes {
			break
		}
		if missing[0] == int(id.size) {
			return nil, errTooCostly(cost)
		}
		missing = missing[1:]
	}
	weight := c.decodingWeight(cost)
	done := w.Waiting()
	err := c.decoding.Acquire(w, weight)
	if done(); err != nil {
		return nil, err
	}
	defer c.decoding.Release(weight)
	all, err := render.MakeSizes(w, pic.Data, o, missing)
	images := make(map[int]rendered, len(all))
	for i, img := range all {
		images[missing[i]] = img
		if missing[i] != int(id.size) {
			c.memory.putPrepared(id.resized(missing[i]), img)
		}
	}
	return images, err
}

// twin returns a thumbnail of an equal picture that was made for another source or with another size.
func (c *Cache) twin(ctx context.Context, id twinID) (img rendered, ok bool) {
	if img, ok := c.memory.takePrepared(id); ok {
		return img, true
	}
	k, ok := c.memory.twinOf(id)
	if !ok {
		return rendered{}, false
	}
	e := c.memory.get(&k)
	if e == nil || e.picture != id.picture {
		// Its source may have changed since, so the stored file says what it was made of.
		if e = c.disk.load(ctx, &k, hashOf(k.source)); e == nil || e.picture != id.picture {
			return rendered{}, false
		}
	}
	t := e.thumb
	return rendered{Data: t.Data, ContentType: t.ContentType, Width: t.Width, Height: t.Height, ThumbHash: t.ThumbHash}, true
}

func renderError(err error) error {
	switch {
	case errors.Is(err, render.ErrUnsupported):
		return ErrUnsupported
	case errors.Is(err, render.ErrTooLarge):
		return ErrTooLarge
	case errors.Is(err, render.ErrCorrupt):
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return err
}

// wantedSizes knows which sizes of each source are being made, so that they can be decoded together. The zero value is ready to
// use.
type wantedSizes struct {
	mu   sync.Mutex    // protects keys
	keys map[key][]int // sizes, by a key for any size; a size may be there more than once
}

// add adds k, and more sizes of it, until done is called.
func (s *wantedSizes) add(k *key, more []int) (done func()) {
	any := *k
	any.shape = k.anySize()
	added := append([]int{int(k.size)}, more...)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys == nil {
		s.keys = make(map[key][]int)
	}
	s.keys[any] = append(s.keys[any], added...)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		left := s.keys[any]
		for _, size := range added {
			i := slices.Index(left, size)
			left = slices.Delete(left, i, i+1)
		}
		if s.keys[any] = left; len(left) == 0 {
			delete(s.keys, any)
		}
	}
}

// of returns the sizes that are wanted of the source of k, the largest first. A box has only its own, because each shows
// another part of the picture.
func (s *wantedSizes) of(k *key) []int {
	if k.isBox() {
		return []int{int(k.size)}
	}
	any := *k
	any.shape = k.anySize()
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Compact(slices.SortedFunc(slices.Values(s.keys[any]), largestFirst))
}

// largestFirst compares sizes of thumbnails. 0 is the original's size, which is the largest.
func largestFirst(a, b int) int {
	if a == 0 || b == 0 {
		return cmp.Compare(a, b)
	}
	return cmp.Compare(b, a)
}
