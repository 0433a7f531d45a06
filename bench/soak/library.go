//go:build linux && (amd64 || arm64)

package main

import (
	"fmt"
	"math/rand/v2"
	"path"
	"strconv"
	"strings"
	"time"
)

// An object is a file of the library: a song, the picture of a folder, or a film. Songs come first, then pictures, then films.
type object uint32

const (
	numFilms = 16
	provider = "music"
	filmsDir = "films"
	coverArt = "cover.jpg"
)

var extensions = []string{".mp3", ".flac", ".m4a"}

// A library says which files there are, and what each of them contains in each of its states. Nothing of it is stored.
type library struct {
	seed          uint64
	songs, albums int
	clips         [][]byte // what films contain; only the driver has them
}

func (l *library) objects() int { return l.songs + l.albums + numFilms }

// films is the first film, and the number of objects that are not films.
func (l *library) films() object { return object(l.songs + l.albums) }

func (l *library) isSong(o object) bool { return int(o) < l.songs }
func (l *library) isFilm(o object) bool { return o >= l.films() }

// folderPicture returns the picture of an album's folder.
func (l *library) folderPicture(album int) object { return object(l.songs + album) }

// album returns the album of a song or of a folder's picture.
func (l *library) album(o object) int {
	if !l.isSong(o) {
		return int(o) - l.songs
	}
	per, more := l.songs/l.albums, l.songs%l.albums // the first albums have one song more
	if i := int(o); i < more*(per+1) {
		return i / (per + 1)
	}
	return more + (int(o)-more*(per+1))/per
}

// songsOf returns the first song of an album, and the first one of the next album.
func (l *library) songsOf(album int) (first, end object) {
	start := func(a int) object { return object(a*(l.songs/l.albums) + min(a, l.songs%l.albums)) }
	return start(album), start(album + 1)
}

// mix returns a random number that depends on the seed and its arguments only.
func (l *library) mix(parts ...uint64) uint64 {
	h := l.seed
	for _, p := range parts {
		h = (h ^ p) * 0x9E3779B97F4A7C15
		h ^= h >> 29
		h *= 0xBF58476D1CE4E5B9
		h ^= h >> 32
	}
	return h
}

// A content is what a file has for a picture.
type content uint8

const (
	whole  content = iota // a picture
	none                  // no picture
	broken                // something that is no picture
)

// A state is one state of an object.
type state struct {
	rev     uint32 // rises with each change; less than maxRev
	cover   uint16 // which picture the file has
	content content
	gone    bool
	moves   uint16 // is a part of a song's name; less than maxMoves
}

const (
	maxRev   = 1 << 20
	maxMoves = 1 << 10
)

// pack returns s as a number other than 0.
func (s state) pack() uint64 {
	n := 1 | uint64(s.rev)<<1 | uint64(s.cover)<<21 | uint64(s.content)<<37 | uint64(s.moves)<<40
	if s.gone {
		n |= 1 << 39
	}
	return n
}

func unpack(n uint64) state {
	return state{uint32(n >> 1 & (maxRev - 1)), uint16(n >> 21), content(n >> 37 & 3), n>>39&1 == 1, uint16(n >> 40 & (maxMoves - 1))}
}

// first returns the state in which an object is at first. Most albums have covers in their songs, some a picture in the folder, some
// both, and few have none.
func (l *library) first(o object) (s state) {
	if l.isFilm(o) {
		return s
	}
	kind, chance := l.mix(1, uint64(l.album(o)))%100, l.mix(2, uint64(o))%100
	switch {
	case !l.isSong(o):
		s.gone = kind >= 95 || kind < 75 && chance < 50
	case kind >= 75 || chance < 2:
		s.content = none
	case chance < 4:
		s.content = broken
	}
	return s
}

// path returns the path of an object in a state.
func (l *library) path(o object, s state) string {
	switch {
	case l.isFilm(o):
		return fmt.Sprintf("%s/%02d.mp4", filmsDir, o-l.films())
	case !l.isSong(o):
		return fmt.Sprintf("%04d/%s", l.album(o), coverArt)
	}
	first, _ := l.songsOf(l.album(o))
	return fmt.Sprintf("%04d/%02d.%d%s", l.album(o), o-first, s.moves, extensions[int(o)%len(extensions)])
}

// parse returns the object that has a path in states with the given number of moves. Other objects than songs do not move.
func (l *library) parse(p string) (o object, moves uint16, ok bool) {
	dir, name := path.Split(p)
	number, rest, _ := strings.Cut(name, ".")
	n, err := strconv.Atoi(number)
	if dir == filmsDir+"/" {
		return l.films() + object(n), 0, err == nil && n < numFilms
	}
	album, albumErr := strconv.Atoi(strings.TrimSuffix(dir, "/"))
	if albumErr != nil || album >= l.albums {
		return 0, 0, false
	}
	if name == coverArt {
		return l.folderPicture(album), 0, true
	}
	first, end := l.songsOf(album)
	move, _, _ := strings.Cut(rest, ".")
	m, moveErr := strconv.Atoi(move)
	o = first + object(n)
	return o, uint16(m), err == nil && moveErr == nil && o < end
}

// modTime returns the modification time of an object in a state. No two revisions have the same. Some are ten years in the future or in
// the past, as after a clock was wrong.
func (l *library) modTime(o object, s state) time.Time {
	t := time.Unix(1_600_000_000+int64(o)+int64(s.rev), 0)
	switch l.mix(3, uint64(o), uint64(s.rev)) % 16 {
	case 0:
		return t.AddDate(10, 0, 0)
	case 1:
		return t.AddDate(-10, 0, 0)
	}
	return t
}

// A label is what a picture shows.
type label struct {
	id    uint32 // an album, or with one of the following bits a picture of another kind
	cover uint16
}

const (
	folderLabel = 1 << 20 // the picture of an album's folder
	filmLabel   = 1 << 21
	numClips    = 4
)

// label returns what the picture of an object in a state shows.
func (l *library) label(o object, s state) label {
	switch {
	case l.isFilm(o):
		return label{filmLabel, uint16(s.rev % numClips)}
	case l.isSong(o):
		return label{uint32(l.album(o)), s.cover}
	}
	return label{folderLabel | uint32(l.album(o)), s.cover}
}

// A popularity chooses objects as listeners do: few albums are asked for often, and most of them rarely.
type popularity struct {
	*library
	random *rand.Rand
	zipf   *rand.Zipf
}

func (l *library) popularity(seed uint64) *popularity {
	random := rand.New(rand.NewPCG(l.seed, seed))
	return &popularity{l, random, rand.NewZipf(random, 1.2, 10, uint64(l.albums-1))}
}

// album returns the album of a rank, which is chosen unless it is negative.
func (p *popularity) album(rank int) int {
	if rank < 0 {
		rank = int(p.zipf.Uint64())
	}
	return (int(p.mix(4)%97) + rank*7919) % p.albums // 7919 is a prime, so each album has one rank
}

// song returns a song of a popular album.
func (p *popularity) song() object {
	first, end := p.songsOf(p.album(-1))
	return first + object(p.random.IntN(int(end-first)))
}
