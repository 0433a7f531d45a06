package coverart

import (
	"bytes"
	"fmt"
	"image"
	_ "image/jpeg"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const casesDir = "../../../shared/cases"

// caseFiles are the cases with an embedded picture, and which picture is the first that can be decoded.
var caseFiles = map[string]int{
	"broken-picture-ends-search/folder3/s.mp3":        1,
	"flac-leading-id3/flac_id3_before.flac":           0,
	"id3v24-plain-size-zeros/plain.mp3":               0,
	"mkv-attachment-names/poster_fanart.mkv":          0,
	"vorbis-picture-base64-variants/urlsafe.ogg":      0,
	"wrong-picture-without-front/back_then_other.mp3": 0,
}

// TestCases compares the corners of the first picture that can be decoded with the expected colours. These are small files
// whose thumbnails were once wrong.
func TestCases(t *testing.T) {
	found := 0
	for _, row := range readTable(t, casesDir, "expected.tsv") {
		want, ok := caseFiles[row["path"]]
		if !ok {
			continue
		}
		found++
		data, err := os.ReadFile(filepath.Join(casesDir, row["path"]))
		if err != nil {
			t.Error(err)
			continue
		}
		m, n, err := firstDecodable(t, data)
		if err != nil || n != want {
			t.Errorf("%s: picture %d, %v; want picture %d", row["path"], n, err, want)
			continue
		}
		for i, corner := range []string{"top left", "top right", "bottom left", "bottom right"} {
			colour := row[corner]
			b := m.Bounds()
			if x, y := b.Min.X+b.Dx()*(1+2*(i%2))/4, b.Min.Y+b.Dy()*(1+2*(i/2))/4; !isColour(t, m, x, y, colour) {
				t.Errorf("%s: %s is not %s", row["path"], corner, colour)
			}
		}
	}
	if found != len(caseFiles) {
		t.Errorf("%d cases, want %d", found, len(caseFiles))
	}
}

// firstDecodable returns the first picture in data that can be decoded, and its number.
func firstDecodable(t *testing.T, data []byte) (image.Image, int, error) {
	for n := 0; ; n++ {
		pic, err := FindNth(t.Context(), bytes.NewReader(data), int64(len(data)), n)
		if err != nil {
			return nil, n, err
		}
		if m, _, err := image.Decode(bytes.NewReader(pic)); err == nil {
			return m, n, nil
		}
	}
}

// isColour reports whether the pixel has about the colour given as "red,green,blue".
func isColour(t *testing.T, m image.Image, x, y int, colour string) bool {
	var want [3]int
	if _, err := fmt.Fscanf(strings.NewReader(colour), "%d,%d,%d", &want[0], &want[1], &want[2]); err != nil {
		t.Fatal(colour, err)
	}
	r, g, b, _ := m.At(x, y).RGBA()
	for i, got := range []uint32{r >> 8, g >> 8, b >> 8} {
		if diff := int(got) - want[i]; diff < -10 || diff > 10 {
			return false
		}
	}
	return true
}
