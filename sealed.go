package thumbcache

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/thumbcache/thumbcache/internal/store"
)

// A recipe is what besides source and key decides how a thumbnail looks.
type recipe struct {
	quality, maxSize int
	sizes            []int // the only ones that are made, ascending; none: all up to maxSize
	profiles         map[string]Profile
}

// shapeOf returns the shape of the thumbnail that req asks for.
func (r *recipe) shapeOf(req *Request) (s shape, err error) {
	switch {
	case req.Profile != "":
		return r.profileShape(req)
	case req.Size < 0 || req.Width < 0 || req.Height < 0:
		return s, fmt.Errorf("size %d, width %d, height %d: %w", req.Size, req.Width, req.Height, fs.ErrInvalid)
	case req.Fit > Pad:
		return s, fmt.Errorf("fit %d: %w", req.Fit, fs.ErrInvalid)
	case req.Format > WebP:
		return s, fmt.Errorf("format %d: %w", req.Format, fs.ErrInvalid)
	}
	s = shape{size: r.edge(req.Size), fit: req.Fit, format: req.Format}
	if req.Width != 0 || req.Height != 0 {
		if err := r.setBox(&s, req); err != nil {
			return s, err
		}
	}
	switch req.Fit {
	case Cover:
		s.detail, err = focusOf(req.FocusX, req.FocusY)
	case Pad:
		s.detail, err = parseBackground(req.Background, req.Format)
	}
	return s, err
}

// edge returns the edge that is made for one of size pixels; 0 is the original's.
func (r *recipe) edge(size int) uint16 {
	if n := len(r.sizes); n > 0 {
		i, _ := slices.BinarySearch(r.sizes, size)
		if i == n || size == 0 { // the original may be larger than all of them
			i = n - 1
		}
		size = r.sizes[i]
	}
	return uint16(min(size, r.maxSize))
}

// setBox sets the size of s to the box that req asks for.
func (r *recipe) setBox(s *shape, req *Request) error {
	width, height := req.Width, req.Height
	if req.Size != 0 || (width == 0 || height == 0) && req.Fit != Contain {
		return fmt.Errorf("size %d, width %d, height %d: %w", req.Size, width, height, fs.ErrInvalid)
	}
	// A free edge is as long as the limits allow.
	s.size, s.height = r.edge(cmp.Or(width, math.MaxInt)), r.edge(cmp.Or(height, math.MaxInt))
	if s.height == s.size {
		s.height = 0 // so that a square is the same thumbnail as a size
	}
	return nil
}

// focusOf returns the detail of a shape with a focus.
func focusOf(x, y float64) (detail uint32, err error) {
	for i, at := range [...]float64{x, y} {
		if !(at >= 0 && at <= 1) {
			return 0, fmt.Errorf("focus %v: %w", at, fs.ErrInvalid)
		}
		if n := uint32(math.Round(100 * at)); at > 0 && n != 50 {
			detail |= max(1, n) << (8 * i)
		}
	}
	return detail, nil
}

// A background is the detail of Pad: a color 0xRRGGBB, or one of the constants.
type background uint32

const (
	blurred     = background(store.Blur)
	transparent = background(store.Transparent)
	white       = background(0xffffff)
)

// parseBackground returns the detail of a shape with a background.
func parseBackground(s string, f Format) (uint32, error) {
	switch {
	case s == "", s == "transparent" && f == JPEG:
		return uint32(white), nil
	case s == "transparent":
		return uint32(transparent), nil
	case s == "blur":
		return uint32(blurred), nil
	}
	rgb, err := strconv.ParseUint(s, 16, 24)
	if len(s) != 6 || err != nil {
		return 0, fmt.Errorf("background %q: %w", s, fs.ErrInvalid)
	}
	return uint32(rgb), nil
}

// qualityOf returns the quality that is part of the recipe for k, or 0.
func (r recipe) qualityOf(k *key) int {
	if k.format == PNG || k.none {
		return 0
	}
	return r.quality
}

// limitOf returns the edge that a thumbnail in the original's size is limited to, or 0.
func (r recipe) limitOf(k *key) int {
	if k.size != 0 || k.none {
		return 0
	}
	return r.maxSize
}

