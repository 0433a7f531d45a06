package ffmpeg

import (
	"bytes"
	"errors"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/thumbcache/thumbcache/internal/proc"
)

// A media is what ffmpeg lists of its input.
type media struct {
	opened   bool
	duration float64 // in seconds; 0 if unknown
	first    *stream // the video stream that comes first, which ffmpeg calls 0:V:0
	video    *stream // the video stream to take frames of
	cover    *stream // the attached picture to prefer to a frame
}

// needsFilters reports whether frames of the video look wrong without filters.
func (m media) needsFilters() bool { return m.video != nil && (m.video.interlaced || m.video.hdr) }

// A stream is a video stream or an attached picture.
type stream struct {
	index      int
	codec      string
	pixels     int64 // in a frame
	preferred  bool  // ffmpeg calls it the default
	attached   bool
	thumbnails bool // an attached stream of small preview pictures
	rank       int  // of an attached picture, from its tags
	interlaced bool
	hdr        bool
	primaries  string // ffmpeg's name of the primaries, or ""
	transfer   string // ffmpeg's name of the transfer function, or ""
}

var (
	// Tags cannot imitate a stream: they are indented further, or have a space before the colon.
	streamLine   = regexp.MustCompile(`^ {2,4}Stream #0:(\d{1,6})[^ ]*: Video: (\w+)(.*)`)
	colours      = regexp.MustCompile(`[(, ][\w-]+/([\w-]+)/([\w-]+)[,)]`) // matrix, primaries and transfer
	frameSize    = regexp.MustCompile(`, (\d{1,6})x(\d{1,6})(?:[ ,]|$)`)
	durationLine = regexp.MustCompile(`^  Duration: (\d+):(\d\d):(\d\d\.\d+)`)
	coverTag     = regexp.MustCompile(`^ +(comment|filename) +: (.*)`)
)

// parse reads the listing of the input in ffmpeg's messages.
func parse(stderr []byte) media {
	var m media
	_, list, opened := bytes.Cut(append([]byte("\n"), stderr...), []byte("\nInput #0, "))
	m.opened = opened
	var streams []*stream
	for line := range strings.Lines(string(list)) {
		line = strings.TrimRight(line, "\r\n")
		if strings.HasPrefix(line, "Stream mapping:") || strings.HasPrefix(line, "Output #") {
			break // the rest is about the output
		}
		if d := durationLine.FindStringSubmatch(line); d != nil {
			hours, _ := strconv.ParseFloat(d[1], 64)
			minutes, _ := strconv.ParseFloat(d[2], 64)
			seconds, _ := strconv.ParseFloat(d[3], 64)
			m.duration = hours*3600 + minutes*60 + seconds
		}
		if s := streamLine.FindStringSubmatch(line); s != nil {
			streams = append(streams, newStream(s[1], s[2], s[3]))
		} else if tag := coverTag.FindStringSubmatch(line); tag != nil && len(streams) > 0 && streams[len(streams)-1].attached {
			streams[len(streams)-1].addTag(tag[1], tag[2])
		}
	}
	m.choose(streams)
	return m
}

// newStream returns a stream from the parts of its line.
func newStream(index, codec, rest string) *stream {
	s := &stream{
		codec:      codec,
		preferred:  strings.Contains(rest, "(default)"),
		attached:   strings.Contains(rest, "(attached pic)"),
		thumbnails: strings.Contains(rest, "(timed thumbnails)"),
		interlaced: strings.Contains(rest, " first"), // "top first", "bottom coded first (swapped)" and so on
		hdr:        strings.Contains(rest, "smpte2084") || strings.Contains(rest, "arib-std-b67"),
	}
	if c := colours.FindStringSubmatch(rest); c != nil {
		s.primaries, s.transfer = c[1], c[2]
	}
	s.index, _ = strconv.Atoi(index)
	if size := frameSize.FindStringSubmatch(rest); size != nil {
		w, _ := strconv.ParseInt(size[1], 10, 64)
		h, _ := strconv.ParseInt(size[2], 10, 64)
		s.pixels = w * h
	}
	return s
}

// choose chooses the video and the cover. A video that is marked as the default comes before others, and the larger one before
// the smaller.
func (m *media) choose(streams []*stream) {
	better := func(a, b *stream) bool {
		if a.preferred != b.preferred && a.pixels > 0 && b.pixels > 0 {
			return a.preferred
		}
		return a.pixels > b.pixels
	}
	for _, s := range streams {
		switch {
		case s.attached && s.thumbnails:
		case s.attached:
			if m.cover == nil || s.rank > m.cover.rank {
				m.cover = s
			}
		default:
			if m.first == nil || s.index < m.first.index { // programs may be listed in another order
				m.first = s
			}
			if m.video == nil || better(s, m.video) {
				m.video = s
			}
		}
	}
	if m.cover != nil && m.cover.rank == rankScene && m.video != nil {
		m.cover = nil
	}
}

