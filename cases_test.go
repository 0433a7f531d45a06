package thumbcache

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

// TestCases makes a thumbnail of each file that once came out wrong, and compares its shape and its colors at the quarter points.
func TestCases(t *testing.T) {
	dir := filepath.Join("..", "shared", "cases")
	table, err := os.ReadFile(filepath.Join(dir, "expected.tsv"))
	if err != nil {
		t.Skip("the cases are not here: ", err)
	}
	needFFmpeg(t)
	c := mustNew(t, Config{Providers: map[string]Provider{"cases": Files(dir)}})
	for line := range strings.Lines(string(table)) {
		fields := strings.Split(strings.TrimSpace(line), "\t")
		if fields[0] == "path" {
			continue
		}
		t.Run(strings.ReplaceAll(fields[0], "/", "_"), func(t *testing.T) {
			thumb, err := c.Get(t.Context(), "cases", fields[0], 0)
			if err != nil {
				t.Fatalf("%v; want: %s", err, fields[6])
			}
			img, _, err := image.Decode(bytes.NewReader(thumb.Data))
			if err != nil {
				t.Fatal(err)
			}
			w, h := img.Bounds().Dx(), img.Bounds().Dy()
			if shape := map[bool]string{true: "portrait", false: "landscape"}[h > w]; shape != fields[1] {
				t.Errorf("%d x %d, want %s", w, h, fields[1])
			}
			for i, p := range []image.Point{{w / 4, h / 4}, {3 * w / 4, h / 4}, {w / 4, 3 * h / 4}, {3 * w / 4, 3 * h / 4}} {
				var want [3]int
				if _, err := fmt.Sscanf(fields[2+i], "%d,%d,%d", &want[0], &want[1], &want[2]); err != nil {
					continue // the table does not say
				}
				r, g, b, _ := img.At(p.X, p.Y).RGBA()
				for j, got := range []int{int(r >> 8), int(g >> 8), int(b >> 8)} {
					if d := got - want[j]; d < -24 || d > 24 {
						t.Errorf("at %v: %d,%d,%d, want %s: %s", p, r>>8, g>>8, b>>8, fields[2+i], fields[6])
						break
					}
				}
			}
			if strings.HasSuffix(fields[0], "small_first.mkv") {
				if r, g, b, _ := img.At(w/2, h/2).RGBA(); r>>8 > 200 && g>>8 > 180 && b>>8 < 80 {
					t.Errorf("yellow: %s", fields[6])
				}
			}
		})
	}
}
