package render

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"image"

	"github.com/thumbcache/thumbcache/internal/jpegdec"
	"github.com/thumbcache/thumbcache/internal/render/jpegenc"
)

func (h *header) readJPEG(data []byte) (err error) {
	if h.jpeg, err = jpegdec.ReadHeader(data); err != nil {
		return jpegError(err)
	}
	h.width, h.height = h.jpeg.Width, h.jpeg.Height
	h.grey = h.jpeg.Model == jpegdec.Gray
	h.readSegments(data)
	return nil
}

// readSegments reads the orientation and the colour profile from the application segments of a JPEG.
func (h *header) readSegments(data []byte) {
	for rest := data[2:]; ; {
		s, r, ok := nextSegment(rest)
		if !ok || s.marker == markerSOS {
			return
		}
		rest = r
		switch {
		case s.marker == markerAPP1 && bytes.HasPrefix(s.data, []byte(exifHeader)):
			h.readEXIF(s.data)
		case s.marker == markerAPP2 && bytes.HasPrefix(s.data, []byte(iccSegments)):
			h.icc = s.data
			h.memory = min(h.memory+int64(len(s.data)), maxProfile) // to join the parts
		}
	}
}

// A segment of a JPEG file.
type segment struct {
	marker byte
	data   []byte
}

const (
	markerEOI  = 0xd9
	markerSOS  = 0xda
	markerAPP1 = 0xe1
	markerAPP2 = 0xe2
)

// nextSegment returns the first segment in data and the data after it. It skips entropy-coded data and stray bytes before
// the segment. ok is false if there are no more segments.
func nextSegment(data []byte) (s segment, rest []byte, ok bool) {
	for {
		i := bytes.IndexByte(data, 0xff)
		if i < 0 {
			return s, nil, false
		}
		for data = data[i+1:]; len(data) > 0 && data[0] == 0xff; data = data[1:] {
		}
		if len(data) == 0 {
			return s, nil, false
		}
		switch s.marker = data[0]; {
		case s.marker <= 0x01, s.marker >= 0xd0 && s.marker <= 0xd8:
			data = data[1:] // stuffed byte, or marker without a segment
			continue
		case s.marker == markerEOI:
			return s, nil, true
		}
		data = data[1:]
		if len(data) < 2 {
			return s, nil, false
		}
		n := max(2, int(binary.BigEndian.Uint16(data))) // as jpegdec: a length that is too short is that of an empty segment
		if n > len(data) {
			return s, nil, false
		}
		s.data = data[2:n]
		return s, data[n:], true
	}
}

// jpegICC joins the parts of an embedded profile. It returns nil if a part is missing.
func jpegICC(data []byte) []byte {
	var pieces [256][]byte
	count, size := 0, 0
	for rest := data[2:]; ; {
		s, r, ok := nextSegment(rest)
		if !ok || s.marker == markerSOS {
			break
		}
		rest = r
		const header = len(iccSegments) + 2 // followed by the part's number, from 1, and the number of parts
		if s.marker != markerAPP2 || len(s.data) < header || string(s.data[:len(iccSegments)]) != iccSegments {
			continue
		}
		number := s.data[len(iccSegments)]
		if pieces[number] == nil {
			count = int(s.data[len(iccSegments)+1])
			pieces[number] = s.data[header:]
			size += len(s.data) - header
		}
	}
	if count == 0 || size > maxProfile {
		return nil
	}
	if count == 1 {
		return pieces[1]
	}
	icc := make([]byte, 0, size)
	for _, p := range pieces[1 : count+1] {
		if p == nil {
			return nil
		}
		icc = append(icc, p...)
	}
	return icc
}

// jpegOptions returns how much of a JPEG the layout needs.
func jpegOptions(g layout, o Options) jpegdec.Options {
	left, right := g.x.bounds()
	top, bottom := g.y.bounds()
	jpeg := jpegdec.Options{Scale: g.reduction(), Crop: image.Rect(left, top, right, bottom)}
	if o.PNG {
		// JPEG output has half the chroma resolution, PNG output needs all of it.
		jpeg.ChromaScale = max(1, jpeg.Scale/2)
	}
	return jpeg
}