// etag returns the entity tag of the thumbnail for k, made from m. It is weak because it is known before the thumbnail is
// made, and another version of an encoder may write the same picture in other bytes. It is the same whether the request named
// the source's version or not.
func (r recipe) etag(hash string, k *key, m *made) string {
	var buf [64]byte
	le := binary.LittleEndian
	b := append(buf[:0], byte(k.fit), byte(k.format), byte(r.qualityOf(k)), pipeline)
	b = le.AppendUint32(b, uint32(k.size))
	b = le.AppendUint16(b, k.height)
	b = le.AppendUint32(b, k.detail)
	b = le.AppendUint32(b, uint32(r.limitOf(k)))
	version := m.version
	if version == "" {
		version = m.stamp.Version()
	}
	state := fnv.New64a()
	state.Write(b)
	io.WriteString(state, version)
	b = append(buf[:0], `W/"`...)
	b = append(b, hash[:24]...)
	b = strconv.AppendUint(append(b, '-'), state.Sum64(), 36)
	return string(append(b, '"'))
}

// hashOf returns the hex SHA-256 that the names of the files of s begin with.
func hashOf(s source) string { return store.Hash(s.provider, s.path) }

// stored returns the key of k in the store.
func (k *key) stored() store.Key {
	focusX, focusY := k.focus()
	return store.Key{
		Provider:   k.provider,
		Path:       k.path,
		None:       k.none,
		Size:       int(k.size),
		Height:     int(k.height),
		Cover:      k.fit == Cover,
		Pad:        k.fit == Pad,
		PNG:        k.format == PNG,
		Auto:       k.format == Auto,
		WebP:       k.format == WebP,
		FocusX:     focusX,
		FocusY:     focusY,
		Background: uint32(k.background()),
		MaxBytes:   k.maxBytes(),
	}
}

// variant returns the name of the value for k among those of its source in the shared tier.
func (r recipe) variant(k *key) string {
	e := store.Entry{Key: k.stored(), Pipeline: pipeline, Quality: r.qualityOf(k), Limit: r.limitOf(k)}
	return e.Variant()
}

// entry returns the thumbnail in e, or nil if it was made by another recipe.
func (r recipe) entry(k *key, hash string, e *store.Entry) *entry {
	if e.Pipeline != pipeline || e.Quality != r.qualityOf(k) || e.Limit != r.limitOf(k) || e.Cause != store.Picture {
		return nil
	}
	m := madeFrom(e)
	return &entry{made: m, key: *k, picture: e.Picture, thumb: &Thumbnail{
		Data:        e.Data,
		ContentType: k.format.contentType(e.Data),
		ETag:        r.etag(hash, k, &m),
		ModTime:     m.stamp.lastModified(),
		Width:       e.Width,
		Height:      e.Height,
		ThumbHash:   []byte(e.ThumbHash),
	}}
}

// contentType returns the content type of a thumbnail with the given data.
func (f Format) contentType(data []byte) string {
	switch {
	case f == WebP:
		return "image/webp"
	case f == PNG, f == Auto && bytes.HasPrefix(data, []byte("\x89PNG")):
		return "image/png"
	}
	return "image/jpeg"
}

// failureFrom returns the failure in e, or nil if it was recorded by another version of the code.
func failureFrom(e *store.Entry) *failure {
	if e.Pipeline != pipeline {
		return nil
	}
	err := ErrCorrupt
	switch e.Cause {
	case store.NoPicture:
		err = ErrNoPicture
	case store.NoMedia:
		err = ErrNoMedia
	case store.Unsupported:
		err = ErrUnsupported
	}
	s := source{e.Key.Provider, e.Key.Path}
	return &failure{made: madeFrom(e), err: fail("extract", s, err), at: e.Made, ffmpeg: e.FFmpeg}
}

// madeFrom returns the state of the source that e was made from.
func madeFrom(e *store.Entry) made {
	return made{Stamp{Size: e.Size, ModTime: e.ModTime, Tag: e.Tag}, e.Version}
}

// sealed returns the part of a sealed file that says what it was made from.
func (m *made) sealed(k *key) *store.Entry {
	return &store.Entry{
		Key:      k.stored(),
		Pipeline: pipeline,
		Size:     m.stamp.Size,
		ModTime:  m.stamp.ModTime,
		Tag:      m.stamp.Tag,
		Version:  m.version,
	}
}

// sealed returns the sealed file of a thumbnail.
func (r recipe) sealed(e *entry) *store.Entry {
	s := e.made.sealed(&e.key)
	s.Quality, s.Limit, s.Width, s.Height = r.qualityOf(&e.key), r.limitOf(&e.key), e.thumb.Width, e.thumb.Height
	s.Made, s.Data, s.ThumbHash, s.Picture = time.Now(), e.thumb.Data, string(e.thumb.ThumbHash), e.picture
	return s
}

// sealed returns the sealed file of a failure.
func (f *failure) sealed(k *key) *store.Entry {
	s := f.made.sealed(k)
	s.Cause, s.Made, s.FFmpeg = causeOf(f.err), f.at, f.ffmpeg
	return s
}
