package coverart

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"slices"
	"strings"
)

// Vorbis comments (xiph.org/vorbis/doc/v-comment.html) contain pictures in base64: METADATA_BLOCK_PICTURE holds a FLAC
// picture block, and the older COVERART holds only the picture.

// A stream is read sequentially.
type stream interface {
	// read reads into p and returns the number of bytes read, which is less than len(p) only at the end.
	read(p []byte) int
	// skip skips n bytes and reports whether the stream has them.
	skip(n int64) bool
}

// A cursor is a stream that can be read more than once: an extent of a file, or a packet in the pages of an Ogg file.
type cursor interface {
	stream
	// clone returns an independent cursor at the same position.
	clone() cursor
}

// An extent is the cursor over the bytes between pos and end.
type extent struct {
	s        *source
	pos, end int64
}

func (x *extent) read(p []byte) int {
	p = p[:max(0, min(int64(len(p)), x.end-x.pos))]
	n := 0
	if len(p) <= walkLen {
		n = copy(p, x.s.peek(x.pos, len(p)))
	} else {
		n = x.s.read(p, x.pos)
	}
	x.pos += int64(n)
	return n
}

func (x *extent) skip(n int64) bool {
	x.pos += n
	return x.pos <= min(x.end, x.s.size)
}

func (x *extent) clone() cursor {
	c := *x
	return &c
}

const (
	keyPicture  = "metadata_block_picture="
	keyCoverArt = "coverart="
)

// vorbisComment offers the pictures in the comment header that begins at x.
func (f *finder) vorbisComment(x cursor) {
	var b [len(keyPicture)]byte
	word := func() int64 {
		if x.read(b[:4]) < 4 {
			return -1
		}
		return int64(binary.LittleEndian.Uint32(b[:]))
	}
	vendor := word()
	if vendor < 0 || !x.skip(vendor) {
		return
	}
	for range word() {
		if f.done() || !f.step() {
			return
		}
		size := word()
		if size < 0 {
			return
		}
		value := x.clone()
		if f.texts != nil {
			f.commentText(value, size)
			if !x.skip(size) {
				return
			}
			continue
		}
		n := x.read(b[:min(size, int64(len(b)))])
		key := strings.ToLower(string(b[:n]))
		switch {
		case key == keyPicture:
			value.skip(int64(len(keyPicture)))
			f.base64Picture(value, size-int64(len(keyPicture)))
		case strings.HasPrefix(key, keyCoverArt):
			value.skip(int64(len(keyCoverArt)))
			f.base64Picture(value, size-int64(len(keyCoverArt)))
		}
		if f.done() || !x.skip(size-int64(n)) {
			return
		}
	}
}

// base64Picture offers the picture in the n characters of base64 at x. They contain a PICTURE block or only the picture,
// whatever the comment is called.
func (f *finder) base64Picture(x cursor, n int64) {
	x, n = skipDataURI(x, n)
	if n > (maxPicture+64<<10)/3*4 {
		f.damaged = true
		return
	}
	h, head, ok := readBase64Header(x, n)
	switch {
	case !ok:
		f.damaged = f.damaged || n > minPicture
		return
	case h.size < minPicture:
		return
	case len(head) < minPicture:
		f.damaged = true
		return
	case !isPicture(head):
		return
	}
	// If the declared size is more than the text contains, use the size of the text.
	size := min(h.size, decodedLen(n)-h.headLen)
	f.addCandidate(typeRank(h.typ), func() []byte {
		d := &base64Stream{x: x.clone(), left: n}
		if !d.skip(h.headLen) {
			return nil
		}
		pic := f.alloc(size)
		pic = pic[:d.read(pic)]
		if d.bad {
			return nil
		}
		return pic
	})
}

