package store

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Open marks a folder that is empty, or that an earlier process began to mark, and refuses all others.
func TestMarkFolder(t *testing.T) {
	for _, test := range []struct {
		name, file, text string
		foreign          bool
	}{
		{"torn tag", tagName, tagText[:20], false},
		{"empty tag", tagName, "", false},
		{"zeroed tag", tagName, tagText[:20] + "\x00\x00\x00", false},
		{"tag of another program", tagName, strings.Replace(tagText, "thumbcache", "another program", -1), true},
		{"complete README", readmeName, readmeText, false},
		{"torn README", readmeName, readmeText[:10], false},
		{"README of another version", readmeName, markPrefix + " It has other words.", false},
		{"README of another program", readmeName, "Read me first.", true},
		{"tag being written", tagName + ".0123456789abcdef.tmp", "", false},
		{"account", usageName, usageMagic, false},
		{"folder of thumbnails", "0f", "", false},
		{"folder of another name", "0F0", "", true},
		{"foreign file", "diary", "", true},
		{"fresh ext4 volume", "lost+found", "", false},
		{"NFS file that is still open", ".nfs000000000a1b2c3d00000001", "", false},
		{"Synology index", "@eaDir", "", false},
		{"Windows volume", "System Volume Information", "", false},
		{"Windows desktop", "Desktop.ini", "", false},
		{"macOS desktop", ".DS_Store", "", false},
		{"Android gallery", ".nomedia", "", false},
		{"git placeholder", ".gitkeep", "", false},
		{"Syncthing folder", ".stfolder", "", false},
		{"name that only begins so", "lost+found.txt", "", true},
		{"hidden file of another kind", ".nfs", "", false},
		{"hidden configuration", ".config", "", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, test.file), []byte(test.text), 0o644); err != nil {
				t.Fatal(err)
			}
			s, err := Open(dir, -1, slog.New(slog.DiscardHandler))
			if err == nil {
				defer s.Close()
			}
			if errors.Is(err, ErrForeign) != test.foreign || err != nil != test.foreign {
				t.Fatalf("error %v, want ErrForeign: %v", err, test.foreign)
			}
			for name, want := range map[string]string{tagName: tagText, readmeName: readmeText} {
				if text, _ := os.ReadFile(filepath.Join(dir, name)); (string(text) == want) == test.foreign {
					t.Errorf("%s: %q", name, text)
				}
			}
		})
	}
}
