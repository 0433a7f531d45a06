package store

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"time"
)

// A Key names one file: a thumbnail of a source or, with None set, the record that the source has no picture.
type Key struct {
	Provider, Path string
	None           bool // then all below is zero

	Size           int // as requested, in pixels; 0 is the original's size
	Height         int // of a box that is Size wide; 0: Size is the longest edge
	Cover, Pad     bool
	PNG            bool
	Auto           bool   // JPEG or PNG, as the picture needs; PNG is not set then
	WebP           bool   // PNG and Auto are not set then
	FocusX, FocusY uint8  // of Cover, in hundredths; 0 is the center
	Background     uint32 // of Pad: a color 0xRRGGBB, or one of the constants
	MaxBytes       uint32 // limit of the picture's length, unless Cover or Pad; 0: none
}

// Backgrounds that are no colors.
const (
	Blur        = 1 << 24 // a blurred copy of the picture
	Transparent = 2 << 24
)

// Hash returns the lower-case hex SHA-256 with which the names of all files of a source begin.
func Hash(provider, path string) string {
	var buf [512]byte
	sum := sha256.Sum256(append(append(append(buf[:0], provider...), '/'), path...))
	return hex.EncodeToString(sum[:])
}

// name returns the name of the file for k. hash is that of k's source.
func (k *Key) name(hash string) string {
	if k.None {
		return hash + k.extension()
	}
	return hash + "_" + k.shape() + k.extension()
}

// shape returns the size, fit and limit as they are part of names, such as 300, 300x200c30x70,
// 300pblur or 300b20000.
func (k *Key) shape() string {
	b := strconv.AppendInt(nil, int64(k.Size), 10)
	if k.Height != 0 {
		b = fmt.Appendf(b, "x%d", k.Height)
	}
	switch {
	case k.Cover && (k.FocusX != 0 || k.FocusY != 0):
		b = fmt.Appendf(b, "c%dx%d", cmp.Or(k.FocusX, 50), cmp.Or(k.FocusY, 50))
	case k.Cover:
		b = append(b, 'c')
	case k.Pad && k.Background == Blur:
		b = append(b, "pblur"...)
	case k.Pad && k.Background == Transparent:
		b = append(b, "ptransparent"...)
	case k.Pad:
		b = fmt.Appendf(b, "p%06x", k.Background)
	case k.MaxBytes != 0:
		b = fmt.Appendf(b, "b%d", k.MaxBytes)
	}
	return string(b)
}

// fit returns the number of the fit in a sealed file.
func (k *Key) fit() byte {
	switch {
	case k.Cover:
		return 1
	case k.Pad:
		return 2
	}
	return 0
}

func (k *Key) extension() string {
	switch {
	case k.None:
		return ".none"
	case k.PNG:
		return ".png"
	case k.Auto:
		return ".auto"
	case k.WebP:
		return ".webp"
	}
	return ".jpg"
}

// format returns the number of the format in a sealed file.
func (k *Key) format() byte {
	switch {
	case k.PNG:
		return 1
	case k.Auto:
		return 2
	case k.WebP:
		return 3
	}
	return 0
}

// An Entry is the content of a file.
type Entry struct {
	Key       Key
	Pipeline  uint32 // the version of the code that made the picture
	Quality   int    // of a JPEG or WebP
	Limit     int    // the largest edge allowed when Key.Size is 0, in pixels
	Cause     Cause
	Width     int // in pixels
	Height    int
	Size      int64     // of the source, in bytes
	ModTime   time.Time // of the source, to the nanosecond
	Tag       string    // of the source: see Stamp.Tag in the root package
	Version   string    // of the source, as given by the request
	Made      time.Time
	ThumbHash string
	FFmpeg    string // if there is no picture: the ffmpeg version on which that depends
	Picture   string // identifies the picture that the thumbnail was made of, by its content
	Data      []byte // the picture, encoded
}

