//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/thumbcache/thumbcache"
)

// Sizes of thumbnails: of a song in a list, of an album in a list, of an album that is open.
const (
	rowSize  = 96
	listSize = 160
	bigSize  = 320
	pageSize = 50 // albums in a list
)

// A client is a listener with a browser.
type client struct {
	*node
	*popularity
	format thumbcache.Format
}

func (n *node) newClient(i int) *client {
	c := &client{node: n, popularity: n.library.popularity(uint64(n.Start)<<20 | uint64(i))}
	switch i % 16 {
	case 1:
		c.format = thumbcache.WebP
	case 2:
		c.format = thumbcache.PNG
	case 3:
		c.format = thumbcache.Auto
	}
	return c
}

// run lets the client browse until ctx ends.
func (c *client) run(ctx context.Context) {
	c.think(ctx, rand.Float64()*2)
	for ctx.Err() == nil {
		switch n := c.random.IntN(100); {
		case n < 40:
			c.browse(ctx)
		case n < 75:
			c.openAlbum(ctx)
		case n < 90:
			c.search(ctx)
		case n < 96:
			c.scroll(ctx)
		default:
			c.watch(ctx)
		}
		c.think(ctx, c.random.ExpFloat64())
	}
}

func (c *client) think(ctx context.Context, factor float64) {
	sleep(ctx, time.Duration(min(factor, 5)*float64(c.Think)))
}

// get asks for a thumbnail of an object, in one of the ways that there are.
func (c *client) get(ctx context.Context, o object, size int) {
	q := c.question(o, size)
	q.Format = c.format
	switch n := c.random.IntN(100); {
	case n < 2:
		c.askHandler(ctx, q)
		return
	case n < 6:
		s, since := c.latest(o)
		if s.moves == q.moves && !s.gone && since > 0 {
			q.Version, q.since = fmt.Sprint("rev", s.rev), since
		}
	case n < 10:
		q.Fit = thumbcache.Cover
	}
	c.ask(ctx, q)
}

// browse looks at a page of the list of albums.
func (c *client) browse(ctx context.Context) {
	start := int(c.zipf.Uint64())
	for i := range pageSize {
		if ctx.Err() != nil {
			return
		}
		album := c.album((start + i) % c.albums)
		first, _ := c.songsOf(album)
		if c.random.IntN(10) == 0 {
			first = c.folderPicture(album)
		}
		c.get(ctx, first, listSize)
	}
}

// openAlbum looks at an album and its songs.
func (c *client) openAlbum(ctx context.Context) {
	first, end := c.songsOf(c.album(-1))
	c.get(ctx, first, bigSize)
	for o := first; o < end && ctx.Err() == nil; o++ {
		c.get(ctx, o, rowSize)
	}
}

// search looks at songs that are anywhere in the library.
func (c *client) search(ctx context.Context) {
	for range c.random.IntN(8) {
		if ctx.Err() != nil {
			return
		}
		c.get(ctx, object(c.random.IntN(c.songs)), rowSize)
	}
}

// scroll passes by albums so fast that most answers come too late.
func (c *client) scroll(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(1+c.random.IntN(100))*time.Millisecond)
	defer cancel()
	for ctx.Err() == nil {
		c.get(ctx, c.song(), listSize)
	}
}

// watch looks at a film.
func (c *client) watch(ctx context.Context) {
	if c.Films {
		c.get(ctx, c.films()+object(c.random.IntN(numFilms)), listSize)
	}
}
