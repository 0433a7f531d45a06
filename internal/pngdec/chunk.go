package pngdec

import (
	"encoding/binary"
	"hash/crc32"
)

// Signature is how a PNG file begins.
const Signature = "\x89PNG\r\n\x1a\n"

// A Chunk is one chunk of a PNG file (W3C PNG, third edition, 5.3).
type Chunk struct {
	Type   [4]byte
	Data   []byte
	Intact bool // the checksum is right
}

// Name returns the chunk's type as a string. It allocates nothing if the caller only compares it.
func (c *Chunk) Name() string { return string(c.Type[:]) }

// NextChunk splits the first chunk off a file. A chunk that is cut short has the data that there is. check tells whether
// to verify the checksum. ok is false if there are no more chunks.
func NextChunk(file []byte, check bool) (c Chunk, rest []byte, ok bool) {
	if len(file) < 8 {
		return c, nil, false
	}
	n := int64(binary.BigEndian.Uint32(file))
	c.Type = [4]byte(file[4:8])
	if n > int64(len(file))-12 {
		c.Data = file[8:min(8+n, int64(len(file)))]
		return c, nil, true
	}
	c.Data, rest = file[8:8+n], file[12+n:]
	c.Intact = !check || crc32.ChecksumIEEE(file[4:8+n]) == binary.BigEndian.Uint32(file[8+n:])
	return c, rest, true
}
