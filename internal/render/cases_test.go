package render

import (
	"context"
	"errors"
	"fmt"
	"image/color"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// casesDir holds small files that were once rendered wrong, and expected.tsv, which tells how they should look.
const casesDir = "../../../shared/cases"

// TestCases checks the shape of each picture and its colours in the middle of its four quarters.
func TestCases(t *testing.T) {
	table, err := os.ReadFile(filepath.Join(casesDir, "expected.tsv"))
	if err != nil {
		t.Skipf("no cases here: %v", err)
	}
	found := 0
	for line := range strings.Lines(string(table)) {
		fields := strings.Split(strings.TrimSpace(line), "\t")
		if len(fields) < 6 {
			continue
		}
		data, err := os.ReadFile(filepath.Join(casesDir, fields[0]))
		if err != nil {
			continue // the heading
		}
		if _, decodable := Sniff(data); !decodable || strings.HasPrefix(fields[0], "tiff") {
			continue // for another decoder
		}
		found++
		t.Run(fields[0], func(t *testing.T) {
			for _, o := range []Options{{PNG: true}, {Quality: 95}, {Size: 60, Quality: 95}} {
				img, err := Make(context.Background(), data, o)
				if errors.Is(err, ErrUnsupported) {
					t.Skip("not decoded by this package")
				}
				if err != nil {
					t.Fatal(err)
				}
				if (img.Width > img.Height) != (fields[1] == "landscape") {
					t.Errorf("%d x %d, want %s", img.Width, img.Height, fields[1])
				}
				m := decodeThumb(t, img)
				for i, field := range fields[2:6] {
					want := color.NRGBA{A: 255}
					if _, err := fmt.Sscanf(field, "%d,%d,%d", &want.R, &want.G, &want.B); err != nil {
						t.Fatal(err)
					}
					x, y := img.Width/4+i%2*(img.Width/2), img.Height/4+i/2*(img.Height/2)
					near(t, fmt.Sprintf("quarter %d, %+v", i, o), m.At(x, y), want, 14) // the table has means over an area
				}
			}
		})
	}
	if found == 0 {
		t.Skip("none of the cases is for this package")
	}
}
