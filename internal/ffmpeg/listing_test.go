package ffmpeg

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	const listing = `[mov,mp4,m4a,3gp,3g2,mj2 @ 0x55] a message
Input #0, mov,mp4,m4a,3gp,3g2,mj2, from 'file:/proc/self/fd/0':
  Metadata:
    title           : line one
                    :   Stream #0:7: Video: mjpeg (attached pic)
    Stream #0:8     : Video: mjpeg (attached pic)
  Duration: 01:02:03.50, start: 0.000000, bitrate: 5075 kb/s
  Stream #0:0[0x1](und): Audio: aac (LC) (mp4a / 0x6134706D), 44100 Hz, mono, fltp, 69 kb/s (default)
  Stream #0:1[0x2](und): Video: hevc (Main 10) (hvc1 / 0x31637661), yuv420p10le(tv, bt2020nc/bt2020/smpte2084, top first), 1920x1080
    Metadata:
      comment         : Cover (front)
  Stream #0:2[0x0]: Video: png, rgb24(pc), 120x100, 90k tbr, 90k tbn (attached pic)
    Metadata:
      comment         : Cover (back)
  Stream #0:3[0x0]: Video: mjpeg (Baseline), yuvj444p(pc, bt470bg/unknown/unknown), 120x100, 90k tbr, 90k tbn (attached pic)
    Metadata:
      comment         : Cover (front)
Stream mapping:
Output #0, image2pipe, to 'pipe:1':
  Stream #0:0(und): Video: mjpeg, yuvj420p(pc, progressive), 1280x720, q=2-31, 200 kb/s, 25 fps, 25 tbn (attached pic)
`
	got := parse([]byte(listing))
	video := &stream{index: 1, codec: "hevc", pixels: 1920 * 1080, interlaced: true, hdr: true, primaries: "bt2020", transfer: "smpte2084"}
	want := media{
		opened:   true,
		duration: 3723.5,
		first:    video,
		video:    video,
		cover:    &stream{index: 3, codec: "mjpeg", pixels: 120 * 100, attached: true, rank: rankFront, primaries: "unknown", transfer: "unknown"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v %+v %+v", got, got.video, got.cover)
	}
	if got := parse([]byte("fd:: Invalid data found when processing input\n")); got != (media{}) {
		t.Errorf("got %+v", got)
	}
}

// Of several videos the default one is chosen, then the largest one, and never an attached picture.
func TestParseSeveralVideos(t *testing.T) {
	for _, tt := range []struct {
		name         string
		lines        []string
		first, video int
	}{
		{"one", []string{"0: Video: h264, yuv420p, 64x64"}, 0, 0},
		{"default", []string{"0: Video: mjpeg, 1920x1080", "1: Video: h264, yuv420p(tv), 64x64, 25 fps (default)"}, 0, 1},
		{"largest", []string{"0: Video: mjpeg, 160x90 [SAR 1:1 DAR 16:9]", "2: Video: h264, 640x480", "3: Video: h264, 320x240"}, 0, 2},
		{"largest of defaults", []string{"0: Video: h264, 160x90 (default)", "1: Video: h264, 640x480 (default)", "2: Video: h264, 800x600"}, 0, 1},
		{"equal", []string{"0: Video: h264, 640x480", "1: Video: h264, 640x480"}, 0, 0},
		{"unknown size", []string{"0: Video: none (default)", "1: Video: h264, 640x480"}, 0, 1},
		{"programs", []string{"3[0x203]: Video: h264, 1280x720", "1[0x101]: Video: h264, 720x576"}, 1, 3},
		{"attached", []string{"0: Video: mjpeg, 3000x3000 (default) (attached pic)", "1: Video: h264, 64x64"}, 1, 1},
		{"thumbnails", []string{"0: Video: mjpeg, 300x300 (attached pic) (timed thumbnails)", "1: Video: h264, 64x64"}, 1, 1},
	} {
		m := parse([]byte("Input #0, mov, from 'fd:':\n  Stream #0:" + strings.Join(tt.lines, "\n  Stream #0:") + "\n"))
		if m.first.index != tt.first || m.video.index != tt.video || (m.cover != nil) != (tt.name == "attached") {
			t.Errorf("%s: got first %d, video %d, cover %v", tt.name, m.first.index, m.video.index, m.cover)
		}
	}
}

// Attached pictures are chosen by their names. Pictures of scenes are chosen only if there is no video.
func TestParseCoverNames(t *testing.T) {
	for _, tt := range []struct {
		names string
		video bool
		want  string
	}{
		{"fanart.jpg poster.jpg", true, "poster.jpg"},
		{"other.jpg front.jpg folder.jpg poster.jpg Cover.PNG", true, "Cover.PNG"},
		{"front.jpg folder.png", true, "folder.png"},
		{"other.jpg front.jpg", true, "front.jpg"},
		{"small_cover.jpg cover_land.jpg other.jpg", true, "small_cover.jpg"},
		{"a.jpg b.jpg", true, "a.jpg"},
		{"fanart1.jpg backdrop.jpg a.jpg Screenshot_2.png", true, "a.jpg"},
		{"fanart.jpg Backdrop2.jpg screenshot.png", true, ""},
		{"fanart.jpg", false, "fanart.jpg"},
	} {
		listing := "Input #0, matroska,webm, from 'fd:':\n"
		if tt.video {
			listing += "  Stream #0:0: Video: vp9 (Profile 0), yuv420p(tv), 640x480 (default)\n" +
				"    Metadata:\n      filename        : cover.mkv\n"
		}
		names := strings.Fields(tt.names)
		for i, name := range names {
			listing += fmt.Sprintf("  Stream #0:%d: Video: mjpeg, 300x300 (attached pic)\n"+
				"    Metadata:\n      filename        : %s\n", i+1, name)
		}
		got := ""
		if m := parse([]byte(listing)); m.cover != nil {
			got = names[m.cover.index-1]
		}
		if got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.names, got, tt.want)
		}
	}
}

func TestDuration(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"plain.mp4", "plain.mov", "plain.mkv", "plain.avi"} {
		data := readFile(t, plainVideoAs(t, name))
		if got := duration(bytes.NewReader(data), int64(len(data))); got < 2.9 || got > 3.1 {
			t.Errorf("%s: got %v, want 3", name, got)
		}
	}
}

func FuzzDuration(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x10ftypisom\x00\x00\x00\x00\x00\x00\x00\x80moov\x00\x00\x00\x6cmvhd" +
		"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x03\xe8\x00\x00\x0b\xb8pad pad pad pad pad pad pad pad"))
	f.Add([]byte("\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff\x15\x49\xa9\x66\x90" +
		"\x2a\xd7\xb1\x83\x0f\x42\x40\x44\x89\x84\x45\x3b\x80\x00pad pad pad pad pad pad pad pad"))
	f.Add([]byte("RIFF\x00\x00\x00\x00AVI LIST\x00\x00\x00\x00hdrlavih\x38\x00\x00\x00\x40\x9c\x00\x00" +
		"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x4b\x00\x00\x00pad pad"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if got := duration(bytes.NewReader(data), int64(len(data))); !(got >= 0 && got < 1e6) {
			t.Errorf("got %v", got)
		}
	})
}