// readBase64Header returns the header and the first bytes of the picture in the n characters of base64 at x. A picture
// without a PICTURE block counts as a front cover.
func readBase64Header(x cursor, n int64) (h flacPictureHeader, head []byte, ok bool) {
	bare := &base64Stream{x: x.clone(), left: n}
	head = make([]byte, sniffLen)
	if head = head[:bare.read(head)]; isPicture(head) {
		return flacPictureHeader{typ: typeFront, size: decodedLen(n)}, head, true
	}
	block := &base64Stream{x: x.clone(), left: n}
	if h, ok = readFLACPicture(block); !ok {
		return h, nil, false
	}
	head = make([]byte, min(h.size, sniffLen))
	return h, head[:block.read(head)], true
}

// decodedLen returns the most bytes that n characters of base64 decode to.
func decodedLen(n int64) int64 { return (n*3 + 3) / 4 }

// skipDataURI returns the cursor and the number of characters after the beginning of a data URI (RFC 2397), such as
// "data:image/jpeg;base64,". It returns x and n if there is none.
func skipDataURI(x cursor, n int64) (cursor, int64) {
	var b [128]byte
	begin := string(b[:x.clone().read(b[:min(n, int64(len(b)))])])
	text := strings.TrimLeft(begin, whiteSpace)
	if len(text) < 5 || !strings.EqualFold(text[:5], "data:") {
		return x, n
	}
	if i := int64(strings.IndexByte(begin, ',') + 1); i > 0 && x.skip(i) {
		return x, n - i
	}
	return x, n
}

// A base64Stream decodes the next left characters of x. It accepts both alphabets of RFC 4648 and missing padding, and skips
// white space.
type base64Stream struct {
	x    stream
	left int64
	text []byte // an incomplete group of characters
	data []byte // decoded, not yet read
	in   []byte // buffer of text
	out  []byte // buffer of data
	bad  bool   // the text is not base64
}

const (
	whiteSpace  = " \t\r\n\v\f"
	base64Head  = 1 << 10  // characters decoded first; enough to recognize a picture
	base64Chunk = 64 << 10 // characters decoded at a time after that
)

// fill decodes the next chunk.
func (d *base64Stream) fill() {
	size := base64Chunk
	if d.in == nil {
		size = base64Head
	}
	size = min(size, int(min(d.left, base64Chunk))+len(d.text))
	if len(d.in) < size {
		d.in, d.out = make([]byte, size), make([]byte, size/4*3+3)
	}
	kept := copy(d.in, d.text)
	got := d.x.read(d.in[kept:size])
	d.left -= int64(got)
	if kept+got < size {
		d.left = 0 // the stream is shorter than declared
	}
	text := d.in[:kept+got]
	for _, c := range []byte(whiteSpace) {
		if bytes.IndexByte(text, c) >= 0 {
			text = slices.DeleteFunc(text, func(t byte) bool { return t == c })
		}
	}
	replaceByte(text, '-', '+')
	replaceByte(text, '_', '/')
	whole := len(text) &^ 3
	if d.left == 0 {
		text = bytes.TrimRight(text, "=\x00")
		whole = len(text)
		if whole%4 == 1 {
			whole-- // six bits are less than a byte
		}
	}
	n, err := base64.RawStdEncoding.Decode(d.out, text[:whole])
	d.bad = err != nil
	d.data = d.out[:n]
	d.text = text[whole:]
}

// replaceByte replaces each old byte in text.
func replaceByte(text []byte, old, new byte) {
	for i := bytes.IndexByte(text, old); i >= 0; {
		text[i] = new
		next := bytes.IndexByte(text[i+1:], old)
		if next < 0 {
			return
		}
		i += 1 + next
	}
}

func (d *base64Stream) read(p []byte) (n int) {
	for n < len(p) {
		if len(d.data) == 0 {
			if d.left == 0 || d.bad {
				break
			}
			d.fill()
		}
		m := copy(p[n:], d.data)
		d.data = d.data[m:]
		n += m
	}
	return n
}

func (d *base64Stream) skip(n int64) bool {
	if n > int64(len(d.data))+d.left {
		return false
	}
	for n > 0 {
		if len(d.data) == 0 {
			if d.left == 0 || d.bad {
				return false
			}
			d.fill()
		}
		m := min(n, int64(len(d.data)))
		d.data = d.data[m:]
		n -= m
	}
	return true
}
