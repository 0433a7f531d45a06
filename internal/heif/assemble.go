package heif

import "image"

// A mosaic is the layout of a picture that is made of frames of one size.
type mosaic struct {
	frame
	cols, rows              int
	width, height           int // of the picture, in coded pixels: the last tiles may reach beyond it
	codedWidth, codedHeight int // of a frame before ffmpeg reduced it
}

// reduced converts a rectangle of coded pixels to the pixels of the reduced frames that lie in it entirely.
func (m *mosaic) reduced(r rectangle) rectangle {
	scale := func(x, num, den, most int) (down, up int) {
		down = min(int(int64(x)*int64(num)/int64(den)), most)
		up = min(int((int64(x)*int64(num)+int64(den)-1)/int64(den)), most)
		return down, up
	}
	between := func(from, to, num, den, count int) (int, int) {
		_, low := scale(from, num, den, num*count-1)
		high, _ := scale(to, num, den, num*count)
		return low, max(high, low+1)
	}
	r.left, r.right = between(r.left, r.right, m.frame.width, m.codedWidth, m.cols)
	r.top, r.bottom = between(r.top, r.bottom, m.frame.height, m.codedHeight, m.rows)
	return r
}

// Assemble makes the picture from the raw frames that ffmpeg wrote for p.Colour and, if that is set, for p.Alpha. It fails with
// ErrCorrupt if their lengths are not those in [Stream.Output].
func (p *Plan) Assemble(colour, alpha []byte) (*image.NRGBA, error) {
	if p.Colour == nil {
		return nil, unsupported("no frames")
	}
	if int64(len(colour)) != p.Colour.Output {
		return nil, corrupt("%d bytes of frames, and not %d", len(colour), p.Colour.Output)
	}
	if p.Alpha != nil && int64(len(alpha)) != p.Alpha.Output {
		return nil, corrupt("%d bytes of transparency, and not %d", len(alpha), p.Alpha.Output)
	}
	img := image.NewNRGBA(image.Rect(0, 0, p.Width, p.Height))
	// The offsets in img.Pix of a step to the right, and of one down, in the coded picture.
	o := p.orientation
	right := 4*o.rightX + img.Stride*o.downX
	down := 4*o.rightY + img.Stride*o.downY
	start := 0
	if right < 0 {
		start -= right * (p.shown.width() - 1)
	}
	if down < 0 {
		start -= down * (p.shown.height() - 1)
	}
	g := lineMaker{plan: p, colour: colour, alpha: alpha}
	g.init()
	for y := p.shown.top; y < p.shown.bottom; y++ {
		line := g.line(y)[4*p.shown.left : 4*p.shown.right]
		if right == 4 {
			copy(img.Pix[start:], line)
		} else {
			for i, at := 0, start; i < len(line); i, at = i+4, at+right {
				copy(img.Pix[at:at+4], line[i:i+4])
			}
		}
		start += down
	}
	return img, nil
}

// A lineMaker makes RGBA lines of the picture from frames.
type lineMaker struct {
	plan          *Plan
	colour, alpha []byte
	pix           []byte  // the current line
	luma          []int32 // of one tile
	blue, red     []int32 // the same, multiplied by chromaSteps
	columns       []int   // the column of the transparency for each pixel of the line
}

func (g *lineMaker) init() {
	m := &g.plan.colourTiles
	g.pix = make([]byte, 4*m.cols*m.frame.width)
	g.luma = make([]int32, m.frame.width)
	g.blue = make([]int32, m.frame.width)
	g.red = make([]int32, m.frame.width)
	if g.plan.Alpha != nil {
		a := &g.plan.alphaTiles
		g.columns = make([]int, m.cols*m.frame.width)
		for x := range g.columns {
			g.columns[x] = axis{m.frame.width, m.codedWidth, m.width}.indexIn(axis{a.frame.width, a.codedWidth, a.width}, x)
		}
	}
}

// An axis holds the width of a frame as ffmpeg returned it, that of a coded tile, and that of the picture; or the heights.
type axis struct{ reduced, coded, shown int }

// indexIn returns the column (or row) of the transparency, whose axis is alpha, at column (or row) x of the colours.
func (a axis) indexIn(alpha axis, x int) int {
	at := (float64(x) + 0.5) * float64(a.coded) / float64(a.reduced) / float64(a.shown) // as a fraction of the whole
	return int(min(at, 1) * float64(alpha.shown) * float64(alpha.reduced) / float64(alpha.coded) * (1 - 1e-9))
}

// line returns line y of the coded picture. It is valid until the next call.
func (g *lineMaker) line(y int) []byte {
	p := g.plan
	m := &p.colourTiles
	w := m.frame.width
	row, inTile := y/m.frame.height, y%m.frame.height
	for col := range m.cols {
		frame := g.colour[int64(row*m.cols+col)*m.frame.size:][:m.frame.size]
		m.lumaLine(frame, inTile, g.luma)
		pix := g.pix[4*col*w:][:4*w]
		if m.chromaWidth == 0 {
			convertGrey(pix, g.luma, p.colours)
			continue
		}
		m.chromaLine(frame, 0, inTile, g.blue)
		m.chromaLine(frame, 1, inTile, g.red)
		convert(pix, g.luma, g.blue, g.red, p.colours)
	}
	if p.Alpha != nil {
		g.addAlpha(y)
	}
	return g.pix
}

