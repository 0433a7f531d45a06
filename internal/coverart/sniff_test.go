package coverart

import (
	"bytes"
	"testing"
)

func TestIsPicture(t *testing.T) {
	pad := func(s string) []byte { return append([]byte(s), make([]byte, 40)...) }
	bmp := func(headerSize byte) []byte {
		b := pad("BM")
		b[14] = headerSize
		return b
	}
	for _, b := range [][]byte{
		pad("\xff\xd8\xff\xe1"), pad("\x89PNG\r\n\x1a\n"), pad("GIF87a"), pad("GIF89a"), pad("RIFF\x00\x01\x00\x00WEBPVP8L"),
		pad("II*\x00"), pad("MM\x00*"), bmp(40), bmp(124), pad("\x00\x00\x00\x1cftypavif"), pad("\x00\x00\x00\x18ftypheic"),
		pad("\xff\x0a"), pad("\x00\x00\x00\x0cJXL \r\n\x87\n"), pad("\x00\x00\x00\x0cjP  \r\n\x87\n"), pad("\xff\x4f\xff\x51"),
		pad("\x00\x00\x01\x00\x01\x00\x10\x10\x00\x00"),
	} {
		if !isPicture(b) {
			t.Errorf("%.16q is a picture", b)
		}
		for n := range b { // must not panic if truncated
			isPicture(b[:n])
			findPicture(b[:n])
		}
	}
	for _, b := range [][]byte{
		nil, pad(""), pad("<svg xmlns="), pad("<?xml"), pad("<html>"), pad("%PDF-1.4"), pad("BM"), bmp(41), pad("BMW is a car"),
		pad("\x00\x00\x00\x18ftypisom"), pad("\x00\x00\x00\x18ftypM4A "), pad("RIFF\x00\x01\x00\x00WAVE"), pad("GIF88a"), pad("\xff\xfb\x90"),
		pad("OggS"), pad("fLaC"), pad("ID3"), pad("http://example.com/cover.jpg"), pad("\x00\x00\x01\x00"),
	} {
		if isPicture(b) {
			t.Errorf("%.16q is not a picture", b)
		}
	}
}

func TestFindPicture(t *testing.T) {
	for _, junk := range []string{"", "x", "\xff", "GIF", "\x89PNG", "RIFFRIFF", "\xff\x0a\xff\x4f"} {
		b := append([]byte(junk), front[:100]...)
		if got := findPicture(b); got != len(junk) {
			t.Errorf("behind %q: %d, want %d", junk, got, len(junk))
		}
	}
	if got := findPicture(bytes.Repeat([]byte("\xff\x0aBM"), 100)); got != -1 {
		t.Errorf("in noise: %d", got)
	}
}

// TestMPEGFrame compares with the lengths of frames that other programs wrote.
func TestMPEGFrame(t *testing.T) {
	for _, test := range []struct {
		header string
		want   int
	}{
		{"\xff\xfb\x90\x00\x00\x00\x00", 417},      // MPEG-1 layer III, 128 kbit/s, 44.1 kHz
		{"\xff\xfb\x92\x00\x00\x00\x00", 418},      // padded
		{"\xff\xfb\xe4\x00\x00\x00\x00", 960},      // 320 kbit/s, 48 kHz
		{"\xff\xf3\x40\x00\x00\x00\x00", 104},      // MPEG-2 layer III, 32 kbit/s, 22.05 kHz
		{"\xff\xe3\x18\x00\x00\x00\x00", 72},       // MPEG-2.5 layer III, 8 kbit/s, 8 kHz
		{"\xff\xfd\xc4\x00\x00\x00\x00", 768},      // MPEG-1 layer II, 256 kbit/s, 48 kHz
		{"\xff\xf5\x84\x00\x00\x00\x00", 384},      // MPEG-2 layer II, 64 kbit/s, 24 kHz
		{"\xff\xff\xe4\x00\x00\x00\x00", 448},      // MPEG-1 layer I, 448 kbit/s, 48 kHz
		{"\xff\xf7\xe4\x00\x00\x00\x00", 512},      // MPEG-2 layer I, 256 kbit/s, 24 kHz
		{"\xff\xf1\x50\x80\x19\x1f\xfc", 200},      // AAC
		{"\xff\xfb\x00\x00\x00\x00\x00", 0},        // free format
		{"\xff\xfb\xf0\x00\x00\x00\x00", 0},        // bitrate 15
		{"\xff\xfb\x9c\x00\x00\x00\x00", 0},        // sampling rate 3
		{"\xff\xeb\x90\x00\x00\x00\x00", 0},        // version 1
		{"\xff\xf1\x50\x80\x00\x1f\xfc", 0},        // AAC of no length
		{"\xff\xfb\x90", 0},                        // cut
		{"\xff\xd8\xff\xe0\x00\x10JFIF", 0},        // a picture
		{"\xff\xfeh\x00e\x00l\x00l\x00o\x00", 288}, // "hello" in UTF-16 looks like one frame
	} {
		if got := mpegFrame([]byte(test.header)); got != test.want {
			t.Errorf("%x: %d, want %d", test.header, got, test.want)
		}
	}
}
