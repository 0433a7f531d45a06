package main

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/thumbcache/thumbcache"
	"github.com/thumbcache/thumbcache/internal/coverart"
)

// tagFacts are the texts in the tags of a song or film.
type tagFacts struct {
	Title       string `json:"title,omitempty"`
	Artist      string `json:"artist,omitempty"`
	Album       string `json:"album,omitempty"`
	AlbumArtist string `json:"album_artist,omitempty"`
	Date        string `json:"date,omitempty"`
	Track       string `json:"track,omitempty"`
	Genre       string `json:"genre,omitempty"`
}

// hasTags reports whether files of this name can have tags.
func hasTags(name string) bool {
	kind := mediaKind(name)
	return kind == "audio" || kind == "video"
}

// readTags returns the tags of a media file. A panic, which a crafted file might cause, is an error: in the background it would
// end the server.
func readTags(ctx context.Context, media thumbcache.Provider, name string) (facts tagFacts, err error) {
	defer func() {
		if p := recover(); p != nil {
			facts, err = tagFacts{}, fmt.Errorf("reading tags: panic: %v", p)
		}
	}()
	src, err := media.Open(ctx, name)
	if err != nil {
		return tagFacts{}, err
	}
	defer src.Content.Close()
	tags, err := coverart.ReadTags(ctx, src.Content, src.Size)
	return tagFacts(tags), err
}

// serveTags serves the tags of one file.
func (s *site) serveTags(w http.ResponseWriter, r *http.Request) {
	name := r.FormValue("path")
	if isHidden(name) || !hasTags(name) {
		writeError(w, http.StatusNotFound, "no such media file")
		return
	}
	tags, err := readTags(r.Context(), s.media, name)
	if err != nil {
		status := thumbcache.HTTPStatus(err)
		writeError(w, status, cmp.Or(http.StatusText(status), "client closed request"))
		return
	}
	writeJSON(w, tags)
}

// A tagIndex remembers the tags of a library for the search. The first search starts to read them in the background, one file
// at a time, and later ones look for changes. A library that is never searched is never read.
type tagIndex struct {
	root  string
	media thumbcache.Provider // of root
	ctx   context.Context     // of the passes
	stop  context.CancelFunc  // of ctx; see cancel
	work  sync.WaitGroup      // for the pass in progress

	mu    sync.Mutex // protects the fields below
	files map[string]taggedFile
	begun time.Time     // when the latest pass began
	done  chan struct{} // closed when it has ended
}

// A taggedFile is what is known of a media file.
type taggedFile struct {
	size    int64
	modTime time.Time
	tags    tagFacts // those that the search looks at
	words   string   // the same and the artist of the album, folded, separated by NULs
	pass    time.Time
}

const (
	maxTagged   = 50_000                 // files whose tags are remembered; each takes about 500 bytes, and at most 2 KiB
	tagInterval = time.Minute            // between two passes over the library
	tagPatience = 400 * time.Millisecond // from the beginning of a pass, for which searches wait for its end
)

func newTagIndex(root string, media thumbcache.Provider) *tagIndex {
	done := make(chan struct{})
	close(done)
	x := &tagIndex{root: root, media: media, files: make(map[string]taggedFile), done: done}
	x.ctx, x.stop = context.WithCancel(context.Background())
	return x
}

// refresh starts a pass over the library, unless there has just been one. It waits for a pass that has just begun, and reports
// whether the pass has ended.
func (x *tagIndex) refresh(ctx context.Context) (complete bool) {
	begun, done := x.start()
	patience := time.NewTimer(time.Until(begun.Add(tagPatience)))
	defer patience.Stop()
	select {
	case <-done:
		return true
	case <-patience.C:
	case <-ctx.Done():
	}
	select {
	case <-done: // both channels were ready
		return true
	default:
		return false
	}
}

// start starts a pass unless one is running or has begun less than tagInterval ago. It returns when the latest pass began, and
// a channel that is closed when it has ended.
func (x *tagIndex) start() (begun time.Time, done <-chan struct{}) {
	x.mu.Lock()
	defer x.mu.Unlock()
	select {
	case <-x.done:
	default:
		return x.begun, x.done
	}
	if x.ctx.Err() == nil && (x.begun.IsZero() || time.Since(x.begun) >= tagInterval) {
		begun, done := time.Now(), make(chan struct{})
		x.begun, x.done = begun, done
		x.work.Go(func() {
			defer close(done)
			x.pass(begun)
		})
	}
	return x.begun, x.done
}

// pass reads the tags of new and changed files, and forgets the files that are gone.
func (x *tagIndex) pass(now time.Time) {
	r, err := openLibrary(x.root)
	if err != nil {
		return
	}
	defer r.Close()
	folders, seen, complete := []string{"."}, 0, true
	for i := 0; i < len(folders); i++ { // the loop appends to folders
		items, err := readFolder(r, folders[i])
		if err != nil {
			complete = false // the share may be offline
		}
		for _, e := range items {
			name := path.Join(folders[i], e.Name())
			if e.IsDir() {
				folders = append(folders, name)
			} else if hasTags(name) {
				x.look(r, name, now)
			}
			if x.ctx.Err() != nil {
				return
			}
		}
		if seen += len(items); seen > maxSearched {
			break
		}
	}
	if complete {
		x.forget(now)
	}
}

// look reads the tags of a file, unless it is as it was.
func (x *tagIndex) look(r *os.Root, name string, now time.Time) {
	info, err := r.Stat(name)
	if err != nil {
		return
	}
	x.mu.Lock()
	f, known := x.files[name]
	full := len(x.files) >= maxTagged
	x.mu.Unlock()
	if !known && full {
		return
	}
	if !known || f.size != info.Size() || !f.modTime.Equal(info.ModTime()) {
		tags, err := readTags(x.ctx, x.media, name)
		if err != nil {
			return // the next pass tries again
		}
		f = taggedFile{size: info.Size(), modTime: info.ModTime(), tags: tagFacts{Title: tags.Title, Artist: tags.Artist, Album: tags.Album}}
		f.words = foldText(strings.Join([]string{tags.Title, tags.Artist, tags.Album, tags.AlbumArtist}, "\x00"))
	}
	f.pass = now
	x.mu.Lock()
	defer x.mu.Unlock()
	x.files[name] = f
}

// forget removes the files that a pass has not seen.
func (x *tagIndex) forget(pass time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for name, f := range x.files {
		if !f.pass.Equal(pass) {
			delete(x.files, name)
		}
	}
}

// cancel ends the pass in progress. No other one begins, so that work can be waited for.
func (x *tagIndex) cancel() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.stop()
}

// get returns what is known of a file. It returns zero if nothing is.
func (x *tagIndex) get(name string) taggedFile {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.files[name]
}
