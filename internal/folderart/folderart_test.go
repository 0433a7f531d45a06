package folderart

import (
	"fmt"
	"strings"
	"testing"
)

func TestGroups(t *testing.T) {
	l, err := Parse([]string{"{name}.*", "{name}-poster.*", "{name}-thumb.*", "Cover.*", "folder.*", "AlbumArt*.*", "{parent}", "{single}"})
	if err != nil {
		t.Fatal(err)
	}
	show := func(groups []Group) string {
		var all []string
		for _, g := range groups {
			if g.Parent {
				all = append(all, "..")
			} else {
				all = append(all, strings.Join(g.Names, "+"))
			}
		}
		return strings.Join(all, " ")
	}
	for _, tt := range []struct{ media, names, beside, folder string }{
		{"s.mp3", "s.mp3 cover.jpg", "", "cover.jpg .."},
		{"s.mp3", "s.mp3 s.jpg s.lrc t.jpg", "s.jpg", ".."},
		{"s.mp3", "s.mp3 s.JPG COVER.PNG", "s.JPG", "COVER.PNG .."},
		{"film.mkv", "film.mkv film.nfo film-thumb.jpg film-poster.png film.srt", "film-poster.png film-thumb.jpg", ".."},
		{"Film.mkv", "Film.mkv film.JPG", "film.JPG", ".. film.JPG"},
		{"a*b[.mp3", "a*b[.mp3 a*b[.jpg axb[.jpg", "a*b[.jpg", ".."},
		{"cover.jpg", "cover.jpg cover.png", "cover.png", "cover.jpg+cover.png .."},
		{"s.mp3", "cover.txt cover.mp4 cover folder.avif", "", "folder.avif .."},
		{"s.mp3", "AlbumArtSmall.jpg AlbumArt_Large.jpg", "", "AlbumArtSmall.jpg+AlbumArt_Large.jpg .."},
		{"s.mp3", "scan.jpeg notes.txt s.mp3", "", ".. scan.jpeg"},
		{"s.mp3", "scan1.jpeg scan2.jpeg", "", ".."},
		{"s.mp3", "._cover.jpg .hidden.jpg scan.jpg", "", ".. scan.jpg"},
		{"s.mp3", "", "", ".."},
		{"s.mp3", "cover.jpg scan.jpg", "", "cover.jpg .."},
		{"photo.jpg", "photo.jpg other.jpg", "", ".."},
		{"Caf\u00e9.mp3", "Caf\u00e9.mp3 cafe\u0301.jpg x.jpg", "cafe\u0301.jpg", ".."}, // one in NFC, the other in NFD
		{"caf\xe9.mp3", "caf\xe9.mp3 caf\xe8.jpg caf\xe9.JPG", "caf\xe9.JPG", ".."},     // not UTF-8
	} {
		names := strings.Fields(tt.names)
		if got := show(l.Beside(tt.media, names)); got != tt.beside {
			t.Errorf("%s in %q: %q, want %q", tt.media, names, got, tt.beside)
		}
		if got := show(l.Folder(names)); got != tt.folder {
			t.Errorf("folder of %q: %q, want %q", names, got, tt.folder)
		}
	}
	if got := show(List{}.Folder([]string{"cover.jpg"})); got != "" {
		t.Errorf("an empty list found %q", got)
	}
	if _, err := Parse([]string{"cover.[", "x"}); err == nil {
		t.Error("a malformed pattern was accepted")
	}
}

func TestIsDisc(t *testing.T) {
	for _, folder := range []string{
		"CD1", "cd 01", "CD-2", "Disc 1", "disc2", "Disk 3", "DISC 1 - Live", "Disc 2 (Bonus)", "[Disc 1]", "(CD 2)", "Disque 1", "Disc One", "Side A",
		"LP 2", "Vinyl 1", "DVD 1", "Disc_1", "Disc #1", "Digital Media 01", "CD II", "Tape 3: Demos",
	} {
		if !IsDisc(folder) {
			t.Errorf("%q is a disc", folder)
		}
	}
	for _, folder := range []string{
		"", "Album", "Discovery", "CD", "Discs", "CDs 1", "Disc Jockey", "Lp", "The Album (Disc 1)", "Sideways", "Side Effects", "cd1a", "Disc 1999x", "2", "DVDs", ".", "..",
	} {
		if IsDisc(folder) {
			t.Errorf("%q is not a disc", folder)
		}
	}
}

// FuzzGroups: every name is one of the folder's, and is returned once.
func FuzzGroups(f *testing.F) {
	f.Add("{name}*.*", "s.mp3", "s.jpg")
	f.Fuzz(func(t *testing.T, entry, media, file string) {
		l, err := Parse([]string{entry, "{single}", "*", entry})
		if err != nil {
			return
		}
		names := []string{media, file, "cover.jpg"}
		for _, groups := range [][]Group{l.Beside(media, names), l.Folder(names)} {
			seen := make(map[string]int)
			for _, g := range groups {
				for _, name := range g.Names {
					if seen[name]++; seen[name] > strings.Count(fmt.Sprintf("%q", names), fmt.Sprintf("%q", name)) {
						t.Errorf("%q twice", name)
					}
				}
			}
		}
	})
}
