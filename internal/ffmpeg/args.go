package ffmpeg

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"
)

// allowedDemuxers are the demuxers that ffmpeg may use. None of them opens other files, as hls, dash, concat and image2 do.
// Those named ..._pipe read pictures. ffmpeg ignores names that it does not know.
const allowedDemuxers = "mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,rm,dv,mxf," +
	"ogg,mp3,flac,wav,aiff,ape,wv,tta,tak,mpc,mpc8,aac,dsf,w64,caf," +
	"h264,hevc,obu,mjpeg,ivf,nut,yuv4mpegpipe,wtv,gxf,nsv," +
	"gif,apng,ico,jpeg_pipe,png_pipe,webp_pipe,bmp_pipe,tiff_pipe,pam_pipe,pbm_pipe,pgm_pipe,ppm_pipe,exr_pipe," +
	"j2k_pipe,jpegxl_pipe,jpegxl_anim,qoi_pipe,psd_pipe"

// The longest edges of pictures, in pixels.
const (
	maxFrame = 1280
	maxStill = 2048
)

// inputArgs returns the arguments up to the input, including further options for it.
func (j *job) inputArgs(options ...string) []string {
	args := []string{
		"-nostdin", "-hide_banner", "-nostats", "-loglevel", "info", "-max_alloc", "268435456", "-filter_threads", "1",
		"-threads", "1", "-max_pixels", "100000000", "-probesize", "10000000", "-analyzeduration", "5000000",
		"-format_whitelist", allowedDemuxers,
	}
	args = append(args, options...)
	switch {
	case j.program.hasFD:
		return append(args, "-protocol_whitelist", "fd", "-fd", "0", "-i", "fd:")
	case runtime.GOOS == "linux":
		return append(args, "-protocol_whitelist", "file", "-i", "file:/proc/self/fd/0")
	}
	return append(args, "-protocol_whitelist", "file", "-i", "file:/dev/fd/0")
}

// outputArgs returns the arguments for n pictures on standard output. The codec is mjpeg for frames, because it is fast, png
// for pictures that may be transparent, and copy for pictures that stay as they are.
func outputArgs(codec string, n int) []string {
	return []string{
		"-frames:v", strconv.Itoa(n), "-threads", "1", "-c:v", codec, "-q:v", "2", "-compression_level", "1",
		"-map_metadata", "-1", "-f", "image2pipe", "pipe:1",
	}
}

// coverArgs returns the arguments that output the attached picture s.
func (j *job) coverArgs(s *stream) []string {
	args := append(j.inputArgs(), "-map", "0:"+strconv.Itoa(s.index))
	switch s.codec {
	case "mjpeg", "png", "gif", "webp", "bmp", "tiff":
		return append(args, outputArgs("copy", 1)...)
	}
	return append(append(args, "-vf", scaleFilter(maxStill)), outputArgs("png", 1)...)
}

// frameArgs returns the arguments of a pass over the video m.
func (j *job) frameArgs(p pass, m media) []string {
	var options []string
	if p.keyFrames {
		options = append(options, "-skip_frame", "nokey")
	}
	if at := m.duration * j.at; (p.seek || p.exactSeek) && at > 0 {
		if p.seek {
			options = append(options, "-noaccurate_seek")
		}
		options = append(options, "-ss", strconv.FormatFloat(at, 'f', 3, 64))
	}
	options = append(options, "-t", strconv.FormatFloat(p.window, 'f', 3, 64))
	n := int(p.window/p.interval) + 1
	video := "0:V:0" // the first one that is not an attached picture
	if m.video != nil {
		video = "0:" + strconv.Itoa(m.video.index)
	}
	args := append(j.inputArgs(options...), "-map", video, "-vf", j.frameFilters(p, m))
	args = append(args, j.passthroughArgs()...) // the key frame before the wanted position has a negative time
	return append(args, outputArgs("mjpeg", n)...)
}

// passthroughArgs returns the arguments that output each frame whatever its time.
func (j *job) passthroughArgs() []string {
	if j.program.hasFD {
		return []string{"-fps_mode", "passthrough"}
	}
	return []string{"-vsync", "0"} // the name of -fps_mode before version 5.1
}

// rawArgs returns the arguments for the samples of n frames on standard output.
func rawArgs(n int) []string {
	return []string{"-frames:v", strconv.Itoa(n), "-threads", "1", "-map_metadata", "-1", "-f", "rawvideo", "pipe:1"}
}

// frameFilters returns the filters of a pass over the video m.
func (j *job) frameFilters(p pass, m media) string {
	var filters []string
	add := func(name, options string) { // small builds lack many filters
		if j.program.filters[name] {
			filters = append(filters, name+options)
		}
	}
	add("select", fmt.Sprintf("='isnan(prev_selected_t)+gte(t-prev_selected_t,%g)'", p.interval))
	if m.video != nil && m.video.interlaced {
		add("yadif", "")
	}
	if m.video != nil && m.video.hdr && j.program.canToneMap() {
		filters = append(filters, scaleFilter(maxFrame), toneMapFilters+":m=bt470bg:r=tv")
	} else {
		// JPEG has only one colour matrix, whatever the video has.
		filters = append(filters, scaleFilter(maxFrame)+":out_color_matrix=bt601:out_range=limited")
	}
	add("setsar", "=1")
	filters = append(filters, "format=yuv420p", "scale=out_range=full", "format=yuvj420p")
	return strings.Join(filters, ",")
}

// scaleFilter returns the filter that makes pixels square and limits the longest edge to max pixels. It never enlarges.
func scaleFilter(max int) string {
	const (
		width  = "iw*max(1,sar)" // pixels that are not square are stretched, never shrunk
		height = "ih/min(1,sar)"
	)
	fit := fmt.Sprintf("min(1,%d/max(%s,%s))", max, width, height)
	return fmt.Sprintf("scale=w='max(1,trunc(%s*%s))':h='max(1,trunc(%s*%s))'", width, fit, height, fit)
}

func (p program) canToneMap() bool { return p.filters["zscale"] && p.filters["tonemap"] }

// toneMapFilters convert HDR to SDR. They take 203 cd/m2 for white, as BT.2408 does, and compress what is brighter.
const toneMapFilters = "zscale=t=linear:npl=203,format=gbrpf32le,zscale=p=bt709,tonemap=mobius:desat=0,zscale=t=iec61966-2-1"
