package tiff

import (
	"fmt"
	"io"
	"math"
)

const (
	tagNewSubfileType  = 254
	tagSubfileType     = 255
	tagWidth           = 256
	tagLength          = 257
	tagBitsPerSample   = 258
	tagCompression     = 259
	tagPhotometric     = 262
	tagFillOrder       = 266
	tagStripOffsets    = 273
	tagOrientation     = 274
	tagSamplesPerPixel = 277
	tagRowsPerStrip    = 278
	tagStripByteCounts = 279
	tagPlanarConfig    = 284
	tagT4Options       = 292
	tagT6Options       = 293
	tagPredictor       = 317
	tagWhitePoint      = 318
	tagColorMap        = 320
	tagTileWidth       = 322
	tagTileLength      = 323
	tagTileOffsets     = 324
	tagTileByteCounts  = 325
	tagSubIFDs         = 330
	tagInkSet          = 332
	tagNumberOfInks    = 334
	tagDotRange        = 336
	tagExtraSamples    = 338
	tagSampleFormat    = 339
	tagSMinSampleValue = 340
	tagSMaxSampleValue = 341
	tagIndexed         = 346
	tagJPEGTables      = 347
	tagJPEGProc        = 512
	tagJPEGStream      = 513
	tagJPEGLength      = 514
	tagJPEGRestart     = 515
	tagJPEGQTables     = 519
	tagJPEGDCTables    = 520
	tagJPEGACTables    = 521
	tagYCbCrCoeffs     = 529
	tagYCbCrSampling   = 530
	tagReferenceBW     = 532
	tagMatteing        = 32995 // associated alpha, before ExtraSamples came
	tagICC             = 34675
	tagDNGVersion      = 50706
)

// Values of the Compression field.
const (
	compNone       = 1
	compRLE        = 2 // modified Huffman: T.4 rows that begin at a byte
	compG3         = 3
	compG4         = 4
	compLZW        = 5
	compOldJPEG    = 6
	compJPEG       = 7
	compDeflate    = 8
	compPackBits   = 32773
	compOldDeflate = 32946
)

// compressionName returns the name of a compression that is not decoded here.
func compressionName(compression int) string {
	switch compression {
	case 9, 10:
		return "JBIG"
	case 32766:
		return "NeXT RLE"
	case 32771:
		return "CCITT RLE of whole words"
	case 32809:
		return "ThunderScan"
	case 33003, 33004, 33005, 34712:
		return "JPEG 2000"
	case 34661:
		return "JBIG"
	case 34676, 34677:
		return "LogLuv"
	case 34887:
		return "LERC"
	case 34892:
		return "lossy JPEG of a DNG"
	case 34925:
		return "LZMA"
	case 34926, 50000:
		return "Zstandard"
	case 34927, 50001:
		return "WebP"
	case 34933:
		return "PNG"
	case 34934, 22610:
		return "JPEG XR"
	case 50002, 52546:
		return "JPEG XL"
	}
	return "unknown"
}

// Values of the PhotometricInterpretation field.
const (
	whiteIsZero = 0
	blackIsZero = 1
	photoRGB    = 2
	palette     = 3
	mask        = 4
	separated   = 5
	photoYCbCr  = 6
	cieLab      = 8
	iccLab      = 9
)

// Values of the SampleFormat field.
const (
	formatUint  = 1
	formatInt   = 2
	formatFloat = 3
)

// An alpha says what the sample after the colours is.
type alpha uint8

const (
	opaque       alpha = iota
	associated         // the colours are multiplied by it
	unassociated       // they are not
)

const (
	maxPixels  = 1 << 44  // pixels of a picture; keeps numbers of bytes within an int64
	maxSamples = 256      // samples of a pixel; pictures from satellites have up to 240
	maxICC     = 4 << 20  // bytes of a colour profile; profiles of printers have up to 2.5 MB
	maxTables  = 64 << 10 // bytes of JPEGTables; all eight tables take 2 KB
)

// A Header describes the picture of a file.
type Header struct {
	Width, Height int    // before Orientation is applied
	Orientation   int    // 1 to 8, as in EXIF
	Gray          bool   // Decode returns *image.Gray
	CMYK          bool   // Decode returns *image.CMYK, or calls Options.Inks
	ICC           []byte // profile of the colours that Decode returns; nil means sRGB, or CMYK without a profile

	work     int64 // bytes that decoding takes besides the result
	blockW   int
	tileRows int // of a tile, 0 for strips
}

