// Package collage makes covers of playlists and artists out of several pictures, and contact sheets.
//
// [New] returns a [thumbcache.Provider] whose media are collages. Their pictures come from another [thumbcache.Cache], which has
// to exist first:
//
//	covers, err := thumbcache.New(thumbcache.Config{
//		Providers: map[string]thumbcache.Provider{"music": music},
//		Dir:       dir,
//	})
//	...
//	playlists, err := collage.New(covers, songsOfPlaylist, collage.Options{})
//	...
//	cache, err := thumbcache.New(thumbcache.Config{
//		Providers: map[string]thumbcache.Provider{"music": music, "playlists": playlists},
//		Dir:       dir,
//	})
//
// The second Cache can serve everything. Both may have the same Dir and DiskBytes, as in this example, and then share the files in
// it. Their memory is apart: a picture that is invalidated in one must be invalidated in the other.
//
// # Why two caches
//
// A collage waits for its pictures while it has a worker of its Cache. If they needed workers of the same Cache, collages could take
// all workers and wait for ever. Here collages wait for covers, and covers wait for no collage, whatever the numbers of workers.
package collage

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"image"
	"image/draw"
	"image/jpeg"
	"io/fs"
	"os/exec"
	"sync"
	"time"

	"github.com/disintegration/imaging"

	"github.com/thumbcache/thumbcache"
)

// Options are the options of [New]. The zero value selects the defaults.
type Options struct {
	// Tiles is the number of pictures in a full collage, 4 or 9. The default is 4.
	Tiles int

	// Size is the edge of a collage in pixels, from 16 to 2048. The default is 600. Thumbnails of it are not larger.
	Size int
}

const (
	// version changes with what a collage looks like, so that stored collages are made again.
	version = 1

	// maxMembers bounds the work for one collage. Members after that are ignored.
	maxMembers = 64

	// patience is how long Stat and Open wait for members. Both together must fit in the 30 seconds of Config.Timeout.
	patience = 8 * time.Second

	quality = 95 // of the JPEG that thumbnails are made of
)

// New returns a [thumbcache.Provider] of collages. Members returns the sources that a collage is made of, the best first, as providers
// and paths of cache. It is called by several goroutines at once, for each Stat and each Open. Its errors mean what those of a
// Provider mean, such as [fs.ErrNotExist] if there is no such id.
//
// A collage shows the first distinct pictures of its members, in their order: 9 if Options.Tiles is 9 and there are as many, or else
// 4. Three pictures are one half and two quarters, two are halves, and a single one is shown as it is. Pictures are equal if their
// thumbnails are. Members without a picture, or that do not exist, are left out. A collage with no picture at all is
// [thumbcache.ErrNoPicture], and one with no members is [thumbcache.ErrNoMedia]. Members after the first 64 are ignored.
//
// If a member cannot be reached now, or takes longer than 8 seconds, it is left out too, and the collage is served and not kept, see
// Partial in [thumbcache.Source]. The Cache that has the collages needs a Timeout of more than twice as long.
//
// The state of a collage is that of the pictures in it. Cache notices a change of a member after its own Revalidate, and the collage
// is made again after another one. A check of a collage reads the thumbnails of its members, so cache should have a Dir. Up to
// Options.Tiles members are asked for at the same time, so its Queue must have room for them.
//
// Closing cache is up to the caller, after the Cache that has the collages.
func New(cache *thumbcache.Cache, members func(ctx context.Context, id string) ([]thumbcache.Target, error), o Options) (thumbcache.Provider, error) {
	p := &provider{cache: cache, members: members, tiles: o.Tiles, size: o.Size}
	if p.tiles == 0 {
		p.tiles = 4
	}
	if p.size == 0 {
		p.size = 600
	}
	switch {
	case cache == nil:
		return nil, errors.New("collage: the cache is nil")
	case members == nil:
		return nil, errors.New("collage: members is nil")
	case p.tiles != 4 && p.tiles != 9:
		return nil, fmt.Errorf("collage: Options.Tiles: %d is neither 4 nor 9", p.tiles)
	case p.size < 16 || p.size > 2048:
		return nil, fmt.Errorf("collage: Options.Size: %d is not between 16 and 2048", p.size)
	}
	return p, nil
}

