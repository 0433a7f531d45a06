package coverart

// A candidate is a picture of which only the first bytes have been read.
type candidate struct {
	rank    rank
	leading bool // in a tag at the start of the file
	load    func() []byte
}

// A rank orders pictures by how likely they are the cover, best first.
type rank int

const (
	rankFront   rank = iota // ends the search
	rankOther               // the type that many writers use for every picture
	rankMedia               // the label of the disc
	rankSmall               // a reduced copy of the cover
	rankUnknown             // of unknown purpose
)

// Pictures that show something else than the front.
const (
	rankBack rank = rankUnlikely + iota
	rankLeaflet
	rankPerson
	rankRest
	rankLogo
	rankIcon
	rankScene   // of a video; a frame is a better picture of it
	rankChapter // of one chapter, not of the whole
)

// Flags of a rank. A higher flag counts more, so a front cover in a foreign tag is better than a back cover in the tag of the
// format.
const (
	rankForeign  rank = 1 << (iota + 4) // in a tag that is not part of the format of the file
	rankUnlikely                        // not the front
	rankCut                             // the file or the tag ends inside the picture
)

// typeRanks has the ranks of picture types, as numbered by the APIC frame of ID3v2. FLAC, Ogg and ASF use the same table.
var typeRanks = [...]rank{
	0:         rankOther,
	1:         rankIcon, // of 32 by 32 pixels
	2:         rankIcon,
	typeFront: rankFront,
	4:         rankBack,
	5:         rankLeaflet,
	6:         rankMedia,

	7: rankPerson, 8: rankPerson, 9: rankPerson, 10: rankPerson, 11: rankPerson, 12: rankPerson,

	13: rankRest, // places and scenes
	14: rankRest,
	15: rankRest,
	16: rankRest,
	17: rankLogo, // "a bright coloured fish"
	18: rankRest,
	19: rankLogo,
	20: rankLogo,
}

// typeFront is the type of a front cover, which pictures without a type count as.
const typeFront = 3

// typeRank returns the rank of a picture of the given type.
func typeRank(typ int) rank {
	if typ < 0 || typ >= len(typeRanks) {
		return rankUnknown
	}
	return typeRanks[typ]
}
