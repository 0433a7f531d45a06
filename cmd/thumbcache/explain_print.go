package main

import (
	"fmt"
	"strings"
	"time"
)

func (x *explainResult) print(c *console, now time.Time) {
	if f := x.Thumbnail; f != nil {
		f.print(c, now, x)
	}
	if f := x.NoPicture; f != nil {
		if x.Thumbnail != nil {
			fmt.Fprintln(c.out)
		}
		f.print(c, now, x)
	}
	if len(x.Others) > 0 {
		fmt.Fprintln(c.out, "\nAlso stored of the same source:")
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

// row prints one fact.
func printRow(c *console, label, format string, args ...any) {
	fmt.Fprintf(c.out, "%-10s %s\n", label, fmt.Sprintf(format, args...))
}

func (f *fileFacts) print(c *console, now time.Time, x *explainResult) {
	printRow(c, "File", "%s", quoteName(f.File))
	if !f.Stored {
		printRow(c, "", "is not there: nothing is stored")
		return
	}
	printRow(c, "", "%s, last used %s", formatBytes(f.Bytes), formatTime(*f.Used, now))
	if e := f.Content; e != nil {
		printRow(c, "Of", "%s in %s", quoteName(e.Path), quoteName(e.Provider))
		if e.Kind == nil {
			printRow(c, "Holds", "%s", describeCause(e.Holds))
		} else {
			printRow(c, "Holds", "a picture of %d x %d, for a request of %s", e.Width, e.Height, e.Kind)
		}
		recipe := fmt.Sprintf("version %d", e.Pipeline)
		if e.Quality > 0 {
			recipe += fmt.Sprintf(", quality %d", e.Quality)
		}
		if e.Limit > 0 {
			recipe += fmt.Sprintf(", limited to %d px", e.Limit)
		}
		printRow(c, "Recipe", "%s", recipe)
		if e.FFmpeg != "" {
			printRow(c, "", "as ffmpeg %s found it", quoteName(e.FFmpeg))
		}
		printRow(c, "Made", "%s", formatTime(e.Made, now))
		printRow(c, "Source", "%s", e.Source)
		if e.Version != "" {
			printRow(c, "", "which the server called version %s", quoteName(e.Version))
		}
	}
	switch {
	case f.Damage != "":
		printRow(c, "Used", "no: %s", escapeUnprintable(f.Damage))
	case len(f.WhyNot) > 0:
		printRow(c, "Used", "no: %s", strings.Join(f.WhyNot, "\n"+strings.Repeat(" ", 15)))
	case x.Media == nil:
		printRow(c, "Used", "yes, as long as the source is as it was (--media looks at it)")
	case x.Media.Source == nil:
		printRow(c, "Used", "yes, since the source cannot be reached and may be as it was")
	default:
		printRow(c, "Used", "yes, the source is as it was")
	}
}

func (s *stampFacts) String() string {
	text := fmt.Sprintf("%s bytes, changed %s", formatCount(s.Size), s.ModTime.Local().Format("2006-01-02 15:04:05.999999999"))
	if s.Size == 0 && s.ModTime.IsZero() {
		text = "known by its tag"
	}
	tag, art, hasArt := strings.Cut(s.Tag, artTagSeparator)
	if tag != "" {
		text += ", tag " + quoteName(tag)
	}
	if n := strings.Count(art, "\x00") / 4; n > 0 {
		text += ", with " + pluralize(n, "picture", "pictures") + " beside it"
	} else if hasArt {
		text += ", without a picture beside it"
	}
	return text
}

func (m *mediaFacts) print(c *console) {
	if m.Source != nil {
		printRow(c, "Source now", "%s", m.Source)
	}
	if m.Error != "" {
		printRow(c, "Tried now", "no thumbnail: %s", m.Error)
	} else {
		printRow(c, "Tried now", "a thumbnail of %d x %d, %s", m.Width, m.Height, formatBytes(int64(m.Bytes)))
	}
	for _, s := range m.Stages {
		text := ""
		if s.Error != "" {
			text = "  " + s.Error
		}
		printRow(c, "", "%-8s %8.2f ms%s", s.Stage, s.Seconds*1000, text)
	}
}
