package ffmpeg

import (
	"bytes"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/thumbcache/thumbcache/internal/proc"
)

// A media is what ffmpeg lists of its input.
type media struct {
	opened bool
	length float64 // in seconds; 0 if it is not known
	film   *stream // the first that is no attached picture
	cover  *stream // the front if it is marked, else the first
}

// needsFilters reports whether the film looks wrong if it is not treated.
func (m media) needsFilters() bool { return m.film != nil && (m.film.interlaced || m.film.hdr) }

type stream struct {
	index      string
	codec      string
	attached   bool
	front      bool
	interlaced bool
	hdr        bool
}

var (
	// Tags are indented further than streams, or have a space before the colon, so that none can pass for a stream.
	streamLine   = regexp.MustCompile(`^ {2,4}Stream #0:(\d+)[^ ]*: Video: (\w+)(.*)`)
	durationLine = regexp.MustCompile(`^  Duration: (\d+):(\d\d):(\d\d\.\d+)`)
	frontLine    = regexp.MustCompile(`^ +(comment +: Cover \(front\)|filename +: (?i:cover|front)\.)`)
)

// parse reads what ffmpeg said of its input.
func parse(stderr []byte) media {
	var m media
	_, list, opened := bytes.Cut(append([]byte("\n"), stderr...), []byte("\nInput #0, "))
	m.opened = opened
	var cur *stream
	for line := range strings.Lines(string(list)) {
		line = strings.TrimRight(line, "\r\n")
		if strings.HasPrefix(line, "Stream mapping:") || strings.HasPrefix(line, "Output #") {
			break // from here on it is about what comes out
		}
		if d := durationLine.FindStringSubmatch(line); d != nil {
			hours, _ := strconv.ParseFloat(d[1], 64)
			minutes, _ := strconv.ParseFloat(d[2], 64)
			seconds, _ := strconv.ParseFloat(d[3], 64)
			m.length = hours*3600 + minutes*60 + seconds
		}
		if s := streamLine.FindStringSubmatch(line); s != nil {
			cur = &stream{
				index:      s[1],
				codec:      s[2],
				attached:   strings.Contains(s[3], "(attached pic)"),
				interlaced: strings.Contains(s[3], " first"), // "top first", "bottom coded first (swapped)" and so on
				hdr:        strings.Contains(s[3], "smpte2084") || strings.Contains(s[3], "arib-std-b67"),
			}
			if !cur.attached && m.film == nil {
				m.film = cur
			}
			if cur.attached && m.cover == nil {
				m.cover = cur
			}
		}
		if cur != nil && cur.attached && !m.cover.front && frontLine.MatchString(line) {
			cur.front = true
			m.cover = cur
		}
	}
	return m
}

// message returns an expression for one of several messages of ffmpeg. They stand at the beginning of a line; tags, which the
// media can choose, do not.
func message(texts ...string) *regexp.Regexp {
	return regexp.MustCompile(`(?m)^(\S.*)?(` + strings.Join(texts, "|") + `)`)
}

var (
	unreadable = message("Input/output error", "Permission denied", "Stale file handle", "Too many open files")
	misused    = message("Unrecognized option", "Option not found", "No such filter", "Filter not found", "Error parsing filterchain",
		"Error initializing filter '", "Error applying option '", "Unknown encoder", "Encoder not found")
	refused = message("not on whitelist", "misdetection possible")
	invalid = message(": Invalid data found", ": End of file")
	beyond  = message("Cannot allocate memory", "Picture size .* is invalid", "[Dd]ecoder .*not found", "Unknown decoder", "unknown codec",
		"no decoder found", "Unknown input format", "is not implemented", "unsupported chunk", "hardware accelerated AV1",
		"Failed to get pixel format")
	demuxer = regexp.MustCompile(`(?m)^\[(\w+)[\w,]* @ `)
)

// verdict says why no picture has come out of a run that ended by itself.
func verdict(res proc.Result) error {
	m := parse(res.Stderr)
	says := func(what *regexp.Regexp) bool { return what.Match(res.Stderr) }
	err := func() error {
		switch {
		case says(unreadable):
			return errors.New("cannot read the media")
		case says(misused):
			return errors.New("this version lacks something")
		case m.opened && m.film == nil && m.cover == nil:
			return ErrNoPicture
		case says(refused), says(beyond):
			return ErrUnsupported
		case m.opened:
			return ErrCorrupt
		}
		if d := demuxer.FindSubmatch(res.Stderr); d != nil && slices.Contains(strings.Split(formats, ","), string(d[1])) {
			return ErrCorrupt // it was known for what it is, and not understood
		}
		if says(invalid) {
			return ErrUnsupported
		}
		return errors.New("no picture, and no reason given")
	}()
	return &Error{err, last(res.Stderr)}
}
