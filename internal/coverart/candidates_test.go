package coverart

import (
	"bytes"
	"encoding/base64"
	"errors"
	"image"
	jpegcodec "image/jpeg"
	"slices"
	"strings"
	"testing"
)

// A pictureType is the type of a picture and its name in an APE tag.
type pictureType struct {
	number int
	ape    string
}

var (
	frontType = pictureType{3, "Cover Art (Front)"}
	backType  = pictureType{4, "Cover Art (Back)"}
	otherType = pictureType{0, "Cover Art (Other)"}
)

// A typedPicture is a picture to be put into a container.
type typedPicture struct {
	pictureType
	pic []byte
}

// typedContainers returns builders for every container with picture types.
func typedContainers() map[string]func(pics []typedPicture) []byte {
	// each returns what one returns for each picture.
	each := func(pics []typedPicture, one func(p typedPicture) []byte) (list [][]byte) {
		for _, p := range pics {
			list = append(list, one(p))
		}
		return list
	}
	frames := func(version byte, flags byte, pics []typedPicture) []byte {
		return id3(version, flags, each(pics, func(p typedPicture) []byte {
			if version == 2 {
				return frame(2, "PIC", 0, []byte("\x00JPG"), []byte{byte(p.number), 0}, p.pic)
			}
			return frame(version, "APIC", 0, apic(byte(p.number), p.pic))
		})...)
	}
	unsync3 := func(pics []typedPicture) []byte {
		tag := frames(3, 0, pics)
		return id3(3, id3Unsync, unsync(tag[10:]))
	}
	unsync4 := func(pics []typedPicture) []byte {
		return id3(4, id3Unsync, each(pics, func(p typedPicture) []byte {
			return frame(4, "APIC", frame4Unsync, unsync(apic(byte(p.number), p.pic)))
		})...)
	}
	apeTag := func(pics []typedPicture) []byte {
		return ape(true, each(pics, func(p typedPicture) []byte { return apeCover(p.ape, "cover.jpg", p.pic) })...)
	}
	blocks := func(pics []typedPicture) []byte {
		return join(each(pics, func(p typedPicture) []byte { return flacBlock(6, flacPic(p.number, p.pic)) })...)
	}
	texts := func(pics []typedPicture) (list []string) {
		for _, p := range pics {
			list = append(list, blockPicture(p.number, p.pic))
		}
		return list
	}
	asfPics := func(pics []typedPicture) [][]byte {
		return each(pics, func(p typedPicture) []byte { return asfPic(byte(p.number), p.pic) })
	}
	type build = func(pics []typedPicture) []byte
	return map[string]build{
		"mp3, 2.2":         func(pics []typedPicture) []byte { return join(frames(2, 0, pics), mp3) },
		"mp3, 2.3":         func(pics []typedPicture) []byte { return join(frames(3, 0, pics), mp3) },
		"mp3, 2.4":         func(pics []typedPicture) []byte { return join(frames(4, 0, pics), mp3) },
		"mp3, 2.3 unsync":  func(pics []typedPicture) []byte { return join(unsync3(pics), mp3) },
		"mp3, 2.4 unsync":  func(pics []typedPicture) []byte { return join(unsync4(pics), mp3) },
		"mp3, at the end":  func(pics []typedPicture) []byte { return join(mp3, frames(4, id3Footer, pics)) },
		"mp3, APE":         func(pics []typedPicture) []byte { return join(mp3, apeTag(pics), id3v1) },
		"aac":              func(pics []typedPicture) []byte { return join(frames(4, 0, pics), adts) },
		"tta":              func(pics []typedPicture) []byte { return join(frames(3, 0, pics), []byte("TTA1"), zeros(500)) },
		"wavpack":          func(pics []typedPicture) []byte { return join([]byte("wvpk"), zeros(500), apeTag(pics)) },
		"wavpack, ID3":     func(pics []typedPicture) []byte { return join(frames(3, 0, pics), []byte("wvpk"), zeros(500)) },
		"monkey":           func(pics []typedPicture) []byte { return join([]byte("MAC "), zeros(500), apeTag(pics), id3v1) },
		"flac":             func(pics []typedPicture) []byte { return flac(blocks(pics)) },
		"flac, comments":   func(pics []typedPicture) []byte { return flac(flacBlock(4, comments(texts(pics)...))) },
		"flac, ID3":        func(pics []typedPicture) []byte { return join(frames(3, 0, pics), flac()) },
		"ogg":              func(pics []typedPicture) []byte { return multiplex(vorbis(1, 255, texts(pics)...)) },
		"ogg, small pages": func(pics []typedPicture) []byte { return multiplex(vorbis(1, 3, texts(pics)...)) },
		"opus":             func(pics []typedPicture) []byte { return multiplex(opus(1, 17, texts(pics)...)) },
		"ogg flac": func(pics []typedPicture) []byte {
			packets := each(pics, func(p typedPicture) []byte { return flacBlock(6, flacPic(p.number, p.pic)) })
			packets = append(packets, flacBlock(0x81, zeros(9)))
			return multiplex(oggStream(1, 9, "\x7fFLAC\x01\x00\x00\x02fLaC", packets...))
		},
		"wav": func(pics []typedPicture) []byte {
			return wave(chunkLE("data", zeros(99)), chunkLE("id3 ", frames(3, 0, pics)))
		},
		"wav2": func(pics []typedPicture) []byte {
			return wave(chunkLE("ID3 ", frames(4, 0, pics)), chunkLE("data", zeros(99)))
		},
		"aiff": func(pics []typedPicture) []byte { return aiff("AIFF", chunkBE("ID3 ", frames(3, 0, pics))) },
		"aifc": func(pics []typedPicture) []byte { return aiff("AIFC", chunkBE("id3 ", frames(2, 0, pics))) },
		"dsf":  func(pics []typedPicture) []byte { return dsf(frames(3, 0, pics)) },
		"dff": func(pics []typedPicture) []byte {
			return join([]byte("FRM8"), be64(9000), []byte("DSD "), chunk64("DSD ", zeros(300)), chunk64("ID3 ", frames(3, 0, pics)))
		},
		"wma": func(pics []typedPicture) []byte {
			return asfFile(asfStreamObject(asfAudio), asfContentObject(asfPics(pics)...))
		},
		"wma, library": func(pics []typedPicture) []byte {
			return asfFile(asfLibraryObject(asfLibrary, asfPics(pics)...), asfStreamObject(asfAudio))
		},
		"mp4, ID32": func(pics []typedPicture) []byte {
			tag := join(zeros(6), frames(4, 0, pics))
			return join(ftyp, atom("moov", trak(1, "soun"), atom("meta", be32(0), atom("hdlr", zeros(25)), atom("ID32", tag))))
		},
	}
}