type provider struct {
	cache       *thumbcache.Cache
	members     func(context.Context, string) ([]thumbcache.Target, error)
	tiles, size int
}

// Stat implements [thumbcache.Provider].
func (p *provider) Stat(ctx context.Context, id string) (thumbcache.Stamp, error) {
	c, err := p.choose(ctx, id)
	return c.stamp, err
}

// Open implements [thumbcache.Provider].
func (p *provider) Open(ctx context.Context, id string) (*thumbcache.Source, error) {
	c, err := p.choose(ctx, id)
	if err != nil {
		return nil, err
	}
	data, err := p.draw(ctx, c.tiles)
	if err != nil {
		return nil, err
	}
	src := thumbcache.BytesSource(id, c.stamp, data)
	src.Partial = c.partial
	return src, nil
}

// A choice is what a collage shows.
type choice struct {
	tiles   []tile
	partial bool // a member cannot be reached now
	stamp   thumbcache.Stamp
}

// A tile is one picture of a collage.
type tile struct {
	thumbcache.Target
	thumb *thumbcache.Thumbnail // a square of gridEdge
	sum   [sha256.Size]byte     // of its Data
}

// choose finds the pictures of a collage. Its error says why there is none.
func (p *provider) choose(ctx context.Context, id string) (choice, error) {
	members, err := p.members(ctx, id)
	switch {
	case err != nil:
		return choice{}, err
	case len(members) == 0:
		return choice{}, thumbcache.ErrNoMedia
	}
	members = members[:min(len(members), maxMembers)]
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var c choice
	var failure error // of a member that may have a picture
	seen := make(map[[sha256.Size]byte]bool)
	for len(members) > 0 && len(c.tiles) < p.tiles {
		batch := members[:min(len(members), p.tiles-len(c.tiles))]
		members = members[len(batch):]
		for i, r := range getAll(limited, p.cache, batch, square(p.gridEdge())) {
			if r.err == nil {
				if sum := sha256.Sum256(r.thumb.Data); !seen[sum] {
					seen[sum] = true
					c.tiles = append(c.tiles, tile{batch[i], r.thumb, sum})
				}
			} else if !isLasting(r.err) {
				failure = cause(r.err)
				// Without ffmpeg, all collages with a film in them would be partial for ever.
				c.partial = c.partial || !errors.Is(failure, exec.ErrNotFound)
			}
		}
		if err := ctx.Err(); err != nil {
			return choice{}, err
		}
	}
	switch {
	case len(c.tiles) == 0 && failure != nil:
		return choice{}, fmt.Errorf("collage: no member can be reached: %w", failure)
	case len(c.tiles) == 0:
		return choice{}, thumbcache.ErrNoPicture
	}
	c.tiles = c.tiles[:shown(len(c.tiles))]
	c.stamp = p.stamp(&c)
	return c, nil
}

// stamp returns the state of a collage: all that its look depends on. The ETag of a thumbnail changes with its source, also where
// the square lacks a part of the picture. The pixels change even if the source has no stamp and was invalidated.
func (p *provider) stamp(c *choice) thumbcache.Stamp {
	h := sha256.New()
	fmt.Fprintln(h, version, p.size, c.partial)
	for _, t := range c.tiles {
		fmt.Fprintf(h, "%s %x\n", t.thumb.ETag, t.sum)
	}
	return thumbcache.Stamp{Tag: "collage " + hex.EncodeToString(h.Sum(nil)[:16])}
}

// gridEdge is the edge of a picture in a full collage.
func (p *provider) gridEdge() int {
	if p.tiles == 9 {
		return (p.size + 2) / 3
	}
	return (p.size + 1) / 2
}

// square returns the request for a picture that fills a square.
func square(edge int) thumbcache.Request {
	return thumbcache.Request{Size: edge, Fit: thumbcache.Cover}
}

// draw returns a collage of all tiles as JPEG.
func (p *provider) draw(ctx context.Context, tiles []tile) ([]byte, error) {
	if len(tiles) == 1 {
		t, err := p.get(ctx, tiles[0], thumbcache.Request{Size: p.size})
		if err != nil {
			return nil, err
		}
		return t.Data, nil
	}
	canvas := image.NewNRGBA(image.Rect(0, 0, p.size, p.size))
	for i, r := range layout(len(tiles), p.size) {
		thumb := tiles[i].thumb
		if edge := max(r.Dx(), r.Dy()); edge > p.gridEdge() {
			var err error
			if thumb, err = p.get(ctx, tiles[i], square(edge)); err != nil {
				return nil, err
			}
		}
		img, err := decode(thumb)
		if err != nil {
			return nil, err
		}
		draw.Draw(canvas, r, imaging.Fill(img, r.Dx(), r.Dy(), imaging.Center, imaging.CatmullRom), image.Point{}, draw.Src)
	}
	return encode(canvas, quality)
}

