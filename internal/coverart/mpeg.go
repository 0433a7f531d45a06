package coverart

// Bitrates of MPEG audio in kbit/s (ISO 11172-3 and 13818-3, 2.4.2.3), by index. Index 0 is free format, whose frames have
// no known length.
var (
	bitrateV1L1 = [15]int{0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448}
	bitrateV1L2 = [15]int{0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384}
	bitrateV1L3 = [15]int{0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320}
	bitrateV2L1 = [15]int{0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256}
	bitrateV2L2 = [15]int{0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160} // also of layer III
)

// mpegFrame returns the length of the MPEG audio frame (layers I to III, or AAC in ADTS) that begins at b, or 0.
func mpegFrame(b []byte) int {
	if len(b) < 7 || b[0] != 0xFF || b[1]&0xE0 != 0xE0 {
		return 0
	}
	version, layer := b[1]>>3&3, b[1]>>1&3 // 3 is MPEG-1, 2 MPEG-2, 0 MPEG-2.5; layer 3 is I, 1 is III
	if layer == 0 {
		// ADTS (ISO 13818-7, 6.2): twelve bits of sync, the sampling rate index below 13, thirteen bits of length.
		n := int(b[3]&3)<<11 | int(b[4])<<3 | int(b[5])>>5
		if b[1]&0xF0 != 0xF0 || b[2]>>2&15 > 12 || n < 7 {
			return 0
		}
		return n
	}
	index, rate, pad := b[2]>>4, b[2]>>2&3, int(b[2]>>1&1)
	if version == 1 || index == 0 || index == 15 || rate == 3 {
		return 0
	}
	hertz := [...]int{44100, 48000, 32000}[rate]
	switch version {
	case 2:
		hertz /= 2
	case 0:
		hertz /= 4
	}
	switch {
	case version == 3 && layer == 3:
		return (12*bitrateV1L1[index]*1000/hertz + pad) * 4
	case version == 3 && layer == 2:
		return 144*bitrateV1L2[index]*1000/hertz + pad
	case version == 3:
		return 144*bitrateV1L3[index]*1000/hertz + pad
	case layer == 3:
		return (12*bitrateV2L1[index]*1000/hertz + pad) * 4
	case layer == 2:
		return 144*bitrateV2L2[index]*1000/hertz + pad
	}
	return 72*bitrateV2L2[index]*1000/hertz + pad
}

// mpegFrames reports whether b begins with at least n consecutive frames. The last may be truncated.
func mpegFrames(b []byte, n int) bool {
	for range n {
		size := mpegFrame(b)
		if size == 0 {
			return false
		}
		b = b[min(size, len(b)):]
	}
	return true
}
