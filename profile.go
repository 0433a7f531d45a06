package thumbcache

import (
	"fmt"
	"io/fs"
	"math"
	"net/http"
)

// A Profile is a kind of thumbnail for players that accept no other, such as televisions that follow DLNA. It shows the whole picture.
type Profile struct {
	Width, Height int    // the box that the thumbnail fits, in pixels, from 1 to 65535
	Format        Format // JPEG or PNG

	// MaxBytes limits the length of the thumbnail. First the quality of a JPEG gives way, down to 40, then the size. A picture of which
	// not even a small thumbnail fits is ErrTooLarge. 0 means no limit.
	MaxBytes int

	// Header is added to answers of [Cache.Handler] and [Cache.Serve] that have the thumbnail. The names are sent in this spelling over
	// HTTP/1, because some players compare case. A Content-Type is ignored; that of the thumbnail is exact. Header must not change
	// after New.
	Header map[string]string
}

// DLNAProfiles returns the profiles of DLNA for pictures, to be used as [Config.Profiles] or a part of them:
//
//	dlna-tn       JPEG_TN   160 x 160
//	dlna-sm       JPEG_SM   640 x 480
//	dlna-med      JPEG_MED  1024 x 768
//	dlna-lrg      JPEG_LRG  4096 x 4096
//	dlna-png-tn   PNG_TN    160 x 160
//	dlna-png-lrg  PNG_LRG   4096 x 4096
//
// A picture that fills the largest box needs more than the default of [Config.DecodeBytes]: 320 MiB as JPEG, 540 MiB as PNG. With less
// it is [ErrTooLarge].
//
// Their headers are transferMode.dlna.org and contentFeatures.dlna.org. The latter, without its name, is also the fourth field of
// protocolInfo in a DIDL-Lite document: "http-get:*:image/jpeg:DLNA.ORG_PN=JPEG_TN;...".
func DLNAProfiles() map[string]Profile {
	profile := func(name string, width, height int, f Format) Profile {
		return Profile{Width: width, Height: height, Format: f, Header: map[string]string{
			"transferMode.dlna.org": "Interactive",
			// Ranges of bytes work, and the picture was converted. The flags are interactive transfer, background transfer and DLNA 1.5.
			"contentFeatures.dlna.org": "DLNA.ORG_PN=" + name + ";DLNA.ORG_OP=01;DLNA.ORG_CI=1;DLNA.ORG_FLAGS=00D00000000000000000000000000000",
		}}
	}
	return map[string]Profile{
		"dlna-tn":      profile("JPEG_TN", 160, 160, JPEG),
		"dlna-sm":      profile("JPEG_SM", 640, 480, JPEG),
		"dlna-med":     profile("JPEG_MED", 1024, 768, JPEG),
		"dlna-lrg":     profile("JPEG_LRG", 4096, 4096, JPEG),
		"dlna-png-tn":  profile("PNG_TN", 160, 160, PNG),
		"dlna-png-lrg": profile("PNG_LRG", 4096, 4096, PNG),
	}
}

func checkProfiles(profiles map[string]Profile) error {
	for name, p := range profiles {
		switch {
		case name == "":
			return badConfig("Profiles", "a name is empty")
		case min(p.Width, p.Height) < 1 || max(p.Width, p.Height) > math.MaxUint16:
			return badConfig("Profiles", "%s: the box %d x %d is not from 1 to %d", name, p.Width, p.Height, math.MaxUint16)
		case p.Format > PNG:
			return badConfig("Profiles", "%s: format %d is not JPEG or PNG", name, p.Format)
		case p.MaxBytes < 0 || uint64(p.MaxBytes) > math.MaxUint32:
			return badConfig("Profiles", "%s: MaxBytes %d is not from 0 to %d", name, p.MaxBytes, uint32(math.MaxUint32))
		}
	}
	return nil
}

// profileShape returns the shape of the thumbnail that req asks for by a profile. It is the same as without one if there is no limit
// in bytes, so that they share the thumbnail.
func (r *recipe) profileShape(req *Request) (s shape, err error) {
	p, ok := r.profiles[req.Profile]
	if !ok || req.Size|req.Width|req.Height != 0 || req.Fit != Contain || req.Format != JPEG {
		return s, fmt.Errorf("profile %q: %w", req.Profile, fs.ErrInvalid)
	}
	s = shape{detail: uint32(p.MaxBytes), size: uint16(p.Width), height: uint16(p.Height), format: p.Format}
	if s.height == s.size {
		s.height = 0 // as setBox does
	}
	return s, nil
}

// setProfile adds the headers of the profile that req names, if any.
func (c *Cache) setProfile(h http.Header, req *Request) {
	if req.Profile == "" {
		return
	}
	for name, value := range c.recipe.profiles[req.Profile].Header {
		h[name] = []string{value}
	}
}
