package main

import (
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// The explanation says which picture the thumbnail was made of.
func TestExplainPicture(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	if err := os.CopyFS(folder, os.DirFS(sampleFolder(t))); err != nil {
		t.Fatal(err)
	}
	writePicture(t, filepath.Join(folder, "Nobody", "cover.png"))
	for _, disc := range []string{"CD1", "CD2"} {
		if err := os.MkdirAll(filepath.Join(folder, "Nobody", disc), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	copySample(t, "Nobody/No Cover.mp3", filepath.Join(folder, "Nobody", "CD2", "song.mp3"))
	data, err := os.ReadFile(filepath.Join(folder, "Pictures", "Held Sideways.jpg"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "Pictures", "cut.jpg"), data[:len(data)/2], 0o644); err != nil {
		t.Fatal(err)
	}
	s := startSite(t, folder)
	for path, want := range map[string]*pictureFacts{
		song: {From: "embedded", Number: 1, Of: 1},
		"Ada Rings/Lossless/02 Back Before Front.flac": {From: "embedded", Number: 1, Of: 2},
		"Çelik Ünal/Şarkılar/01 Dalga.wav":             {From: "embedded", Number: 1, Of: 1},
		"Pictures/Held Sideways.jpg":                   {From: "file"},
		"Nobody/No Cover.mp3":                          {From: "beside", Name: "cover.png"},
		"Nobody/CD2/song.mp3":                          {From: "beside", Name: "../cover.png"},
		"Pictures/cut.jpg":                             {From: "file", Damaged: true},
		"none.mp3":                                     nil,
		".hidden.mp3":                                  nil,
	} {
		fetch(t, s.URL+"/thumb/library/"+(&url.URL{Path: path}).EscapedPath()+"?size=160")
		var x explanation
		// The thumbnail is stored in the background.
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			_, _, body := fetch(t, s.URL+"/explain.json?path="+url.QueryEscape(path))
			x = explanation{}
			if err := json.Unmarshal(body, &x); err != nil {
				t.Fatal(err)
			}
			if want == nil || x.Picture != nil && x.Picture.From != "" || time.Now().After(deadline) {
				break
			}
		}
		if (x.Picture == nil) != (want == nil) || want != nil && *x.Picture != *want {
			t.Errorf("%s: %+v, want %+v", path, x.Picture, want)
		}
	}
}