func jpegError(err error) error {
	var format jpegdec.FormatError
	switch {
	case errors.Is(err, jpegdec.ErrUnsupported):
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	case errors.As(err, &format):
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return err
}

func (ws *workspace) decodeJPEG(ctx context.Context, h header, o jpegdec.Options) (raster, error) {
	img := &ws.jpeg
	ws.jpegSize = max(ws.jpegSize, h.jpeg.Cost(o))
	if err := jpegdec.Decode(ctx, h.data, o, img); err != nil {
		return raster{}, jpegError(err)
	}
	if img.Blank {
		return raster{}, corrupt("next to nothing of the picture is in the file") // so that another picture may take its place
	}
	src := raster{kind: ycc}
	switch img.Model {
	case jpegdec.Gray:
		src.kind = grey
	case jpegdec.YCbCr:
	default:
		return interleave(img, h.inkTable(img.N)), nil
	}
	for i, p := range img.Planes[:img.N] {
		src.planes[i] = plane{
			pix: p.Pix, stride: p.Stride, width: p.W, height: p.H, chans: 1,
			left: img.Rect.Min.X, top: img.Rect.Min.Y, pitchX: p.StepX, pitchY: p.StepY,
		}
	}
	return src, nil
}

// inkTable returns the table of the embedded profile of a CMYK picture, or nil if there is none.
func (h *header) inkTable(components int) *lut {
	if components != 4 || h.icc == nil {
		return nil
	}
	icc := h.icc
	if h.contentType == typeJPEG {
		icc = jpegICC(h.data)
	}
	if len(icc) < iccHeader+4 || string(icc[16:20]) != "CMYK" || string(icc[36:40]) != "acsp" {
		return nil
	}
	table, ok := readLUT(icc, 4)
	if !ok {
		return nil
	}
	return table
}

// interleave converts a picture in RGB, CMYK or YCCK to opaque RGBA. CMYK has to be converted before it is scaled, since
// inks do not add up. table is the profile of CMYK, or nil. All three are too rare for a faster path.
func interleave(img *jpegdec.Image, table *lut) raster {
	// The plane with the most samples sets the size. Samples of smaller planes are repeated.
	var lead jpegdec.Plane
	for _, p := range img.Planes[:img.N] {
		if p.W*p.H > lead.W*lead.H {
			lead = p
		}
	}
	dst := plane{
		pix: make([]byte, 4*lead.W*lead.H), stride: 4 * lead.W, width: lead.W, height: lead.H, chans: 4,
		left: img.Rect.Min.X, top: img.Rect.Min.Y, pitchX: lead.StepX, pitchY: lead.StepY,
	}
	var line [4][]byte // one row of each component, as wide as the lead
	for i := range line {
		line[i] = make([]byte, lead.W)
	}
	for y := range lead.H {
		for i, p := range img.Planes[:img.N] {
			row := p.Pix[mulDiv(y, p.H, lead.H)*p.Stride:][:p.W]
			for x := range line[i] {
				line[i][x] = row[mulDiv(x, p.W, lead.W)]
			}
		}
		row := dst.pix[y*dst.stride:][:dst.stride]
		if img.Model == jpegdec.YCCK {
			toRGB(row, [3]plane{{pix: line[0]}, {pix: line[1]}, {pix: line[2]}})
		} else {
			for x := range lead.W {
				row[4*x], row[4*x+1], row[4*x+2], row[4*x+3] = line[0][x], line[1][x], line[2][x], 255
			}
		}
		if img.N < 4 {
			continue
		}
		toInk(row, line[3], img)
		if table != nil {
			table.convert(row, line[3])
		} else {
			mixInk(row, line[3])
		}
	}
	return raster{kind: rgba, planes: [3]plane{dst}}
}

// mulDiv returns i*n/m.
func mulDiv(i, n, m int) int { return int(int64(i) * int64(n) / int64(m)) }

// toInk converts a row of C, M and Y, or of their complements, and its K to amounts of ink. Adobe's programs store all of
// them inverted, so that they mean light, and other programs follow. A file without an Adobe marker stores ink.
func toInk(row, black []byte, img *jpegdec.Image) {
	complements := img.Model == jpegdec.YCCK
	for x := range black {
		if img.Adobe {
			black[x] = 255 - black[x]
		}
		if complements == img.Adobe {
			continue
		}
		for c, v := range row[4*x:][:3] {
			row[4*x+c] = 255 - v
		}
	}
}

// mixInk converts a row of amounts of ink to RGB, as if inks were perfect.
func mixInk(row, black []byte) {
	for x, k := range black {
		light := uint32(255 - k)
		for c, v := range row[4*x:][:3] {
			row[4*x+c] = byte((uint32(255-v)*light + 127) / 255)
		}
	}
}

// encodeJPEG encodes one grey plane, or luma and chroma, and returns the JPEG and its ThumbHash.
func (ws *workspace) encodeJPEG(p [3]plane, quality int, icc []byte) (data, hash []byte) {
	m := jpegenc.Image{Width: p[0].width, Height: p[0].height, Y: p[0].pix, YStride: p[0].stride}
	if p[1].pix != nil {
		m.Cb, m.Cr, m.CStride = p[1].pix, p[2].pix, p[1].stride
		m.FullChroma = p[1].width == p[0].width && p[1].height == p[0].height
	}
	ws.out = jpegenc.Append(grow(ws.out, m.Width*m.Height/4)[:0], &m, quality, icc)
	return bytes.Clone(ws.out), ws.hashJPEG(p)
}