// addAlpha sets the transparency of line y.
func (g *lineMaker) addAlpha(y int) {
	m, a := &g.plan.colourTiles, &g.plan.alphaTiles
	y = axis{m.frame.height, m.codedHeight, m.height}.indexIn(axis{a.frame.height, a.codedHeight, a.height}, y)
	first := y / a.frame.height * a.cols
	inTile := int64(y % a.frame.height)
	for x, ax := range g.columns {
		tile := g.alpha[int64(first+ax/a.frame.width)*a.frame.size:]
		v := a.sampleAt(tile, inTile*int64(a.frame.width)+int64(ax%a.frame.width))
		p := g.pix[4*x:][:4]
		p[3] = byte((v*255 + (1<<a.depth-1)/2) / (1<<a.depth - 1))
		if g.plan.premultiplied {
			unmultiply(p)
		}
	}
}

// unmultiply divides the colour of a pixel by its alpha.
func unmultiply(p []byte) {
	a := int(p[3])
	if a == 0 || a == 255 {
		return
	}
	for i := range 3 {
		p[i] = byte(min(255, (int(p[i])*255+a/2)/a))
	}
}

// sampleAt returns sample i of a plane.
func (f *frame) sampleAt(samples []byte, i int64) int {
	if f.sample == 1 {
		return int(samples[i])
	}
	return min(int(samples[2*i])|int(samples[2*i+1])<<8, 1<<f.depth-1)
}

// lumaLine fills dst with line y of the luma of a frame.
func (f *frame) lumaLine(data []byte, y int, dst []int32) {
	f.unpack(data[f.sample*y*f.width:], dst)
}

func (f *frame) unpack(data []byte, dst []int32) {
	if f.sample == 1 {
		for i, v := range data[:len(dst)] {
			dst[i] = int32(v)
		}
		return
	}
	most := int32(1)<<f.depth - 1
	data = data[:2*len(dst)]
	for i := range dst {
		dst[i] = min(int32(data[2*i])|int32(data[2*i+1])<<8, most)
	}
}

// chromaLine fills dst with line y of a chroma plane, multiplied by chromaSteps. Subsampled chroma is interpolated linearly; its
// samples are taken to be in the middle of the pixels that share them.
func (f *frame) chromaLine(data []byte, plane, y int, dst []int32) {
	data = data[f.sample*(f.width*f.height+plane*f.chromaWidth*f.chromaHeight):]
	row := func(y int) []byte {
		y = max(0, min(y, f.chromaHeight-1))
		return data[f.sample*y*f.chromaWidth:]
	}
	near, far := row(y), row(y)
	if f.halfHeight {
		near, far = row(y/2), row(y/2-1+y%2*2)
	}

	at := func(i int) int32 { // column i: three quarters of the nearer line, one of the other, times 4
		return 3*int32(f.sampleAt(near, int64(i))) + int32(f.sampleAt(far, int64(i)))
	}
	if !f.halfWidth {
		for i := range dst {
			dst[i] = chromaSteps / 4 * at(i)
		}
		return
	}
	last := at(0)
	this := last
	for i := range f.chromaWidth {
		next := this
		if i+1 < f.chromaWidth {
			next = at(i + 1)
		}
		dst[2*i] = 3*this + last
		if 2*i+1 < len(dst) {
			dst[2*i+1] = 3*this + next
		}
		last, this = this, next
	}
}

// convert converts samples to opaque RGBA pixels.
func convert(pix []byte, luma, blue, red []int32, c conversion) {
	blue, red = blue[:len(luma)], red[:len(luma)]
	for i, y := range luma {
		b, r := blue[i], red[i]
		p := pix[4*i:][:4]
		p[0] = clamp(c[0].luma*y + c[0].blue*b + c[0].red*r + c[0].offset)
		p[1] = clamp(c[1].luma*y + c[1].blue*b + c[1].red*r + c[1].offset)
		p[2] = clamp(c[2].luma*y + c[2].blue*b + c[2].red*r + c[2].offset)
		p[3] = 255
	}
}

// convertGrey converts samples of luma without chroma to opaque RGBA pixels.
func convertGrey(pix []byte, luma []int32, c conversion) {
	for i, y := range luma {
		p := pix[4*i:][:4]
		v := clamp(c[0].luma*y + c[0].offset)
		p[0], p[1], p[2], p[3] = v, v, v, 255
	}
}

// clamp rounds a sum of a conversion to a byte.
func clamp(v int32) byte { return byte(max(0, min(v>>fraction, 255))) }
