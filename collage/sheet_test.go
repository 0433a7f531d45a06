package collage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"strconv"
	"testing"

	"github.com/thumbcache/thumbcache"
	"github.com/thumbcache/thumbcache/collage"
	"github.com/thumbcache/thumbcache/thumbcachetest"
)

func targets(paths ...string) (members []thumbcache.Target) {
	for _, p := range paths {
		members = append(members, thumbcache.Target{Provider: "m", Path: p})
	}
	return members
}

func TestSheet(t *testing.T) {
	media := &thumbcachetest.Provider{}
	for i, c := range tones {
		media.Set(strconv.Itoa(i), thumbcachetest.Picture(100, 100, c))
	}
	media.Set("wide", thumbcachetest.Picture(100, 20, tones[2]))
	cache := thumbcachetest.New(t, "m", media)
	var failed []string
	data, err := collage.Sheet(t.Context(), cache, targets("0", "gone", "0", "1", "wide", "3"), collage.SheetOptions{
		Columns: 2, Size: 40, Gap: 10,
		Background: tones[7],
		Failed:     func(m thumbcache.Target, err error) { failed = append(failed, m.Path) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(failed) != "[gone]" {
		t.Errorf("left out: %v", failed)
	}
	img, err := jpeg.Decode(bytes.NewReader(data))
	if err != nil || img.Bounds() != image.Rect(0, 0, 110, 160) {
		t.Fatal(err, img.Bounds())
	}
	for p, want := range map[image.Point]int{
		{4, 4}: 7, {30, 30}: 0, {54, 30}: 7, {80, 30}: 0, {30, 80}: 1, {80, 80}: 2, {80, 66}: 7, {30, 130}: 3, {80, 130}: 7,
	} {
		if got := toneOf(img.At(p.X, p.Y)); got != want {
			t.Errorf("at %v: tone %d, want %d", p, got, want)
		}
	}

	data, err = collage.Sheet(t.Context(), cache, targets("0"), collage.SheetOptions{Gap: -1})
	if err != nil {
		t.Fatal(err)
	}
	if c, err := jpeg.DecodeConfig(bytes.NewReader(data)); err != nil || c.Width != 200 || c.Height != 200 {
		t.Error(err, c.Width, c.Height)
	}
}

func TestSheetErrors(t *testing.T) {
	media := &thumbcachetest.Provider{}
	media.Set("0", thumbcachetest.Picture(10, 10, tones[0]))
	cache := thumbcachetest.New(t, "m", media)
	sheet := func(ctx context.Context, n int, o collage.SheetOptions) error {
		_, err := collage.Sheet(ctx, cache, targets(make([]string, n)...), o)
		return err
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := sheet(canceled, 3, collage.SheetOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	if err := sheet(t.Context(), 0, collage.SheetOptions{}); !errors.Is(err, thumbcache.ErrNoPicture) {
		t.Errorf("no members: %v", err)
	}
	if err := sheet(t.Context(), 3, collage.SheetOptions{}); !errors.Is(err, thumbcache.ErrNoPicture) {
		t.Errorf("members that do not exist: %v", err)
	}
	if stats, _ := media.Calls(); stats == 0 {
		t.Error("the members were not asked for")
	}
	before, _ := media.Calls()
	for n, o := range map[int]collage.SheetOptions{
		5000:    {},
		400:     {Columns: 1},
		4:       {Size: 2048, Columns: 1000, Gap: 2048 * 4},
		1 << 20: {Size: 2048, Gap: 2048, Columns: 1},
	} {
		if err := sheet(t.Context(), n, o); err == nil {
			t.Errorf("%d pictures, %+v: no error", n, o)
		}
	}
	if err := sheet(t.Context(), 5000, collage.SheetOptions{}); !errors.Is(err, thumbcache.ErrTooLarge) {
		t.Errorf("5000 pictures: %v", err)
	}
	for _, o := range []collage.SheetOptions{{Columns: -1}, {Columns: 1001}, {Size: -1}, {Size: 2049}, {Gap: 2049}} {
		if err := sheet(t.Context(), 1, o); err == nil {
			t.Errorf("%+v: no error", o)
		}
	}
	if after, _ := media.Calls(); after != before {
		t.Error("members were asked for in vain")
	}
	offline := errors.New("offline")
	media.Fail(offline)
	if err := sheet(t.Context(), 1, collage.SheetOptions{}); !errors.Is(err, offline) {
		t.Errorf("media that cannot be reached: %v", err)
	}
}
