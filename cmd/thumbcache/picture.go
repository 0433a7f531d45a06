package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"path"
	"strings"
	"time"

	"github.com/thumbcache/thumbcache"
	"github.com/thumbcache/thumbcache/internal/coverart"
	"github.com/thumbcache/thumbcache/internal/folderart"
)

// pictureFacts says which picture a thumbnail was made of.
type pictureFacts struct {
	From   string `json:"from,omitempty"`   // "file": the file is the picture; "embedded"; "beside"; "frame" of a film; "" if there is none
	Name   string `json:"name,omitempty"`   // of the picture beside the file, relative to its folder
	Number int    `json:"number,omitempty"` // of the embedded picture, the best is 1
	Of     int    `json:"of,omitempty"`     // embedded pictures
}

// These limits bound the work of one explanation.
const (
	maxEmbedded   = 8               // pictures in one file that are counted
	maxBeside     = 16              // pictures in a folder that are compared
	maxBesideSize = 32 << 20        // bytes of each
	findTimeout   = 3 * time.Second // for all of them
)

// findPicture returns which picture of a file has the digest that a stored thumbnail was made of. The digest is empty if no
// thumbnail is stored. It returns nil if that is not known.
func (s *site) findPicture(ctx context.Context, name, digest string) *pictureFacts {
	if isHidden(name) {
		return nil
	}
	kind := mediaKind(name)
	if kind == "image" && digest != "" {
		return &pictureFacts{From: "file"}
	}
	ctx, cancel := context.WithTimeout(ctx, findTimeout)
	defer cancel()
	facts, err := findEmbedded(ctx, s.media, name, digest)
	switch {
	case err != nil:
		return nil
	case facts.Number > 0:
		facts.From = "embedded"
		return &facts
	case digest == "" && facts.Of > 0:
		return &facts
	case digest == "":
		return nil
	}
	if beside := findBeside(ctx, s.media, name, digest); beside != "" {
		facts.From, facts.Name = "beside", beside
		return &facts
	}
	if kind == "video" && ctx.Err() == nil {
		facts.From = "frame"
		return &facts
	}
	return nil
}

// findEmbedded counts the pictures in a file, and finds the one with a digest.
func findEmbedded(ctx context.Context, media thumbcache.Provider, name, digest string) (facts pictureFacts, err error) {
	src, err := media.Open(ctx, name)
	if err != nil {
		return facts, err
	}
	defer src.Content.Close()
	for facts.Of < maxEmbedded {
		data, err := coverart.FindNth(ctx, src.Content, src.Size, facts.Of)
		if errors.Is(err, coverart.ErrNoPicture) || errors.Is(err, coverart.ErrUnsupported) || errors.Is(err, coverart.ErrCorrupt) {
			break
		}
		if err != nil {
			return facts, err
		}
		facts.Of++
		if sum, err := digestOf(bytes.NewReader(data)); err == nil && sum == digest {
			facts.Number = facts.Of
		}
	}
	return facts, nil
}

// findBeside returns the name of the picture with a digest in the folder of a file, or in the folder above. It returns "" if
// there is none.
func findBeside(ctx context.Context, media thumbcache.Provider, name, digest string) string {
	lister, ok := media.(thumbcache.Lister)
	if !ok {
		return ""
	}
	compared := 0
	for _, above := range []string{"", "../"} {
		folder := path.Join(path.Dir(name), above)
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
				return ""
			}
			src, err := media.Open(ctx, path.Join(folder, n))
			if err != nil {
				continue
			}
			sum, err := digestOf(io.NewSectionReader(src.Content, 0, min(src.Size, maxBesideSize)))
			src.Content.Close()
			if err == nil && sum == digest {
				return above + n
			}
		}
	}
	return ""
}

// digestOf returns what identifies a picture in a stored thumbnail, see docs/format.md. Its first byte is an orientation that is
// not part of the picture, which only previews of RAW photos have.
func digestOf(picture io.Reader) (string, error) {
	h := sha256.New()
	h.Write([]byte{0})
	_, err := io.Copy(h, picture)
	return string(h.Sum(nil)), err
}