// Variant returns the name of e among the values of its source in a place that several machines share. It includes the format
// version and the settings, so that machines with others do not replace each other's values.
func (e *Entry) Variant() string {
	b := fmt.Appendf(nil, "f%dp%d", sealVersion, e.Pipeline)
	if !e.Key.None {
		b = fmt.Appendf(nil, "%s_%s", e.Key.shape(), b)
	}
	if e.Quality != 0 {
		b = fmt.Appendf(b, "q%d", e.Quality)
	}
	if e.Limit != 0 {
		b = fmt.Appendf(b, "l%d", e.Limit)
	}
	return string(b) + e.Key.extension()
}

// A Cause is the reason why there is no picture.
type Cause uint8

const (
	Picture Cause = iota // there is a picture
	NoPicture
	Unsupported
	Corrupt
	NoMedia
)

func (c Cause) String() string {
	switch c {
	case Picture:
		return "a picture"
	case NoPicture:
		return "no picture in it"
	case Unsupported:
		return "unsupported"
	case Corrupt:
		return "corrupt"
	case NoMedia:
		return "no media"
	}
	return fmt.Sprintf("cause %d", uint8(c))
}

// A sealed file is the picture as it is served, so that any viewer shows it, followed by a trailer that describes it. All
// numbers are little-endian.
//
//	     payload         the JPEG, PNG or WebP, or nothing
//	 0   magic           "TCSEAL"
//	 6   format version  uint16, sealVersion
//	 8   fit             uint8, 0 contain, 1 cover, 2 pad
//	 9   format          uint8, 0 JPEG, 1 PNG, 2 auto: either, see the payload, 3 WebP
//	10   quality         uint8
//	11   cause           uint8, a Cause
//	12   pipeline        uint32, the version of the code that made the picture
//	16   size, height    2 x uint16, of the box as requested; height is 0 if size is the longest edge
//	20   width, height   2 x uint32, in pixels
//	28   payload length  uint64
//	36   stamp           int64 size, int64 seconds, uint32 nanoseconds of the source's modification time
//	56   made            int64, Unix time in nanoseconds
//	64   limit           uint32, the largest edge allowed if size is 0, else 0
//	68   background      uint32, a color 0xRRGGBB, 1<<24 blurred, 2<<24 transparent
//	72   focus           2 x uint8, from the left and from the top, in hundredths; 0 is the center
//	74   max bytes       uint32, limit of the payload; 0: none
//	78   provider, path, tag, version, ThumbHash, FFmpeg, picture: each a uint32 length and its bytes
//	     checksum        uint32, CRC-32C of everything before it, including the payload
//	     trailer length  uint32, from magic to the end of the file
//
// A file with another format version is not damaged, but it is not read.
const (
	sealMagic   = "TCSEAL"
	sealVersion = 4
	sealFixed   = 78      // bytes before the texts
	sealEnd     = 8       // bytes after them
	maxTrailer  = 1 << 20 // bytes: a longer length is not believed
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)

	// ErrOtherVersion means that a file has another version of the format.
	ErrOtherVersion = errors.New("sealed by another version")
)

// trailer returns what follows Data in the file for e.
func (e *Entry) trailer() ([]byte, error) {
	texts := []string{e.Key.Provider, e.Key.Path, e.Tag, e.Version, e.ThumbHash, e.FFmpeg, e.Picture}
	n := sealFixed + sealEnd
	for _, t := range texts {
		n += 4 + len(t)
	}
	if n > maxTrailer {
		return nil, errors.New("thumbcache: key too long to store")
	}
	le := binary.LittleEndian
	b := append(make([]byte, 0, n), sealMagic...)
	b = le.AppendUint16(b, sealVersion)
	b = append(b, e.Key.fit(), e.Key.format(), byte(e.Quality), byte(e.Cause))
	b = le.AppendUint32(b, e.Pipeline)
	b = le.AppendUint16(b, uint16(e.Key.Size))
	b = le.AppendUint16(b, uint16(e.Key.Height))
	b = le.AppendUint32(b, uint32(e.Width))
	b = le.AppendUint32(b, uint32(e.Height))
	b = le.AppendUint64(b, uint64(len(e.Data)))
	b = le.AppendUint64(b, uint64(e.Size))
	b = le.AppendUint64(b, uint64(e.ModTime.Unix()))
	b = le.AppendUint32(b, uint32(e.ModTime.Nanosecond()))
	b = le.AppendUint64(b, uint64(e.Made.UnixNano()))
	b = le.AppendUint32(b, uint32(e.Limit))
	b = le.AppendUint32(b, e.Key.Background)
	b = append(b, e.Key.FocusX, e.Key.FocusY)
	b = le.AppendUint32(b, e.Key.MaxBytes)
	for _, t := range texts {
		b = le.AppendUint32(b, uint32(len(t)))
		b = append(b, t...)
	}
	b = le.AppendUint32(b, crc32.Update(crc32.Checksum(e.Data, castagnoli), castagnoli, b))
	return le.AppendUint32(b, uint32(n)), nil
}