// Cost returns how many bytes [Decode] allocates at most.
func (h Header) Cost(o Options) int64 {
	size := int64(4)
	if h.Gray {
		size = 1
	}
	scale := o.scale()
	w, n := int64(ceilDiv(h.Width, scale)), int64(ceilDiv(h.Height, scale))
	cost := h.work + size*w*n
	if scale > 1 {
		cost += size*int64(h.blockW) + 4*size*w*int64(h.bandRows(scale)) + 3*page
	}
	return cost
}

// page is what the allocator rounds large sizes up to.
const page = 8 << 10

// Config returns the header of the picture that [Decode] decodes. It reads only tables, and allocates little.
//
// The error is [ErrUnsupported], [ErrCorrupt], or that of r.
func Config(r io.ReaderAt, size int64) (Header, error) {
	p, err := open(r, size)
	if err != nil {
		return Header{}, err
	}
	h := p.header()
	if field, ok := p.dir.Find(tagICC); ok && p.carriesICC() {
		h.ICC = field.Bytes(maxICC)
	}
	return h, p.file.err
}

// A photo is the picture of a file, with the way it is stored.
type photo struct {
	file *File
	dir  Directory

	width, height int
	orientation   int
	compression   int
	photometric   int
	bits          int // of a sample
	samples       int // of a pixel
	format        int // of a sample
	planar        bool
	predictor     int
	reversed      bool // the first pixel is in the lowest bit (FillOrder 2)

	colours  int // the first samples of a pixel, which are its colour
	alpha    alpha
	guessed  bool    // nothing says that there is alpha
	inverted bool    // DotRange says that 0 is full ink
	low, top float64 // floats that are black and white
	sub      [2]int  // YCbCr subsampling
	fax      faxOptions
	colorMap []uint16 // red, green and blue of each index

	// Blocks are strips or tiles. The picture's edge may cut off the last ones of a row or column.
	blockW, blockH int
	tiled          bool
	across, down   int64
	offsets        Field
	counts         Field // zero if the file lacks it

	stream    [2]int64 // offset and length of the JPEG stream that is the whole picture
	tables    []byte   // JPEG segments that all blocks share
	bare      bool     // blocks are scans without any segments (compression 6)
	jpegCost  int64    // most that decoding one JPEG block takes
	jpegBytes int64    // of the longest of them, with the tables
}

func unsupported(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrUnsupported}, args...)...)
}

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrCorrupt}, args...)...)
}

