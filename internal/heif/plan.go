package heif

import (
	"context"
	"errors"
	"slices"
)

// A Plan says how to decode the picture of a file at a wanted size. Either JPEG is set and is the whole picture, or Colour and
// perhaps Alpha are set, for ffmpeg and then [Plan.Assemble].
type Plan struct {
	Width, Height int     // of the picture that Assemble returns, or of the JPEG as shown
	Colour        *Stream // the coded picture
	Alpha         *Stream // its transparency, nil if it is opaque
	JPEG          []byte  // a complete file with EXIF orientation and profile
	Profile       []byte  // the ICC profile of the RGB samples; nil means sRGB

	colours       conversion
	shown         rectangle // the visible pixels of the joined frames
	orientation   orientation
	premultiplied bool
	colourTiles   mosaic
	alphaTiles    mosaic
}

// Bytes returns the memory in bytes that the raw frames and the picture need together.
func (p *Plan) Bytes() int64 {
	n := int64(len(p.JPEG)) + 4*int64(p.Width)*int64(p.Height)
	for _, s := range []*Stream{p.Colour, p.Alpha} {
		if s != nil {
			n += s.Output
		}
	}
	return n
}

// maxReduction is the largest factor by which ffmpeg reduces frames.
const maxReduction = 16

// Plan returns the plan for a picture whose longest edge will be scaled to wanted pixels; 0 means the full size. It chooses an
// embedded thumbnail if that is large enough. ffmpeg reduces larger pictures by a whole factor, to no less than twice the wanted
// edge, as package render reduces JPEG. Plan reads no coded data except JPEG and the headers of AV1 items.
func (f *File) Plan(ctx context.Context, wanted int) (*Plan, error) {
	primary, err := f.resolve(ctx, f.items[f.primary], 0)
	if err != nil {
		return nil, err
	}
	alpha, err := f.alphaOf(ctx, primary)
	if err != nil {
		return nil, err
	}
	if wanted > 0 {
		best, bestAlpha, err := f.thumbnail(ctx, wanted, primary, alpha)
		if err != nil {
			return nil, err
		}
		if best != nil {
			if plan, err := f.plan(ctx, wanted, best, bestAlpha); !isVerdict(err) {
				return plan, err
			}
		}
	}
	return f.plan(ctx, wanted, primary, alpha)
}

// thumbnail returns the smallest sufficient thumbnail of a picture and its transparency, or nil. Thumbnails with another shape,
// orientation or without the transparency do not count: some writers forget to rotate them.
func (f *File) thumbnail(ctx context.Context, wanted int, of, ofAlpha *picture) (best, bestAlpha *picture, err error) {
	for i, it := range f.referring("thmb", of.item.id) {
		if i == maxThumbnails {
			break
		}
		thumb, err := f.resolve(ctx, it, 0)
		var alpha *picture
		if err == nil {
			alpha, err = f.alphaOf(ctx, thumb)
		}
		if isVerdict(err) {
			continue // use the picture itself
		}
		if err != nil {
			return nil, nil, err
		}
		if thumb.view.longest() < wanted || thumb.view.longest() > of.view.longest() ||
			best != nil && thumb.view.longest() >= best.view.longest() ||
			!thumb.view.looksLike(of.view) || (alpha == nil) != (ofAlpha == nil) {
			continue
		}
		if thumb.icc.kind == "" && thumb.cicp == nil { // libheif writes none for thumbnails
			thumb.icc, thumb.cicp = of.icc, of.cicp
		}
		best, bestAlpha = thumb, alpha
	}
	return best, bestAlpha, nil
}

const maxThumbnails = 8 // considered for one picture

// isVerdict reports whether an error is about the file.
func isVerdict(err error) bool {
	return errors.Is(err, ErrUnsupported) || errors.Is(err, ErrCorrupt) || errors.Is(err, ErrTooLarge)
}

// A picture is an item with its properties and its tiles.
type picture struct {
	item *item
	description
	tiles      []coded // from left to right and from top to bottom; none for a JPEG
	inputs     []*item // the items of the tiles
	cols, rows int
	view       view
}