// Seal returns the file for e.
func (e *Entry) Seal() ([]byte, error) {
	t, err := e.trailer()
	return append(e.Data[:len(e.Data):len(e.Data)], t...), err
}

// Unseal checks and parses a file. The entry's Data is a part of file. Its Provider and Path are those of want if they are
// equal, which saves two allocations.
func Unseal(file []byte, want *Key) (*Entry, error) {
	le := binary.LittleEndian
	if len(file) < sealFixed+sealEnd {
		return nil, errors.New("too short")
	}
	n := int64(le.Uint32(file[len(file)-4:]))
	if n < sealFixed+sealEnd || n > maxTrailer || n > int64(len(file)) {
		return nil, errors.New("no trailer")
	}
	payload, t := file[:len(file)-int(n):len(file)-int(n)], file[len(file)-int(n):]
	if string(t[:6]) != sealMagic {
		return nil, errors.New("no trailer")
	}
	if le.Uint16(t[6:]) != sealVersion {
		return nil, ErrOtherVersion
	}
	if le.Uint32(t[n-8:]) != crc32.Checksum(file[:len(file)-8], castagnoli) {
		return nil, errors.New("wrong checksum")
	}
	if le.Uint64(t[28:]) != uint64(len(payload)) || t[8] > 2 || t[9] > 3 {
		return nil, errors.New("broken trailer")
	}
	e := &Entry{
		Key: Key{
			None:       t[11] != 0,
			Size:       int(le.Uint16(t[16:])),
			Height:     int(le.Uint16(t[18:])),
			Cover:      t[8] == 1,
			Pad:        t[8] == 2,
			PNG:        t[9] == 1,
			Auto:       t[9] == 2,
			WebP:       t[9] == 3,
			FocusX:     t[72],
			FocusY:     t[73],
			Background: le.Uint32(t[68:]),
			MaxBytes:   le.Uint32(t[74:]),
		},
		Quality:  int(t[10]),
		Cause:    Cause(t[11]),
		Pipeline: le.Uint32(t[12:]),
		Width:    int(le.Uint32(t[20:])),
		Height:   int(le.Uint32(t[24:])),
		Size:     int64(le.Uint64(t[36:])),
		ModTime:  time.Unix(int64(le.Uint64(t[44:])), int64(le.Uint32(t[52:]))),
		Made:     time.Unix(0, int64(le.Uint64(t[56:]))),
		Limit:    int(le.Uint32(t[64:])),
		Data:     payload,
	}
	e.Key.Provider, e.Key.Path = want.Provider, want.Path
	rest := t[sealFixed : n-sealEnd]
	for _, text := range [...]*string{&e.Key.Provider, &e.Key.Path, &e.Tag, &e.Version, &e.ThumbHash, &e.FFmpeg, &e.Picture} {
		if len(rest) < 4 || uint64(le.Uint32(rest)) > uint64(len(rest)-4) {
			return nil, errors.New("broken trailer")
		}
		l := 4 + int(le.Uint32(rest))
		if string(rest[4:l]) != *text { // does not allocate
			*text = string(rest[4:l])
		}
		rest = rest[l:]
	}
	if len(rest) != 0 {
		return nil, errors.New("broken trailer")
	}
	return e, nil
}
