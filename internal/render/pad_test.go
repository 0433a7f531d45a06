package render

import (
	"context"
	"fmt"
	"image"
	"image/color"
	"testing"
)

// The focus chooses the part that is kept, in the picture as it is shown: each corner shows the same quarter as with the whole
// picture, for every orientation.
func TestFocus(t *testing.T) {
	shown := [9][4]int{1: {0, 1, 2, 3}, 2: {1, 0, 3, 2}, 3: {3, 2, 1, 0}, 4: {2, 3, 0, 1}, 5: {0, 2, 1, 3}, 6: {2, 0, 3, 1}, 7: {3, 1, 2, 0}, 8: {1, 3, 0, 2}}
	for _, format := range []string{"jpeg", "png"} {
		data := encodeAs(t, format, quarters(240, 160))
		for orientation := byte(1); orientation <= 8; orientation++ {
			for i, q := range shown[orientation] {
				for _, box := range [][2]int{{100, 10}, {10, 100}} {
					// The short edge of the crop is within one quarter; along the long edge there are two.
					o := Options{Size: box[0], Height: box[1], Fit: Cover, FocusX: 0.01 + float64(i%2)*0.98, FocusY: 0.01 + float64(i/2)*0.98, Quality: 95}
					img, err := Make(context.Background(), withEXIF(t, format, data, orientation), o)
					if err != nil {
						t.Fatal(err)
					}
					x, y := img.Width/8+i%2*img.Width*3/4, img.Height/8+i/2*img.Height*3/4
					near(t, fmt.Sprintf("%s %d %+v", format, orientation, o), decodeThumb(t, img).At(x, y), quarterColours[q], 12)
				}
			}
		}
	}
	for _, test := range []struct {
		at   float64
		want int
	}{{0, 30}, {0.5, 30}, {0.01, 0}, {1, 60}, {0.4, 20}, {0.3, 10}, {0.2, 0}, {-1, 30}, {2, 30}} {
		if got := focus(test.at, 40, 100); got != test.want {
			t.Errorf("focus %v begins at %d, want %d", test.at, got, test.want)
		}
	}
}

func TestPad(t *testing.T) {
	clear := image.NewNRGBA(image.Rect(0, 0, 40, 20)) // red on the left, transparent on the right
	for y := range 20 {
		for x := range 20 {
			clear.SetNRGBA(x, y, color.NRGBA{200, 0, 0, 255})
		}
	}
	grey := image.NewGray(image.Rect(0, 0, 40, 20))
	for i := range grey.Pix {
		grey.Pix[i] = 90
	}
	teal := Options{Size: 40, Fit: Pad, Background: 0x108070}
	for _, test := range []struct {
		name       string
		src        image.Image
		o          Options
		asPNG      bool
		bar        color.NRGBA // the background above the picture
		left, side color.NRGBA // the left and right half of the picture
	}{
		{"colour", clear, teal, false, color.NRGBA{16, 128, 112, 255}, color.NRGBA{200, 0, 0, 255}, color.NRGBA{16, 128, 112, 255}},
		{"colour", clear, teal, true, color.NRGBA{16, 128, 112, 255}, color.NRGBA{200, 0, 0, 255}, color.NRGBA{16, 128, 112, 255}},
		{"transparent", clear, Options{Size: 40, Fit: Pad, Background: Transparent}, true, color.NRGBA{}, color.NRGBA{200, 0, 0, 255}, color.NRGBA{}},
		{"transparent", clear, Options{Size: 40, Fit: Pad, Background: Transparent}, false, color.NRGBA{255, 255, 255, 255}, color.NRGBA{200, 0, 0, 255}, color.NRGBA{255, 255, 255, 255}},
		{"grey", grey, teal, true, color.NRGBA{16, 128, 112, 255}, color.NRGBA{90, 90, 90, 255}, color.NRGBA{90, 90, 90, 255}},
		{"blurred grey", grey, Options{Size: 40, Fit: Pad, Background: Blur}, false, color.NRGBA{90, 90, 90, 255}, color.NRGBA{90, 90, 90, 255}, color.NRGBA{90, 90, 90, 255}},
	} {
		test.o.PNG, test.o.Quality = test.asPNG, 95
		img, err := Make(context.Background(), encodeAs(t, "png", test.src), test.o)
		if err != nil {
			t.Fatal(err)
		}
		m, name := decodeThumb(t, img), fmt.Sprintf("%s, PNG %v", test.name, test.asPNG)
		near(t, name+": above", m.At(20, 3), test.bar, 10)
		near(t, name+": below", m.At(20, 37), test.bar, 10)
		near(t, name+": left", m.At(8, 20), test.left, 10)
		near(t, name+": right", m.At(31, 20), test.side, 10)
	}
}

// A blurred background has the colours of the picture beside it, without its edges.
func TestBlur(t *testing.T) {
	for _, orientation := range []int{1, 6} {
		data := encodeAs(t, "jpeg", quarters(300, 300))
		o := Options{Size: 600, Height: 200, Fit: Pad, Background: Blur, Quality: 95, Orientation: orientation}
		img, err := Make(context.Background(), data, o)
		if err != nil {
			t.Fatal(err)
		}
		m := decodeThumb(t, img)
		want := quarterColours
		if orientation == 6 {
			want = [4]color.NRGBA{want[2], want[0], want[3], want[1]}
		}
		for i, p := range []image.Point{{5, 5}, {594, 5}, {5, 194}, {594, 194}} {
			near(t, fmt.Sprint("corner ", i), m.At(p.X, p.Y), want[i], 40)
		}
		for y := 1; y < 200; y++ {
			a, b := color.GrayModel.Convert(m.At(50, y-1)).(color.Gray), color.GrayModel.Convert(m.At(50, y)).(color.Gray)
			if d := int(a.Y) - int(b.Y); d < -9 || d > 9 {
				t.Errorf("edge of %d at %d", d, y)
			}
		}
	}
}