// resolve reads the properties and the tiles of an item.
func (f *File) resolve(ctx context.Context, it *item, depth int) (*picture, error) {
	d, err := f.describe(ctx, it)
	if err != nil {
		return nil, err
	}
	p := &picture{item: it, description: d, cols: 1, rows: 1}
	switch it.kind {
	case "hvc1", "av01":
		c, err := f.readCoded(ctx, it, &d)
		if err != nil {
			return nil, err
		}
		// The coded picture may have a margin: codecs do not support all sizes.
		if p.width == 0 || p.width > c.width {
			p.width = c.width
		}
		if p.height == 0 || p.height > c.height {
			p.height = c.height
		}
		p.tiles, p.inputs = []coded{c}, []*item{it}
	case "grid":
		if err := f.readGrid(ctx, p); err != nil {
			return nil, err
		}
	case "iden": // an identity derivation: the input with more properties
		if depth == maxDerivations {
			return nil, corrupt("more than %d derivations", maxDerivations)
		}
		inputs, err := f.inputs(it.id)
		if err != nil {
			return nil, err
		}
		if p, err = f.resolve(ctx, inputs[0], depth+1); err != nil {
			return nil, err
		}
		p.item = it
		if d.icc.kind != "" || d.cicp != nil {
			p.icc, p.cicp = d.icc, d.cicp
		}
		p.auxiliary = d.auxiliary
		p.transforms = append(p.transforms, d.transforms...)
		return p, p.view.apply(d.transforms)
	case "jpeg":
		if p.width == 0 {
			return nil, corrupt("a JPEG of unknown size")
		}
	default:
		return nil, unsupported("items of type %q", it.kind)
	}
	p.view = newView(p.width, p.height)
	return p, p.view.apply(p.transforms)
}

const maxDerivations = 4

// readGrid reads the layout and the tiles of a grid (ISO/IEC 23008-12, 6.6.2.3).
func (f *File) readGrid(ctx context.Context, p *picture) error {
	data, err := f.readItem(ctx, p.item, 12)
	if err != nil {
		return err
	}
	c := cursor{data: data}
	version, flags := c.u8(), c.u8()
	p.rows, p.cols = int(c.u8())+1, int(c.u8())+1
	size := 2
	if flags&1 != 0 {
		size = 4
	}
	width, height := c.number(size), c.number(size)
	if err := c.end("grid"); err != nil {
		return err
	}
	if version != 0 {
		return unsupported("grid of version %d", version)
	}
	if err := checkSize(width, height); err != nil {
		return err
	}
	p.width, p.height = int(width), int(height)
	if p.inputs, err = f.inputs(p.item.id); err != nil {
		return err
	}
	if len(p.inputs) != p.cols*p.rows {
		return corrupt("%d tiles for %d x %d", len(p.inputs), p.cols, p.rows)
	}
	return f.readTiles(ctx, p)
}

// readTiles reads the properties of the tiles in p.inputs, which must have the same codec, size and format.
func (f *File) readTiles(ctx context.Context, p *picture) error {
	for i, it := range p.inputs {
		d, err := f.describe(ctx, it)
		if err != nil {
			return err
		}
		if it.kind != "hvc1" && it.kind != "av01" {
			return unsupported("tiles of type %q", it.kind)
		}
		// libavif before version 1.0 repeats the transforms of the grid in each tile, and no reader applies those.
		if !slices.Equal(d.transforms, p.transforms) && slices.ContainsFunc(d.transforms, transform.changes) {
			return unsupported("a tile that is turned or cut")
		}
		t, err := f.readCoded(ctx, it, &d)
		if err != nil {
			return err
		}
		if i == 0 {
			p.codec = d.codec
			if p.icc.kind == "" && p.cicp == nil {
				p.icc = d.icc
			}
			if p.cicp == nil {
				p.cicp = d.cicp
			}
		} else if first := p.tiles[0]; d.codec != p.codec || t.width != first.width || t.height != first.height ||
			t.depth != first.depth || t.mono != first.mono || t.halfWidth != first.halfWidth || t.halfHeight != first.halfHeight {
			return unsupported("tiles that differ")
		}
		p.tiles = append(p.tiles, t)
	}
	first := p.tiles[0]
	if int64(first.width)*int64(p.cols) < int64(p.width) || int64(first.height)*int64(p.rows) < int64(p.height) {
		return corrupt("tiles of %d x %d pixels for %d x %d", first.width, first.height, p.width, p.height)
	}
	return nil
}

// alphaOf returns the transparency of a picture, or nil. In some files each tile of a grid has one, and not the grid.
func (f *File) alphaOf(ctx context.Context, p *picture) (*picture, error) {
	it, err := f.alphaItem(ctx, p.item)
	if err != nil {
		return nil, err
	}
	if it != nil {
		alpha, err := f.resolve(ctx, it, 0)
		if err != nil {
			return nil, err
		}
		// Some writers repeat the transforms of the picture; others rely on it.
		if len(alpha.transforms) > 0 && !alpha.view.looksLike(p.view) {
			return nil, unsupported("transparency that is turned otherwise")
		}
		return alpha, nil
	}
	if p.item.kind != "grid" {
		return nil, nil
	}
	alpha := &picture{item: p.item, cols: p.cols, rows: p.rows}
	alpha.width, alpha.height, alpha.view = p.width, p.height, newView(p.width, p.height)
	alpha.transforms = p.transforms
	for _, tile := range p.inputs {
		it, err := f.alphaItem(ctx, tile)
		if err != nil || it == nil {
			return nil, err
		}
		alpha.inputs = append(alpha.inputs, it)
	}
	return alpha, f.readTiles(ctx, alpha)
}

