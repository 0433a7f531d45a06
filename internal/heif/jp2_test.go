package heif

import (
	"bytes"
	"context"
	"errors"
	"testing"
)

func jp2File(header ...[]byte) []byte {
	f := append([]byte("\x00\x00\x00\x0cjP  \r\n\x87\n"), boxOf("ftyp", []byte("jp2 \x00\x00\x00\x00jp2 "))...)
	f = append(f, boxOf("jp2h", header...)...)
	return append(f, boxOf("jp2c", []byte("\xff\x4f\xff\x51"))...)
}

func TestJP2Profile(t *testing.T) {
	ihdr := boxOf("ihdr", make([]byte, 14))
	icc := boxOf("colr", []byte{2, 0, 0}, []byte("profile"))
	enumerated := boxOf("colr", []byte{1, 0, 0}, be32(16))
	for _, test := range []struct {
		name string
		data []byte
		want string
		err  error
	}{
		{"a profile", jp2File(ihdr, icc), "profile", nil},
		{"any profile", jp2File(ihdr, boxOf("colr", []byte{3, 0, 0}, []byte("any"))), "any", nil},
		{"sRGB", jp2File(ihdr, enumerated), "", nil},
		{"sRGB, and a profile", jp2File(ihdr, enumerated, icc), "", nil},
		{"a method to come, and a profile", jp2File(ihdr, boxOf("colr", []byte{9, 0, 0}), icc), "profile", nil},
		{"no colours", jp2File(ihdr), "", nil},
		{"no header", []byte("\x00\x00\x00\x0cjP  \r\n\x87\n\x00\x00\x00\x00jp2c"), "", nil},
		{"another file", []byte("\x00\x00\x00\x0cJXL \r\n\x87\n"), "", ErrUnsupported},
		{"nothing", nil, "", ErrUnsupported},
		{"a box that is too long", jp2File(append(be32(100), "colr"...)), "", ErrCorrupt},
		{"cut off", jp2File(ihdr, icc)[:50], "", ErrCorrupt},
	} {
		got, err := JP2Profile(context.Background(), bytes.NewReader(test.data), int64(len(test.data)))
		if string(got) != test.want || !errors.Is(err, test.err) {
			t.Errorf("%s: %q, %v", test.name, got, err)
		}
	}
}

func FuzzJP2Profile(f *testing.F) {
	f.Add(jp2File(boxOf("ihdr", make([]byte, 14)), boxOf("colr", []byte{2, 0, 0}, []byte("profile"))))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := &checked{data: data}
		profile, err := JP2Profile(context.Background(), r, int64(len(data)))
		if r.wrong || err != nil && !isVerdict(err) || !bytes.Contains(data, profile) {
			t.Errorf("%q, %v, read beyond the file: %v", profile, err, r.wrong)
		}
	})
}
