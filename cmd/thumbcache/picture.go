package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"github.com/thumbcache/thumbcache"
	"github.com/thumbcache/thumbcache/internal/coverart"
	"github.com/thumbcache/thumbcache/internal/folderart"
	"github.com/thumbcache/thumbcache/internal/jpegdec"
)

// pictureFacts says which picture a thumbnail was made of.
type pictureFacts struct {
	From    string `json:"from,omitempty"`    // "file": the file is the picture; "embedded"; "beside"; "frame" of a film; "" if there is none
	Name    string `json:"name,omitempty"`    // of the picture beside the file, relative to its folder
	Number  int    `json:"number,omitempty"`  // of the embedded picture, the best is 1
	Of      int    `json:"of,omitempty"`      // embedded pictures
	Damaged bool   `json:"damaged,omitempty"` // a part of the picture is missing; known of JPEG only
}

// These limits bound the work for explanations.
const (
	maxFinders     = 2               // explanations at once
	maxEmbedded    = 8               // pictures in one file that are counted
	maxBeside      = 16              // pictures in a folder that are compared
	maxPictureFile = 32 << 20        // bytes of a file that is or may be the picture
	maxCheckCost   = 64 << 20        // bytes of memory that looking for damage may take
	findTimeout    = 3 * time.Second // for one explanation
)

// A pictureFinder finds out which picture a thumbnail was made of.
type pictureFinder struct {
	media thumbcache.Provider
	turns chan struct{} // holds one element for each explanation in progress
}

func newPictureFinder(media thumbcache.Provider) *pictureFinder {
	return &pictureFinder{media: media, turns: make(chan struct{}, maxFinders)}
}

// find returns which picture of a file has the digest that a stored thumbnail was made of. If only a failure is stored, the digest
// is empty, and find counts the pictures that cannot be decoded. It returns nil if nothing is known.
func (p *pictureFinder) find(ctx context.Context, name, digest string, failed bool) *pictureFacts {
	if isHidden(name) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, findTimeout)
	defer cancel()
	select {
	case p.turns <- struct{}{}:
		defer func() { <-p.turns }()
	case <-ctx.Done():
		return nil
	}
	kind := mediaKind(name)
	if kind == "image" {
		data, err := p.read(ctx, name)
		if err != nil {
			return nil
		}
		return &pictureFacts{From: "file", Damaged: isDamaged(ctx, data)}
	}
	if digest == "" && !failed {
		return nil // the thumbnail is not stored yet, or no longer
	}
	facts, err := p.findEmbedded(ctx, name, digest)
	switch {
	case err != nil:
		return nil
	case facts.From != "" || failed && facts.Of > 0:
		return facts
	case failed:
		return nil
	}
	if beside, data := p.findBeside(ctx, name, digest); beside != "" {
		facts.From, facts.Name, facts.Damaged = "beside", beside, isDamaged(ctx, data)
		return facts
	}
	if kind == "video" && ctx.Err() == nil {
		facts.From = "frame"
		return facts
	}
	return nil
}

// findEmbedded counts the pictures in a file, and finds the one with a digest.
func (p *pictureFinder) findEmbedded(ctx context.Context, name, digest string) (*pictureFacts, error) {
	src, err := p.media.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	defer src.Content.Close()
	facts := &pictureFacts{}
	for facts.Of < maxEmbedded {
		data, err := coverart.FindNth(ctx, src.Content, src.Size, facts.Of)
		if errors.Is(err, coverart.ErrNoPicture) || errors.Is(err, coverart.ErrUnsupported) || errors.Is(err, coverart.ErrCorrupt) {
			break
		}
		if err != nil {
			return nil, err
		}
		facts.Of++
		if digestOf(data) == digest {
			facts.From, facts.Number, facts.Damaged = "embedded", facts.Of, isDamaged(ctx, data)
		}
	}
	return facts, nil
}

// findBeside returns the picture with a digest in the folder of a file or in the folder above, and its name. The name is empty
// if there is none.
func (p *pictureFinder) findBeside(ctx context.Context, file, digest string) (name string, data []byte) {
	lister, ok := p.media.(thumbcache.Lister)
	if !ok {
		return "", nil
	}
	compared := 0
	for _, above := range []string{"", "../"} {
		folder := path.Join(path.Dir(file), above)
		if strings.HasPrefix(folder, "..") {
			break
		}
		names, err := lister.List(ctx, folder)
		if err != nil {
			continue
		}
		for _, n := range names {
			if isHidden(n) || !folderart.IsPicture(n) {
				continue
			}
			if compared++; compared > maxBeside {
				return "", nil
			}
			if data, err := p.read(ctx, path.Join(folder, n)); err == nil && digestOf(data) == digest {
				return above + n, data
			}
		}
	}
	return "", nil
}

// read returns the content of a file of at most maxPictureFile bytes.
func (p *pictureFinder) read(ctx context.Context, name string) ([]byte, error) {
	src, err := p.media.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	defer src.Content.Close()
	if src.Size > maxPictureFile {
		return nil, fmt.Errorf("%w: %d bytes", thumbcache.ErrTooLarge, src.Size)
	}
	return io.ReadAll(io.NewSectionReader(src.Content, 0, src.Size))
}

// digestOf returns what identifies a picture in a stored thumbnail, see docs/format.md. The first byte is an orientation that is
// not part of the picture, which only previews of RAW photos have.
func digestOf(picture []byte) string {
	h := sha256.New()
	h.Write([]byte{0})
	h.Write(picture)
	return string(h.Sum(nil))
}

// isDamaged reports whether a part of a JPEG picture is missing. It returns false for other formats, whose decoders do not
// return the rest of a damaged picture, and for pictures that would take too much memory.
func isDamaged(ctx context.Context, picture []byte) (damaged bool) {
	if !bytes.HasPrefix(picture, []byte("\xff\xd8\xff")) {
		return false
	}
	defer func() {
		if recover() != nil {
			damaged = true // the cache has survived it too
		}
	}()
	reduced := jpegdec.Options{Scale: 8}
	h, err := jpegdec.ReadHeader(picture)
	if err != nil || h.Cost(reduced) > maxCheckCost {
		return false
	}
	var img jpegdec.Image
	err = jpegdec.Decode(ctx, picture, reduced, &img)
	return err == nil && img.Damaged
}
