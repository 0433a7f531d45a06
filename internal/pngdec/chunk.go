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

// chunks are the data chunks of a picture, as the source of its compressed data.
type chunks struct {
	rest []byte // the file from the next chunk
}

// Next implements [inflate.Source].
func (c *chunks) Next() []byte {
	for {
		chunk, rest, ok := NextChunk(c.rest, false)
		if !ok || chunk.Name() == "IEND" || chunk.Name() == "fcTL" {
			c.rest = nil
			return nil
		}
		c.rest = rest
		switch {
		case chunk.Name() == "IDAT":
		case chunk.Name() == "fdAT" && len(chunk.Data) > 4:
			chunk.Data = chunk.Data[4:] // after the sequence number
		default:
			continue
		}
		if len(chunk.Data) > 0 {
			return chunk.Data
		}
	}
}
