package heif

import (
	"context"
	"io"
)

// A span is a range of bytes in the file.
type span struct{ start, length int64 }

// spans returns the ranges of an item's data, which are all within the file, and their total length.
func (f *File) spans(it *item) (spans []span, total int64, err error) {
	if it.inaccessible {
		return nil, 0, unsupported("item %d is encrypted or in another file", it.id)
	}
	place := span{0, f.src.size}
	switch it.method {
	case 0:
	case 1:
		if f.idat.kind == "" || f.idat.end > f.src.size {
			return nil, 0, corrupt("item %d is in a box that is missing", it.id)
		}
		place = span{f.idat.start, f.idat.end - f.idat.start}
	default:
		return nil, 0, unsupported("construction method %d", it.method)
	}
	for _, e := range it.extents {
		if e.offset > uint64(place.length) || e.length > uint64(place.length)-e.offset {
			return nil, 0, corrupt("item %d is beyond the file", it.id)
		}
		s := span{place.start + int64(e.offset), int64(e.length)}
		if s.length == 0 {
			s.length = place.length - int64(e.offset)
		}
		if total += s.length; total > maxCoded {
			return nil, 0, tooLarge("item %d has more than %d bytes", it.id, int64(maxCoded))
		}
		spans = append(spans, s)
	}
	if total == 0 {
		return nil, 0, corrupt("item %d is empty", it.id)
	}
	return spans, total, nil
}

// readItem returns the data of an item, or its first limit bytes.
func (f *File) readItem(ctx context.Context, it *item, limit int64) ([]byte, error) {
	spans, total, err := f.spans(it)
	if err != nil {
		return nil, err
	}
	data := make([]byte, min(total, limit))
	_, err = io.ReadFull(&itemReader{ctx: ctx, src: &f.src, spans: spans}, data)
	return data, err
}

// An itemReader reads the data of an item.
type itemReader struct {
	ctx   context.Context
	src   *source
	spans []span
}

// maxRead is the number of bytes read at once; the context is checked between reads.
const maxRead = 1 << 20

func (r *itemReader) Read(p []byte) (int, error) {
	if len(r.spans) == 0 {
		return 0, io.EOF
	}
	s := &r.spans[0]
	p = p[:min(int64(len(p)), s.length, maxRead)]
	if err := r.src.read(r.ctx, p, s.start); err != nil {
		return 0, err
	}
	s.start += int64(len(p))
	if s.length -= int64(len(p)); s.length == 0 {
		r.spans = r.spans[1:]
	}
	return len(p), nil
}

// A description holds the properties of an item (ISO/IEC 23008-12, 6.5).
type description struct {
	width, height int // 0 if not specified
	config        int // index of the decoder configuration; 0 is none
	codec         Codec
	icc           box // its kind is "" if there is none
	cicp          *cicp
	auxiliary     string
	transforms    []transform // in the order of application
}

// A transform is a transformative property: it crops, rotates or mirrors the picture.
type transform struct {
	kind  string // clap, irot or imir
	turn  int    // irot: quarter turns, anticlockwise; imir: 0 exchanges top and bottom, 1 left and right
	clean clean
}

// A clean aperture is the part of a picture to show: its size, and the offset of its centre from that of the picture, as
// fractions.
type clean struct{ width, widthBy, height, heightBy, x, xBy, y, yBy uint32 }

const maxProperty = 1024 // bytes of a property, except profiles and decoder configurations

// changes reports whether t has an effect.
func (t transform) changes() bool { return t.kind != "irot" || t.turn != 0 }

// describe reads the properties of an item. It ignores those that do not affect the decoded picture.
func (f *File) describe(ctx context.Context, it *item) (d description, err error) {
	for _, a := range it.properties {
		if a.index > len(f.properties) {
			return d, corrupt("property %d of %d", a.index, len(f.properties))
		}
		p := f.properties[a.index-1]
		switch p.kind {
		case "hvcC", "av1C":
			if d.config == 0 {
				d.config, d.codec = a.index, HEVC
				if p.kind == "av1C" {
					d.codec = AV1
				}
			}
		case "ispe", "irot", "imir", "clap", "auxC", "a1op", "lsel":
			if p.end-p.start > maxProperty {
				return d, corrupt("%s has %d bytes", p.kind, p.end-p.start)
			}
			data, err := f.src.peek(ctx, p.start, int(p.end-p.start))
			if err != nil {
				return d, err
			}
			if err := d.readProperty(p.kind, &cursor{data: data}); err != nil {
				return d, err
			}
		case "colr":
			if err := f.readColour(ctx, p, &d); err != nil {
				return d, err
			}
		case "pixi", "pasp", "rloc", "jpgC", "lhvC", "a1lx", "clli", "mdcv", "cclv", "amve", "free", "skip", "uuid":
		default:
			if a.essential {
				return d, unsupported("property %q", p.kind)
			}
		}
	}
	return d, nil
}

func (d *description) readProperty(kind string, c *cursor) error {
	switch kind {
	case "ispe":
		c.fullBox()
		w, h := c.u32(), c.u32()
		if err := checkSize(uint64(w), uint64(h)); err != nil {
			return err
		}
		d.width, d.height = int(w), int(h)
	case "irot":
		d.transforms = append(d.transforms, transform{kind: kind, turn: int(c.u8() & 3)})
	case "imir":
		d.transforms = append(d.transforms, transform{kind: kind, turn: int(c.u8() & 1)})
	case "clap":
		d.transforms = append(d.transforms, transform{kind: kind, clean: clean{
			c.u32(), c.u32(), c.u32(), c.u32(), c.u32(), c.u32(), c.u32(), c.u32(),
		}})
	case "auxC":
		c.fullBox()
		name := c.data
		for i, b := range name {
			if b == 0 {
				name = name[:i]
				break
			}
		}
		d.auxiliary = string(name)
	case "a1op": // selects one of several layered pictures in the item
		if op := c.u8(); op != 0 {
			return unsupported("operating point %d", op)
		}
	case "lsel":
		if layer := c.u16(); layer != 0xffff {
			return unsupported("layer %d", layer)
		}
	}
	return c.end(kind)
}

// checkSize returns an error if w x h is no valid size of a picture.
func checkSize(w, h uint64) error {
	switch {
	case w == 0 || h == 0:
		return corrupt("%d x %d pixels", w, h)
	case w > maxEdge || h > maxEdge:
		return tooLarge("%d x %d pixels", w, h)
	}
	return nil
}

// isAlpha reports whether the described item is the transparency of another.
func (d *description) isAlpha() bool {
	switch d.auxiliary {
	case "urn:mpeg:hevc:2015:auxid:1", "urn:mpeg:mpegB:cicp:systems:auxiliary:alpha":
		return true
	}
	return false
}

// readColour reads a colr property: the code points of the colours, or the place of a profile.
func (f *File) readColour(ctx context.Context, p box, d *description) error {
	if p.end-p.start < 4 || p.end > f.src.size {
		return corrupt("colr has %d bytes", p.end-p.start)
	}
	head, err := f.src.peek(ctx, p.start, int(min(11, p.end-p.start)))
	if err != nil {
		return err
	}
	c := cursor{data: head}
	switch c.str(4) {
	case "prof", "rICC":
		if p.start += 4; p.end-p.start <= maxProfile && d.icc.kind == "" {
			d.icc = p
		}
	case "nclx":
		if d.cicp == nil {
			d.cicp = &cicp{c.u16(), c.u16(), c.u16(), c.u8()>>7 != 0}
		}
		return c.end("colr")
	}
	return nil
}