// namedContainers returns builders for the containers without picture types. They get pictures in the order of preference.
func namedContainers() map[string]func(pics [][]byte) []byte {
	covr := func(pics [][]byte) (b []byte) {
		for _, p := range pics {
			b = append(b, data(p)...)
		}
		return atom("covr", b)
	}
	items := func(pics [][]byte) (list [][]byte) {
		for _, p := range pics {
			list = append(list, atom("covr", data(p)))
		}
		return list
	}
	attachments := func(pics [][]byte) []byte {
		names := []string{"cover.jpg", "cover_land.jpg", "poster.png", "small_cover.jpg", "image.jpg"}
		var b []byte
		for i, p := range slices.Backward(pics) {
			b = append(b, mkvAttachment(names[i], p)...)
		}
		return ebml(mkvAttached, b)
	}
	texts := func(pics [][]byte) (list []string) {
		for _, p := range pics {
			list = append(list, "COVERART="+base64.StdEncoding.EncodeToString(p))
		}
		return list
	}
	return map[string]func(pics [][]byte) []byte{
		"mp4":        func(pics [][]byte) []byte { return m4a(covr(pics)) },
		"mp4, items": func(pics [][]byte) []byte { return m4a(items(pics)...) },
		"mp4, udta": func(pics [][]byte) []byte {
			return join(ftyp, atom("moov", trak(1, "soun"), atom("udta", items(pics)...)))
		},
		"mka":            func(pics [][]byte) []byte { return mkvIndexed(mkvAudioTrack, attachments(pics)) },
		"mkv":            func(pics [][]byte) []byte { return mkvIndexed(join(mkvVideoTrack, mkvAudioTrack), attachments(pics)) },
		"ogg, COVERART":  func(pics [][]byte) []byte { return multiplex(vorbis(1, 255, texts(pics)...)) },
		"flac, COVERART": func(pics [][]byte) []byte { return flac(flacBlock(4, comments(texts(pics)...))) },
	}
}

// pictures returns all pictures in data, best first.
func pictures(t *testing.T, data []byte) (pics [][]byte, err error) {
	t.Helper()
	for n := range maxCandidates + 2 {
		pic, err := FindNth(t.Context(), bytes.NewReader(data), int64(len(data)), n)
		if err != nil {
			return pics, err
		}
		pics = append(pics, pic)
	}
	return pics, errors.New("no end of pictures")
}

// checkPictures compares all pictures in data with want.
func checkPictures(t *testing.T, data []byte, want ...[]byte) {
	t.Helper()
	got, err := pictures(t, data)
	if !slices.EqualFunc(got, want, bytes.Equal) {
		t.Errorf("pictures %s, want %s", begins(got), begins(want))
	}
	if len(want) > 0 && !errors.Is(err, ErrNoPicture) && !errors.Is(err, ErrUnsupported) {
		t.Errorf("at the end: %v", err)
	}
}

// begins returns the first bytes of each picture that differ between pictures.
func begins(pics [][]byte) string {
	var list []string
	for _, p := range pics {
		list = append(list, base64.StdEncoding.EncodeToString(p[20:26]))
	}
	return strings.Join(list, " ")
}

