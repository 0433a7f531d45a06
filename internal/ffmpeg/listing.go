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
	opened   bool
	duration float64 // in seconds; 0 if unknown
	video    *stream // the first video stream that is not an attached picture
	cover    *stream // the attached picture that is marked as the front cover, else the first one
}

// needsFilters reports whether frames of the video look wrong without filters.
func (m media) needsFilters() bool { return m.video != nil && (m.video.interlaced || m.video.hdr) }

type stream struct {
	index      string
	codec      string
	attached   bool
	front      bool
	interlaced bool
	hdr        bool
}

var (
	// Tags cannot imitate a stream: they are indented further, or have a space before the colon.
	streamLine   = regexp.MustCompile(`^ {2,4}Stream #0:(\d+)[^ ]*: Video: (\w+)(.*)`)
	durationLine = regexp.MustCompile(`^  Duration: (\d+):(\d\d):(\d\d\.\d+)`)
	frontLine    = regexp.MustCompile(`^ +(comment +: Cover \(front\)|filename +: (?i:cover|front)\.)`)
)

// parse reads the listing of the input in ffmpeg's messages.
func parse(stderr []byte) media {
	var m media
	_, list, opened := bytes.Cut(append([]byte("\n"), stderr...), []byte("\nInput #0, "))
	m.opened = opened
	var cur *stream
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
			cur = &stream{
				index:      s[1],
				codec:      s[2],
				attached:   strings.Contains(s[3], "(attached pic)"),
				interlaced: strings.Contains(s[3], " first"), // "top first", "bottom coded first (swapped)" and so on
				hdr:        strings.Contains(s[3], "smpte2084") || strings.Contains(s[3], "arib-std-b67"),
			}
			if !cur.attached && m.video == nil {
				m.video = cur
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
