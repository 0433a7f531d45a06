package render

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"hash/crc32"
	"image/png"
	"io"
)

func (h *header) readPNG(data []byte) error {
	var transparent, interlaced bool
	var depth, colour byte
	for rest := data[8:]; len(rest) >= 12; {
		n := int64(binary.BigEndian.Uint32(rest))
		name := string(rest[4:8])
		if n > int64(len(rest))-12 {
			n = int64(len(rest)) - 12 // the decoder reports the error
		}
		chunk := rest[8 : 8+n]
		rest = rest[12+n:]
		if h.width == 0 {
			if name != "IHDR" || len(chunk) < 13 {
				return corrupt("PNG without a header")
			}
			w, ht := binary.BigEndian.Uint32(chunk), binary.BigEndian.Uint32(chunk[4:])
			if w > 1<<31-1 || ht > 1<<31-1 || w == 0 {
				return corrupt("PNG of %d x %d", w, ht)
			}
			h.width, h.height = int(w), int(ht)
			depth, colour, interlaced = chunk[8], chunk[9], chunk[12] != 0
			continue
		}
		switch name {
		case "tRNS":
			transparent = true
		case "eXIf":
			h.orientation = exifOrientation(chunk)
		case "iCCP":
			h.icc = chunk
		}
	}
	var size int64 // bytes per pixel in the decoder
	switch {
	case colour == 3:
		size = 1 + 4 // palette index, RGBA
	case colour == 0 && !transparent:
		h.grey = true
		size = 1
	default:
		size = 4
	}
	if depth == 16 {
		size *= 2
	}
	if interlaced {
		size *= 2 // the seven passes are decoded to images of their own
	}
	if colour == 3 && interlaced {
		size = 2 + 4
	}
	h.memory = size*h.pixels() + 2*8*int64(h.width) + 96<<10
	if h.icc != nil {
		h.memory += inflateLimit(h.icc) + 64<<10
	}
	return nil
}

// inflateICC returns the profile in a PNG's iCCP chunk, or nil if the chunk is corrupt.
func inflateICC(chunk []byte) []byte {
	name := bytes.IndexByte(chunk, 0)
	if name < 0 || name > 79 || len(chunk) < name+2 || chunk[name+1] != 0 {
		return nil
	}
	z, err := zlib.NewReader(bytes.NewReader(chunk[name+2:]))
	if err != nil {
		return nil
	}
	// A profile begins with its size, so nothing beyond that is inflated.
	var size [4]byte
	if _, err := io.ReadFull(z, size[:]); err != nil {
		return nil
	}
	n := int64(binary.BigEndian.Uint32(size[:]))
	if n < iccHeader || n > inflateLimit(chunk) {
		return nil
	}
	icc := make([]byte, n)
	copy(icc, size[:])
	if _, err := io.ReadFull(z, icc[4:]); err != nil {
		return nil
	}
	return icc
}

// inflateLimit returns the size in bytes of the largest profile that an iCCP chunk can hold.
func inflateLimit(chunk []byte) int64 {
	const most = 1032 // bytes that one byte of deflate can become
	return min(maxProfile, most*int64(len(chunk)))
}

// encodePNG encodes a picture. It inserts the colour profile after the header chunk, since image/png cannot.
func (ws *workspace) encodePNG(p pixels, icc []byte) ([]byte, error) {
	b := bytes.NewBuffer(ws.out[:0])
	enc := png.Encoder{BufferPool: ws}
	if err := enc.Encode(b, p.image()); err != nil {
		return nil, err
	}
	ws.out = b.Bytes()
	data := ws.out
	const header = 8 + 12 + 13 // signature and IHDR
	return bytes.Join([][]byte{data[:header], iccpChunk(icc), data[header:]}, nil), nil
}

// iccpChunk returns an iCCP chunk with a profile, or nil if icc is nil.
func iccpChunk(icc []byte) []byte {
	if icc == nil {
		return nil
	}
	var b bytes.Buffer
	b.WriteString("\x00\x00\x00\x00iCCPicc\x00\x00")
	z := zlib.NewWriter(&b)
	z.Write(icc) // cannot fail, as a Buffer does not
	z.Close()
	chunk := b.Bytes()
	binary.BigEndian.PutUint32(chunk, uint32(len(chunk)-8))
	return binary.BigEndian.AppendUint32(chunk, crc32.ChecksumIEEE(chunk[4:]))
}
