package render

import (
	"bytes"
	"image/png"

	"github.com/thumbcache/thumbcache/internal/render/jpegenc"
)

// encodeJPEG encodes one grey plane, or luma and chroma.
func (ws *workspace) encodeJPEG(p [3]plane, quality int, icc []byte) []byte {
	m := jpegenc.Image{Width: p[0].width, Height: p[0].height, Y: p[0].pix, YStride: p[0].stride}
	if p[1].pix != nil {
		m.Cb, m.Cr, m.CStride = p[1].pix, p[2].pix, p[1].stride
	}
	ws.out = jpegenc.Append(grow(ws.out, m.Width*m.Height/2)[:0], &m, quality, icc)
	return bytes.Clone(ws.out)
}

// encodePNG puts the colour profile, which the library's encoder does not know of, behind the header chunk.
func (ws *workspace) encodePNG(p pixels, icc []byte) ([]byte, error) {
	b := bytes.NewBuffer(ws.out[:0])
	enc := png.Encoder{BufferPool: ws}
	if err := enc.Encode(b, p.image()); err != nil {
		return nil, err
	}
	ws.out = b.Bytes()
	data := ws.out
	const header = 8 + 12 + 13 // the signature and IHDR
	return bytes.Join([][]byte{data[:header], iccpChunk(icc), data[header:]}, nil), nil
}