// get returns a larger thumbnail of a tile, or the one it has if a larger one cannot be made, such as for lack of memory.
func (p *provider) get(ctx context.Context, t tile, req thumbcache.Request) (*thumbcache.Thumbnail, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req.Provider, req.Path = t.Provider, t.Path
	thumb, err := p.cache.Do(ctx, req)
	switch {
	case err == nil:
		return thumb, nil
	case isLasting(err):
		return t.thumb, nil
	}
	return nil, fmt.Errorf("collage: a member can no longer be reached: %w", cause(err))
}

// shown returns how many of n pictures a collage shows.
func shown(n int) int {
	switch {
	case n >= 9:
		return 9
	case n >= 4:
		return 4
	}
	return n
}

// layout returns the places of 2, 3, 4 or 9 pictures in a square of the given size.
func layout(n, size int) []image.Rectangle {
	half := size / 2
	left, right := image.Rect(0, 0, half, size), image.Rect(half, 0, size, size)
	switch n {
	case 2:
		return []image.Rectangle{left, right}
	case 3:
		return []image.Rectangle{left, image.Rect(half, 0, size, half), image.Rect(half, half, size, size)}
	}
	side := 2
	if n == 9 {
		side = 3
	}
	places := make([]image.Rectangle, n)
	for i := range places {
		x, y := i%side, i/side
		places[i] = image.Rect(x*size/side, y*size/side, (x+1)*size/side, (y+1)*size/side)
	}
	return places
}

// A result is the thumbnail of a member, or the reason why there is none.
type result struct {
	thumb *thumbcache.Thumbnail
	err   error
}

// getAll returns the thumbnails of all members that req asks for, at the same time.
func getAll(ctx context.Context, cache *thumbcache.Cache, members []thumbcache.Target, req thumbcache.Request) []result {
	results := make([]result, len(members))
	var wg sync.WaitGroup
	for i, m := range members {
		req := req
		req.Provider, req.Path = m.Provider, m.Path
		wg.Go(func() { results[i].thumb, results[i].err = cache.Do(ctx, req) })
	}
	wg.Wait()
	return results
}

// isLasting reports whether a member is left out for good, until it changes.
func isLasting(err error) bool {
	for _, lasting := range []error{
		thumbcache.ErrNoPicture, thumbcache.ErrNoMedia, thumbcache.ErrUnsupported, thumbcache.ErrCorrupt, thumbcache.ErrTooLarge,
		fs.ErrNotExist, fs.ErrInvalid,
	} {
		if errors.Is(err, lasting) {
			return true
		}
	}
	return false
}

// cause returns err without the errors of thumbcache around it, which name a member where a caller has asked for a collage.
func cause(err error) error {
	for {
		e, ok := errors.AsType[*thumbcache.Error](err)
		if !ok {
			return err
		}
		err = e.Err
	}
}

// decode returns the pixels of a thumbnail. They are copied, because imaging works in goroutines of its own: a panic there, which
// an unusual image may cause, ends the process.
func decode(t *thumbcache.Thumbnail) (*image.NRGBA, error) {
	img, err := jpeg.Decode(bytes.NewReader(t.Data))
	if err != nil {
		return nil, fmt.Errorf("collage: a thumbnail that cannot be decoded: %v", err)
	}
	pixels := image.NewNRGBA(image.Rectangle{Max: img.Bounds().Size()})
	draw.Draw(pixels, pixels.Bounds(), img, img.Bounds().Min, draw.Src)
	return pixels, nil
}

func encode(img image.Image, quality int) ([]byte, error) {
	var b bytes.Buffer
	if err := imaging.Encode(&b, img, imaging.JPEG, imaging.JPEGQuality(quality)); err != nil {
		return nil, fmt.Errorf("collage: %w", err)
	}
	return b.Bytes(), nil
}
