package render

import (
	"encoding/binary"
	"math"
)

// maxIcons is the most images of an icon that are looked at. Real icons have up to about 20.
const maxIcons = 256

// An icon is one image of an ICO or CUR file.
type icon struct {
	dib   dib
	png   []byte // instead of dib
	area  int64  // in pixels
	depth int    // bits per pixel
}

// readICO selects the largest image of an icon or cursor, and of several the one with the most bits per pixel. It returns
// the image if it is a PNG.
func (h *header) readICO(data []byte) (embedded []byte, err error) {
	const directory, entrySize = 6, 16
	count := min(int(binary.LittleEndian.Uint16(data[4:])), maxIcons, (len(data)-directory)/entrySize)
	var best icon
	err = corrupt("icon without an image")
	for i := range count {
		m, readErr := readIcon(data, data[directory+entrySize*i:][:entrySize])
		if readErr != nil {
			if best.area == 0 {
				err = readErr
			}
			continue
		}
		if m.area > best.area || m.area == best.area && m.depth > best.depth {
			best = m
		}
	}
	switch {
	case best.area == 0:
		return nil, err
	case best.png != nil:
		return best.png, nil
	}
	h.setDIB(best.dib)
	return nil, nil
}

// readIcon reads the headers of the image that a directory entry describes. The entry's own dimensions are not reliable,
// and 0 for all that exceed 255.
func readIcon(data, entry []byte) (m icon, err error) {
	size, offset := int64(binary.LittleEndian.Uint32(entry[8:])), int64(binary.LittleEndian.Uint32(entry[12:]))
	if offset >= int64(len(data)) {
		return m, corrupt("icon image beyond the end of the file")
	}
	data = data[offset:min(offset+size, int64(len(data)))]
	if contentType, _ := Sniff(data); contentType == typePNG {
		var h header
		if err := h.readPNG(data); err != nil {
			return m, err
		}
		return icon{png: data, area: h.pixels(), depth: h.png.BitsPerPixel()}, nil
	}
	m.dib, err = readDIB(data, math.MaxInt64)
	if err != nil {
		return m, err
	}
	d := &m.dib
	if d.encoding > dibRLE {
		return m, corrupt("icon with an embedded picture")
	}
	d.icon = true
	// The height counts the rows of pixels and of the mask, except in files of some programs.
	if int(entry[1]) != d.height || int64(len(d.pixels)) < d.stride()*int64(d.height) {
		d.height /= 2
	}
	if d.height == 0 {
		return m, corrupt("icon of height 0")
	}
	if d.bits == 32 && d.masks[3] == 0 {
		d.masks[3] = ^(d.masks[0] | d.masks[1] | d.masks[2])
	}
	return icon{dib: m.dib, area: int64(d.width) * int64(d.height), depth: d.bits}, nil
}

// applyMask makes the pixels transparent whose bit is set in the mask behind the pixels. An image with alpha needs no
// mask. The mask's pixels that invert the screen are transparent too.
func (d *dib) applyMask(canvas plane) {
	if d.bits == 32 && hasAlpha(canvas.pix) {
		return
	}
	for i := 3; i < len(canvas.pix); i += 4 {
		canvas.pix[i] = 255
	}
	start := d.stride() * int64(d.height)
	if d.encoding == dibRLE || start > int64(len(d.pixels)) {
		return
	}
	mask := d.pixels[start:]
	stride := (d.width + 31) / 32 * 4
	for y := 0; y < d.height && len(mask) >= stride; y, mask = y+1, mask[stride:] {
		row := d.row(canvas, y)
		for x := range d.width {
			if mask[x/8]>>(7-x%8)&1 != 0 {
				clear(row[4*x:][:4])
			}
		}
	}
}

// hasAlpha reports whether any RGBA pixel is not entirely transparent.
func hasAlpha(pix []byte) bool {
	for i := 3; i < len(pix); i += 4 {
		if pix[i] != 0 {
			return true
		}
	}
	return false
}
