package main

import (
	"fmt"
	"strings"
	"time"
)

func (x *explainResult) print(c *console, now time.Time) {
	between := ""
	for _, f := range []*fileFacts{x.Thumbnail, x.NoPicture, x.SharedThumbnail, x.SharedNoPicture} {
		if f != nil {
			fmt.Fprint(c.out, between)
			f.print(c, now, x)
			between = "\n"
		}
	}
	if len(x.Others) > 0 {
		fmt.Fprintln(c.out, "\nOther thumbnails of the same source:")
		for _, name := range x.Others {
			k, _ := parseKind(name)
			fmt.Fprintf(c.out, "  %-20s %s\n", k, name)
		}
	}
	if x.Media != nil {
		fmt.Fprintln(c.out)
		x.Media.print(c)
	}
}

// printRow prints one line of a two-column table.
func printRow(c *console, label, format string, args ...any) {
	fmt.Fprintf(c.out, "%-10s %s\n", label, fmt.Sprintf(format, args...))
}

func (f *fileFacts) print(c *console, now time.Time, x *explainResult) {
	label := "File"
	if f.isShared {
		label = "Shared"
	}
	printRow(c, label, "%s", quoteName(f.File))
	switch {
	case !f.Stored:
		printRow(c, "", "not stored")
		return
	case f.Used == nil: // an engine does not say
		printRow(c, "", "%s", formatBytes(f.Bytes))
	default:
		printRow(c, "", "%s, last used %s", formatBytes(f.Bytes), formatTime(*f.Used, now))
	}
	if f.Content != nil {
		f.Content.print(c, now)
	}
	switch {
	case f.Damage != "":
		printRow(c, "Usable", "no: %s", escapeUnprintable(f.Damage))
	case len(f.WhyNot) > 0:
		printRow(c, "Usable", "no: %s", strings.Join(f.WhyNot, "\n"+strings.Repeat(" ", 15)))
	case x.Media == nil:
		printRow(c, "Usable", "yes, unless the source has changed (use --media to check)")
	case x.Media.Source == nil:
		printRow(c, "Usable", "yes, because the source cannot be reached to check for changes")
	default:
		printRow(c, "Usable", "yes, the source is unchanged")
	}
}

func (e *entryFacts) print(c *console, now time.Time) {
	printRow(c, "Source", "%s in %s", quoteName(e.Path), quoteName(e.Provider))
	printRow(c, "", "%s", e.Source)
	if e.Version != "" {
		printRow(c, "", "requested as version %s", quoteName(e.Version))
	}
	if e.Kind == nil {
		printRow(c, "Content", "%s", describeCause(e.Holds))
	} else {
		printRow(c, "Content", "picture of %d x %d, requested as %s", e.Width, e.Height, e.Kind)
	}
	recipe := fmt.Sprintf("pipeline version %d", e.Pipeline)
	if e.Quality > 0 {
		recipe += fmt.Sprintf(", quality %d", e.Quality)
	}
	if e.Limit > 0 {
		recipe += fmt.Sprintf(", limited to %d px", e.Limit)
	}
	printRow(c, "Made", "%s", formatTime(e.Made, now))
	printRow(c, "", "%s", recipe)
	if e.FFmpeg != "" {
		printRow(c, "", "ffmpeg %s", quoteName(e.FFmpeg))
	}
}

func (s *stampFacts) String() string {
	text := fmt.Sprintf("%s bytes, modified %s", formatCount(s.Size), s.ModTime.Local().Format("2006-01-02 15:04:05.999999999"))
	if s.Size == 0 && s.ModTime.IsZero() {
		text = "no size or time"
	}
	tag, art, hasArt := strings.Cut(s.Tag, artTagSeparator)
	if tag != "" {
		text += ", tag " + quoteName(tag)
	}
	if n := strings.Count(art, "\x00") / 4; n > 0 { // four fields per image
		text += ", " + pluralize(n, "cover image", "cover images") + " in its folder"
	} else if hasArt {
		text += ", no cover image in its folder"
	}
	return text
}

func (m *mediaFacts) print(c *console) {
	if m.Source != nil {
		printRow(c, "Source now", "%s", m.Source)
	}
	if m.Error != "" {
		printRow(c, "Result now", "no thumbnail: %s", m.Error)
	} else {
		printRow(c, "Result now", "thumbnail of %d x %d, %s", m.Width, m.Height, formatBytes(int64(m.Bytes)))
	}
	for _, s := range m.Stages {
		text := ""
		if s.Error != "" {
			text = "  " + s.Error
		}
		printRow(c, "", "%-8s %8.2f ms%s", s.Stage, s.Seconds*1000, text)
	}
}