// alphaItem returns the item that is the transparency of another, or nil.
func (f *File) alphaItem(ctx context.Context, of *item) (*item, error) {
	for i, it := range f.referring("auxl", of.id) {
		if i == maxAuxiliaries {
			break
		}
		d, err := f.describe(ctx, it)
		if err != nil && !isVerdict(err) {
			return nil, err
		}
		if d.isAlpha() {
			return it, err
		}
	}
	return nil, nil
}

const maxAuxiliaries = 16 // considered for one item; depth maps, gain maps and mattes are others

// plan returns the plan for a picture.
func (f *File) plan(ctx context.Context, wanted int, p, alpha *picture) (*Plan, error) {
	plan := &Plan{Width: p.view.width, Height: p.view.height, orientation: p.view.orientation}
	var err error
	if p.icc.kind != "" {
		if plan.Profile, err = f.src.load(ctx, p.icc, maxProfile); err != nil {
			return nil, err
		}
	}
	if len(p.tiles) == 0 {
		if alpha != nil || p.view.cropped {
			return nil, unsupported("JPEG with transparency or cropped")
		}
		return plan, f.readJPEG(ctx, p, plan)
	}
	reduction := 1
	if wanted > 0 {
		reduction = max(1, min(p.view.longest()/wanted/2, maxReduction))
	}
	bitstream := p.tiles[0].colours
	if bitstream.matrix == matrixIdentity {
		reduction = 1 // ffmpeg would convert RGB to YUV and back
	}
	if plan.Colour, plan.colourTiles, err = f.stream(p, reduction); err != nil {
		return nil, err
	}
	colours := p.cicp.orElse(bitstream)
	first := &p.tiles[0].sequence
	if colours.matrix == matrixIdentity && first.halfWidth {
		return nil, corrupt("RGB with fewer samples of red and blue")
	}
	if plan.colours, err = colours.conversion(first.depth, first.mono); err != nil {
		return nil, err
	}
	if plan.Profile == nil {
		plan.Profile = colours.profile()
	}
	plan.shown = plan.colourTiles.reduced(p.view.rectangle())
	plan.Width, plan.Height = plan.shown.width(), plan.shown.height()
	if plan.orientation.transposes() {
		plan.Width, plan.Height = plan.Height, plan.Width
	}
	if alpha == nil {
		return plan, nil
	}
	if len(alpha.tiles) == 0 {
		return nil, unsupported("transparency as JPEG")
	}
	if alpha.tiles[0].colours.matrix == matrixIdentity {
		reduction = 1
	}
	plan.Alpha, plan.alphaTiles, err = f.stream(alpha, reduction)
	for _, ref := range f.references {
		if ref.kind == "prem" && ref.from == p.item.id {
			plan.premultiplied = true
		}
	}
	return plan, err
}

// stream returns the stream of a picture's tiles, reduced by a factor, and the layout of its frames.
func (f *File) stream(p *picture, reduction int) (*Stream, mosaic, error) {
	first := p.tiles[0]
	total := int64(0)
	for _, t := range p.tiles {
		_, n, err := f.spans(t.item)
		if err != nil {
			return nil, mosaic{}, err
		}
		if total += n; total > maxCoded {
			return nil, mosaic{}, tooLarge("more than %d coded bytes", int64(maxCoded))
		}
	}
	n := int64(len(p.tiles))
	if n*int64(first.width)*int64(first.height) > maxPixels {
		return nil, mosaic{}, tooLarge("%d tiles of %d x %d pixels", n, first.width, first.height)
	}
	width, height := (first.width+reduction-1)/reduction, (first.height+reduction-1)/reduction
	if n*int64(width)*int64(height) > maxOutput {
		return nil, mosaic{}, tooLarge("%d tiles of %d x %d pixels", n, width, height)
	}
	s, err := f.newStream(p.codec, p.tiles, width, height)
	if err != nil {
		return nil, mosaic{}, err
	}
	m := mosaic{
		frame: s.frame, cols: p.cols, rows: p.rows, width: p.width, height: p.height,
		codedWidth: first.width, codedHeight: first.height,
	}
	return s, m, nil
}
