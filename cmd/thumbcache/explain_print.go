package main

import (
	"fmt"
	"strings"
	"time"
)

func (x *explanation) print(c *console, now time.Time) {
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
			k, _ := kindOf(name)
			fmt.Fprintf(c.out, "  %-20s %s\n", k, name)
		}
	}
	if x.Media != nil {
		fmt.Fprintln(c.out)
		x.Media.print(c)
	}
}

// row prints one fact.
func row(c *console, label, format string, args ...any) {
	fmt.Fprintf(c.out, "%-10s %s\n", label, fmt.Sprintf(format, args...))
}

func (f *fileFacts) print(c *console, now time.Time, x *explanation) {
	row(c, "File", "%s", shown(f.File))
	if !f.Stored {
		row(c, "", "is not there: nothing is stored")
		return
	}
	row(c, "", "%s, last used %s", amount(f.Bytes), when(*f.Used, now))
	if e := f.Says; e != nil {
		row(c, "Of", "%s in %s", shown(e.Path), shown(e.Provider))
		if e.Kind == nil {
			row(c, "Holds", "%s", noPicture(e.Holds))
		} else {
			row(c, "Holds", "a picture of %d x %d, for a request of %s", e.Width, e.Height, e.Kind)
		}
		recipe := fmt.Sprintf("version %d", e.Pipeline)
		if e.Quality > 0 {
			recipe += fmt.Sprintf(", quality %d", e.Quality)
		}
		if e.Limit > 0 {
			recipe += fmt.Sprintf(", limited to %d px", e.Limit)
		}
		row(c, "Recipe", "%s", recipe)
		if e.FFmpeg != "" {
			row(c, "", "as ffmpeg %s found it", shown(e.FFmpeg))
		}
		row(c, "Made", "%s", when(e.Made, now))
		row(c, "Source", "%s", e.Source)
		if e.Version != "" {
			row(c, "", "which the server called version %s", shown(e.Version))
		}
	}
	switch {
	case f.Damage != "":
		row(c, "Used", "no: %s", clean(f.Damage))
	case len(f.Why) > 0:
		row(c, "Used", "no: %s", strings.Join(f.Why, "\n"+strings.Repeat(" ", 15)))
	case x.Media == nil:
		row(c, "Used", "yes, as long as the source is as it was (--media looks at it)")
	case x.Media.Source == nil:
		row(c, "Used", "yes, since the source cannot be reached and may be as it was")
	default:
		row(c, "Used", "yes, the source is as it was")
	}
}

func (s *stampFacts) String() string {
	text := fmt.Sprintf("%s bytes, changed %s", number(s.Size), s.ModTime.Local().Format("2006-01-02 15:04:05.999999999"))
	if s.Size == 0 && s.ModTime.IsZero() {
		text = "known by its tag"
	}
	tag, art, hasArt := strings.Cut(s.Tag, artTag)
	if tag != "" {
		text += ", tag " + shown(tag)
	}
	if n := strings.Count(art, "\x00") / 4; n > 0 {
		text += ", with " + many(n, "picture", "pictures") + " beside it"
	} else if hasArt {
		text += ", without a picture beside it"
	}
	return text
}

func (m *mediaFact) print(c *console) {
	if m.Source != nil {
		row(c, "Source now", "%s", m.Source)
	}
	if m.Error != "" {
		row(c, "Tried now", "no thumbnail: %s", m.Error)
	} else {
		row(c, "Tried now", "a thumbnail of %d x %d, %s", m.Width, m.Height, amount(int64(m.Bytes)))
	}
	for _, s := range m.Stages {
		text := ""
		if s.Error != "" {
			text = "  " + s.Error
		}
		row(c, "", "%-8s %8.2f ms%s", s.Stage, s.Seconds*1000, text)
	}
}