// wholePicture returns a JPEG that can be decoded.
func wholePicture(t *testing.T) []byte {
	var b bytes.Buffer
	if err := jpegcodec.Encode(&b, image.NewGray(image.Rect(0, 0, 40, 30)), nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestFindNthBroken puts a picture of which only the first bytes are right before one that can be decoded. The second is the
// next picture, although it may be of a less likely type.
func TestFindNthBroken(t *testing.T) {
	whole := wholePicture(t)
	zeroed := join([]byte("\xff\xd8\xff\xe0"), zeros(400))
	for name, build := range typedContainers() {
		for _, second := range []pictureType{frontType, otherType, backType} {
			t.Run(name+"/"+second.ape, func(t *testing.T) {
				first := typedPicture{frontType, zeroed}
				checkPictures(t, build([]typedPicture{first, {second, whole}}), zeroed, whole)
				if second != frontType {
					checkPictures(t, build([]typedPicture{{second, whole}, first}), zeroed, whole) // in any order
				}
			})
		}
	}
	for name, build := range namedContainers() {
		t.Run(name, func(t *testing.T) {
			data := build([][]byte{zeroed, whole})
			checkPictures(t, data, zeroed, whole)
			if m, n, err := firstDecodable(t, data); err != nil || n != 1 || m.Bounds().Dx() != 40 {
				t.Errorf("picture %d, %v", n, err)
			}
		})
	}
}

// TestFindNthOrder puts pictures of many types into every container, in the wrong order.
func TestFindNthOrder(t *testing.T) {
	types := []pictureType{ // best first
		frontType, otherType, {6, "Cover Art (Media)"}, {200, "Cover Art (Unknown)"}, backType, {5, "Cover Art (Leaflet)"},
		{7, "Cover Art (Lead)"}, {14, "Cover Art (During Recording)"}, {17, "Cover Art (Fish)"}, {1, "Cover Art (Icon)"},
	}
	var pics []typedPicture
	var want [][]byte
	for i, typ := range types {
		p := jpeg(uint64(10+i), 300)
		pics = append(pics, typedPicture{typ, p})
		want = append(want, p)
	}
	slices.Reverse(pics)
	for name, build := range typedContainers() {
		t.Run(name, func(t *testing.T) {
			checkPictures(t, build(pics), want...)
			checkPictures(t, build(pics[:len(pics)-1]), want[1:]...) // no front cover
			checkPictures(t, build(slices.Concat(pics, pics)), want...)
		})
	}
	for name, build := range namedContainers() {
		t.Run(name, func(t *testing.T) { checkPictures(t, build(want[:5]), want[:5]...) })
	}
}

// TestAttachmentRank ranks the names of attached files.
func TestAttachmentRank(t *testing.T) {
	for want, names := range map[rank][]string{
		rankFront:   {"cover.jpg", "COVER.PNG", "cover", "art/cover.webp", `c:\art\cover.jpg`, "cover.jpg\x00"},
		rankOther:   {"cover_land.jpg", "cover2.png", "Front Cover.jpg", "albumcover.jpg", "Movie-Cover.jpg"},
		rankMedia:   {"poster.jpg", "movieposter.jpg", "folder.jpg", "front.jpg", "AlbumFront.png", "poster-2.jpg"},
		rankSmall:   {"small_cover.jpg", "small_cover_land.png"},
		rankUnknown: {"", ".jpg", "image.jpg", "discovery.jpg", "1.png", "playback.jpg", "\xff\xfe.jpg"},
		rankBack:    {"back.jpg", "Back_Cover.jpg", "rear.png"},
		rankScene:   {"fanart.jpg", "movie-fanart1.jpg", "moviefanart.jpg", "Backdrop.jpg", "screenshot0001.png", "cover_background.jpg", "screen3.png", "logo.png"},
	} {
		for _, name := range names {
			if got := attachmentRank(name); got != want {
				t.Errorf("%q: %d, want %d", name, got, want)
			}
		}
	}
}

// TestAPERank ranks the keys of covers in APE tags.
func TestAPERank(t *testing.T) {
	for key, want := range map[string]rank{
		"cover art (front)": rankFront, "cover art (front cover)": rankFront, "cover art front": rankFront, "cover art(front)": rankFront,
		"cover art": rankOther, "cover art (other)": rankOther, "cover art (media)": rankMedia, "cover art (back)": rankBack,
		"cover art (leaflet)": rankLeaflet, "cover art (lead artist)": rankPerson, "cover art (artist)": rankPerson,
		"cover art (band)": rankPerson, "cover art (band logotype)": rankLogo, "cover art (publisher logotype)": rankLogo,
		"cover art (colored fish)": rankLogo, "cover art (during recording)": rankRest, "cover art (illustration)": rankRest,
		"cover art (icon)": rankIcon, "cover art (other icon)": rankIcon, "cover art (png icon)": rankIcon, "cover art (x)": rankUnknown,
	} {
		if got := apeRank(key); got != want {
			t.Errorf("%q: %d, want %d", key, got, want)
		}
	}
}