// open chooses the picture of a file, and reads the way it is stored.
func open(r io.ReaderAt, size int64) (*photo, error) {
	f, err := Open(r, size)
	if err != nil {
		return nil, err
	}
	if m := f.peek(8, 4); f.magic == 42 && string(m) == "CR\x02\x00" && f.first >= 16 {
		return nil, unsupported("Canon RAW photo")
	}
	dir, err := f.choose()
	if err != nil {
		return nil, err
	}
	p := &photo{file: f, dir: dir}
	err = p.read()
	if f.err != nil {
		return nil, f.err
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// choose returns the directory of the first full picture, or of the largest if all are reduced.
func (f *File) choose() (best Directory, err error) {
	var largest uint64
	found := false
	for d := range f.Directories(f.first, true) {
		if d.Has(tagDNGVersion) {
			return d, unsupported("DNG photo")
		}
		w, h := d.Uint(tagWidth, 0), d.Uint(tagLength, 0)
		if w == 0 || h == 0 || w > math.MaxInt32 || h > math.MaxInt32 || d.Uint(tagPhotometric, 0) == mask {
			continue
		}
		kind := d.Uint(tagNewSubfileType, 0)
		if kind&4 != 0 {
			continue // a mask
		}
		if kind&1 == 0 && d.Uint(tagSubfileType, 1) != 2 {
			return d, f.err
		}
		if !found || w*h > largest {
			best, largest, found = d, w*h, true
		}
	}
	if f.err != nil {
		return best, f.err
	}
	if !found {
		return best, corrupt("no picture")
	}
	return best, nil
}

// read reads the way the picture is stored, and refuses what cannot be decoded.
func (p *photo) read() error {
	d := p.dir
	p.width, p.height = int(d.Uint(tagWidth, 0)), int(d.Uint(tagLength, 0))
	if int64(p.width)*int64(p.height) > maxPixels {
		return unsupported("%d x %d pixels", p.width, p.height)
	}
	p.orientation = small(d, tagOrientation, 1)
	if p.orientation < 1 || p.orientation > 8 {
		p.orientation = 1
	}
	p.compression = small(d, tagCompression, compNone)
	switch p.compression {
	case compNone, compRLE, compG3, compG4, compLZW, compOldJPEG, compJPEG, compDeflate, compPackBits, compOldDeflate:
	default:
		return unsupported("compression %d (%s)", p.compression, compressionName(p.compression))
	}
	otherwise := uint64(1)
	if p.compression == compOldJPEG && d.Uint(tagPhotometric, 0) == photoYCbCr {
		otherwise = 3 // some programs leave it out
	}
	p.samples = int(min(d.Uint(tagSamplesPerPixel, otherwise), math.MaxInt32))
	if p.samples < 1 || p.samples > maxSamples {
		return unsupported("%d samples", p.samples)
	}
	p.reversed = d.Uint(tagFillOrder, 1) == 2
	p.planar = d.Uint(tagPlanarConfig, 1) == 2 && p.samples > 1
	if err := p.readSamples(); err != nil {
		return err
	}
	if err := p.readPhotometric(); err != nil {
		return err
	}
	if err := p.readAlpha(); err != nil {
		return err
	}
	if p.compression == compOldJPEG {
		return p.readStream()
	}
	if err := p.readCompression(); err != nil {
		return err
	}
	if err := p.readBlocks(); err != nil {
		return err
	}
	if p.compression == compJPEG {
		return p.readJPEG()
	}
	return nil
}

// small returns the first value of a tag that should be a small number. A large one becomes math.MaxInt32.
func small(d Directory, tag uint16, otherwise int) int {
	return int(min(d.Uint(tag, uint64(otherwise)), math.MaxInt32))
}

// same returns the value that a field has for every sample, or -1 if the values differ. A field of fewer values counts
// for all samples.
func (p *photo) same(tag uint16, otherwise int) int {
	field, ok := p.dir.Find(tag)
	if !ok {
		return otherwise
	}
	first, ok := field.Uint(0)
	for i := range min(field.Count, int64(p.samples)) {
		v, valid := field.Uint(i)
		ok = ok && valid && v == first
	}
	if !ok || first > math.MaxInt32 {
		return -1
	}
	return int(first)
}

// readSamples reads the size and the format of a sample.
func (p *photo) readSamples() error {
	p.bits = p.same(tagBitsPerSample, 1)
	p.format = p.same(tagSampleFormat, formatUint)
	if p.format == 4 {
		p.format = formatUint // undefined
	}
	ok := false
	switch p.format {
	case formatUint:
		ok = p.bits >= 1 && p.bits <= 16 || p.bits == 24 || p.bits == 32 || p.bits == 64
	case formatInt:
		ok = p.bits == 8 || p.bits == 16 || p.bits == 32 || p.bits == 64
	case formatFloat:
		ok = p.bits == 16 || p.bits == 32 || p.bits == 64
	}
	if !ok {
		return unsupported("samples of %d bits in format %d", p.bits, p.format)
	}
	p.low, p.top = 0, 1
	if p.format == formatFloat {
		low, _ := p.dir.Find(tagSMinSampleValue)
		top, _ := p.dir.Find(tagSMaxSampleValue)
		a, okA := low.Float(0)
		b, okB := top.Float(0)
		if okA && okB && a < b && (a < 0 || b > 1) {
			p.low, p.top = a, b
		}
	}
	return nil
}

// readPhotometric reads what the samples of a pixel mean.
func (p *photo) readPhotometric() error {
	field, ok := p.dir.Find(tagPhotometric)
	v, valid := field.Uint(0)
	p.photometric = int(min(v, math.MaxInt32))
	if !ok || !valid {
		// It is required, but the files of some fax programs lack it.
		switch {
		case p.compression == compRLE || p.compression == compG3 || p.compression == compG4:
			p.photometric = whiteIsZero
		case p.samples == 1:
			p.photometric = blackIsZero
		default:
			return unsupported("no photometric interpretation")
		}
	}
	switch p.photometric {
	case whiteIsZero, blackIsZero:
		p.colours, ok = 1, true
	case photoRGB:
		p.colours, ok = 3, true
	case palette:
		p.colours, ok = 1, p.bits <= 8 && p.format == formatUint
		if ok && !p.readColorMap() {
			return p.file.failure()
		}
	case separated:
		p.colours = 4
		ok = p.format != formatInt && p.dir.Uint(tagInkSet, 1) == 1 && p.dir.Uint(tagNumberOfInks, 4) == 4
		if field, has := p.dir.Find(tagDotRange); has && field.Count >= 2 {
			low, _ := field.Uint(0)
			top, _ := field.Uint(1)
			p.inverted = low > top
		}
	case photoYCbCr:
		p.colours, ok = 3, p.bits == 8 && p.format == formatUint
	case cieLab, iccLab:
		p.colours, ok = 3, (p.bits == 8 || p.bits == 16) && p.format != formatFloat
	default:
		return unsupported("photometric interpretation %d", p.photometric)
	}
	if p.dir.Uint(tagIndexed, 0) == 1 && p.photometric != palette {
		ok = false
	}
	if !ok {
		return unsupported("photometric interpretation %d of %d-bit samples in format %d", p.photometric, p.bits, p.format)
	}
	if p.samples < p.colours {
		return corrupt("%d samples for photometric interpretation %d", p.samples, p.photometric)
	}
	return nil
}

// readColorMap reads the palette.
func (p *photo) readColorMap() bool {
	field, ok := p.dir.Find(tagColorMap)
	n := int64(1) << p.bits
	if !ok || field.Type != Short || field.Count < 3*n {
		return false
	}
	wide := false
	p.colorMap = make([]uint16, 3*n)
	for i := range p.colorMap {
		v, ok := field.Uint(int64(i))
		if !ok {
			return false
		}
		wide = wide || v > 255
		// The file has all reds first.
		p.colorMap[i%int(n)*3+i/int(n)] = uint16(v)
	}
	if !wide {
		// Some programs write 8-bit colours.
		for i := range p.colorMap {
			p.colorMap[i] *= 257
		}
	}
	return true
}

// readAlpha reads whether the sample after the colours is alpha.
func (p *photo) readAlpha() error {
	if p.samples == p.colours {
		return nil
	}
	field, ok := p.dir.Find(tagExtraSamples)
	v, _ := field.Uint(0)
	if !ok && p.dir.Uint(tagMatteing, 0) == 1 {
		v = 1
	} else if !ok && p.photometric == photoRGB && p.samples == 4 {
		// Some programs omit the field. Other readers treat the fourth sample as alpha then.
		p.alpha, p.guessed = unassociated, true
	}
	for i := range min(field.Count, maxSamples) {
		if w, _ := field.Uint(i); i > 0 && (w == 1 || w == 2) {
			return unsupported("alpha after other extra samples")
		}
	}
	switch v {
	case 1:
		p.alpha = associated
	case 2:
		p.alpha = unassociated
	}
	if p.format == formatInt && p.alpha != opaque {
		return unsupported("signed alpha")
	}
	return nil
}

// readCompression checks that the compression allows such samples, and reads its options.
func (p *photo) readCompression() error {
	p.sub = [2]int{1, 1}
	switch p.compression {
	case compRLE, compG3, compG4:
		if p.bits != 1 || p.samples != 1 || p.format != formatUint {
			return corrupt("facsimile data of %d samples of %d bits", p.samples, p.bits)
		}
		options := uint64(0)
		switch p.compression {
		case compG3:
			options = p.dir.Uint(tagT4Options, 0)
			p.fax.twoDimensional = options&1 != 0
		case compG4:
			options = p.dir.Uint(tagT6Options, 0)
			p.fax.twoDimensional = true
		}
		if options&2 != 0 {
			return unsupported("facsimile data in uncompressed mode")
		}
		p.fax.eol = p.compression == compG3
		p.fax.aligned = p.compression == compRLE
	case compJPEG:
		if p.bits != 8 || p.format != formatUint || p.photometric == palette {
			return unsupported("JPEG data of %d-bit samples with photometric interpretation %d", p.bits, p.photometric)
		}
		return nil
	case compLZW, compDeflate, compOldDeflate:
		p.predictor = small(p.dir, tagPredictor, 1)
		ok := false
		switch p.predictor {
		case 1:
			ok = true
		case 2:
			ok = p.bits == 8 || p.bits == 16 || p.bits == 32 || p.bits == 64
		case 3:
			ok = p.format == formatFloat
		}
		if !ok {
			return unsupported("predictor %d for %d-bit samples in format %d", p.predictor, p.bits, p.format)
		}
	}
	if p.photometric != photoYCbCr {
		return nil
	}
	if err := p.readSubsampling(); err != nil {
		return err
	}
	if p.sub != [2]int{1, 1} && (p.planar || p.samples != 3 || p.predictor > 1) {
		return unsupported("subsampled YCbCr with separate planes, extra samples or a predictor")
	}
	return nil
}

// readSubsampling reads how many pixels share one chroma sample.
func (p *photo) readSubsampling() error {
	p.sub = [2]int{2, 2}
	if p.photometric != photoYCbCr {
		p.sub = [2]int{1, 1}
	} else if field, ok := p.dir.Find(tagYCbCrSampling); ok {
		x, _ := field.Uint(0)
		y, _ := field.Uint(1)
		p.sub = [2]int{int(min(x, 99)), int(min(y, 99))}
	}
	for _, n := range p.sub {
		if n != 1 && n != 2 && n != 4 {
			return corrupt("subsampling of %d x %d", p.sub[0], p.sub[1])
		}
	}
	return nil
}

// readBlocks finds the strips or tiles.
func (p *photo) readBlocks() error {
	tagOffsets, tagCounts := uint16(tagStripOffsets), uint16(tagStripByteCounts)
	p.blockW = p.width
	p.blockH = int(min(p.dir.Uint(tagRowsPerStrip, math.MaxUint32), uint64(p.height)))
	if p.dir.Has(tagTileWidth) {
		p.tiled = true
		p.blockW, p.blockH = small(p.dir, tagTileWidth, 0), small(p.dir, tagTileLength, 0)
		if p.dir.Has(tagTileOffsets) {
			tagOffsets, tagCounts = tagTileOffsets, tagTileByteCounts
		}
	}
	// Tiles may be larger than a small picture, but only a little.
	const slack = 1 << 14
	if p.blockW <= 0 || p.blockH <= 0 || p.blockW > p.width+slack || p.blockH > p.height+slack {
		return corrupt("strips or tiles of %d x %d", p.blockW, p.blockH)
	}
	p.across = int64(ceilDiv(p.width, p.blockW))
	p.down = int64(ceilDiv(p.height, p.blockH))
	n := p.across * p.down // both are below 1<<31
	if p.planar {
		if n > math.MaxInt64/maxSamples {
			return ErrCorrupt
		}
		n *= int64(p.samples)
	}
	var ok bool
	p.offsets, ok = p.dir.Find(tagOffsets)
	if !ok || p.offsets.Count < n {
		return corrupt("%d strips or tiles are needed, %d have an offset", n, p.offsets.Count)
	}
	p.counts, ok = p.dir.Find(tagCounts)
	if ok && p.counts.Count < n || !ok && p.compression != compNone && n > 1 {
		return corrupt("%d strips or tiles are needed, %d have a length", n, p.counts.Count)
	}
	p.offsets.f, p.counts.f = p.file.clone(), p.file.clone()
	return nil
}

// clone returns a File with a window of its own.
func (f *File) clone() *File {
	c := *f
	c.win, c.at = nil, 0
	return &c
}

func ceilDiv(a, b int) int { return (a-1)/b + 1 }

// carriesICC reports whether the embedded profile describes the colours that Decode returns.
func (p *photo) carriesICC() bool {
	switch p.photometric {
	case palette, photoRGB, photoYCbCr, whiteIsZero, blackIsZero:
		return true
	case separated:
		return p.alpha == opaque
	}
	return false
}

// chunk returns how many samples of a pixel are stored together.
func (p *photo) chunk() int {
	if p.planar {
		return 1
	}
	return p.samples
}

// rowBytes returns the size of a row of a block, when all samples have full resolution.
func (p *photo) rowBytes() int64 {
	return (int64(p.blockW)*int64(p.chunk())*int64(p.bits) + 7) / 8
}

// header returns the header without the profile.
func (p *photo) header() Header {
	h := Header{
		Width: p.width, Height: p.height, Orientation: p.orientation,
		Gray: p.colours == 1 && p.photometric != palette && p.alpha == opaque,
		CMYK: p.colours == 4 && p.alpha == opaque, blockW: p.blockW,
	}
	if p.tiled {
		h.tileRows = p.blockH
	}
	h.work = fixedMemory
	planes := int64(p.planes())
	if p.compression == compOldJPEG || p.compression == compJPEG {
		// The stream is read to a slice that grows, and joined with the tables.
		h.work += planes*(p.jpegCost+4*p.jpegBytes+16*int64(p.blockW)) + 2*int64(p.blockW)*int64(p.samples)
		return h
	}
	// Each plane has a decompressor and a few rows: packed, of the predictor, of subsampled units.
	h.work += planes*(planeMemory+int64(p.sub[1]+3)*p.rowBytes()) + 2*int64(p.blockW)*int64(p.samples)
	if p.compression == compRLE || p.compression == compG3 || p.compression == compG4 {
		h.work += 16*int64(p.blockW) + 64 // where the colour changes, in two rows
	}
	return h
}

const (
	fixedMemory = 256 << 10 // tables and windows
	planeMemory = 200 << 10 // a decompressor and its buffer
)

// planes returns how many blocks are read for the same pixels: one per needed sample, or a single one.
func (p *photo) planes() int {
	switch {
	case !p.planar:
		return 1
	case p.alpha != opaque:
		return p.colours + 1
	}
	return p.colours
}