// Ranks of attached pictures. Those with a name in coverNames are between them.
const (
	rankScene   = -1 // a picture of the content, which is never better than a frame
	rankUnknown = 0
	rankFront   = 1000 // marked as the front cover
)

// coverNames are the names of cover files without extension, the best one last. The Matroska specification (RFC 9559) defines
// "cover" and its variants. The others are in common use.
var coverNames = []string{"small_cover_land", "cover_land", "small_cover", "front", "folder", "poster", "cover"}

// sceneNames are parts of the names of files that are not covers. They are those of package coverart.
var sceneNames = []string{
	"fanart", "backdrop", "background", "wallpaper", "screenshot", "screencap", "snapshot", "banner", "logo", "clearart",
}

// addTag sets the rank of an attached picture from one of its tags.
func (s *stream) addTag(key, value string) {
	if key == "comment" {
		if value == "Cover (front)" { // ffmpeg's name for the picture type in ID3 and FLAC
			s.rank = rankFront
		}
		return
	}
	name := strings.ToLower(strings.TrimSuffix(value, path.Ext(value)))
	for _, scene := range sceneNames {
		if s.rank == rankUnknown && strings.Contains(name, scene) {
			s.rank = rankScene
		}
	}
	if i := slices.Index(coverNames, name); i >= 0 {
		s.rank = max(s.rank, 1+i)
	}
}

// message returns an expression that matches one of several messages of ffmpeg. Messages start at the beginning of a line,
// unlike tags, which come from the media.
func message(texts ...string) *regexp.Regexp {
	return regexp.MustCompile(`(?m)^(\S.*)?(` + strings.Join(texts, "|") + `)`)
}

var (
	readFailed   = message("Input/output error", "Permission denied", "Stale file handle", "Too many open files")
	optionFailed = message("Unrecognized option", "Option not found", "No such filter", "Filter not found", "Error parsing filterchain",
		"Error initializing filter '", "Error applying option '", "Unknown encoder", "Encoder not found")
	demuxerRefused = message("not on whitelist", "misdetection possible")
	notRecognized  = message(": Invalid data found", ": End of file")
	notSupported   = message("Cannot allocate memory", "Picture size .* is invalid", "[Dd]ecoder .*not found", "Unknown decoder", "unknown codec",
		"no decoder found", "Unknown input format", "is not implemented", "unsupported chunk", "hardware accelerated AV1",
		"Failed to get pixel format")
	demuxerMessage = regexp.MustCompile(`(?m)^\[(\w+)[\w,]* @ `)
)

// damageMessage matches messages of decoders that have lost a part of a picture.
var damageMessage = message(`@ 0x\w+\] .*(?i:error|invalid|corrupt|overread|damaged|missing|not enough|failed|premature|incomplete)`)

// reportsDamage reports whether a decoder has lost a part of a picture.
func reportsDamage(stderr []byte) bool {
	for line := range bytes.Lines(stderr) {
		// A GIF frame outside its canvas is truncated, which is right.
		if damageMessage.Match(line) && !bytes.HasSuffix(bytes.TrimSpace(line), []byte("truncating.")) {
			return true
		}
	}
	return false
}

// isHopeless reports whether the messages of a process without a picture say that another attempt would fail too.
func isHopeless(stderr []byte) bool {
	return readFailed.Match(stderr) || optionFailed.Match(stderr) || notSupported.Match(stderr)
}

// verdict returns the reason why a process that exited on its own produced no picture.
func verdict(res proc.Result) error {
	m := parse(res.Stderr)
	says := func(messages *regexp.Regexp) bool { return messages.Match(res.Stderr) }
	err := func() error {
		switch {
		case says(readFailed):
			return errors.New("cannot read the media")
		case says(optionFailed):
			return errors.New("this build lacks a required feature")
		case m.opened && m.video == nil && m.cover == nil:
			return ErrNoPicture
		case says(demuxerRefused), says(notSupported):
			return ErrUnsupported
		case m.opened:
			return ErrCorrupt
		}
		if d := demuxerMessage.FindSubmatch(res.Stderr); d != nil && slices.Contains(strings.Split(allowedDemuxers, ","), string(d[1])) {
			return ErrCorrupt // ffmpeg recognized the format and could not read it
		}
		if says(notRecognized) {
			return ErrUnsupported
		}
		return errors.New("no picture and no known reason")
	}()
	return &Error{err, stderrTail(res.Stderr)}
}
