package ffmpeg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/thumbcache/thumbcache/internal/heif"
	"github.com/thumbcache/thumbcache/internal/proc"
)

// A job is one call of Extract or Decode that has its slot.
type job struct {
	program   program
	timeout   time.Duration // as Tool.Timeout
	at        float64       // as Tool.At
	tempDirs  []string      // as Tool.TempDirs
	in        *input
	maxOutput int64                // as proc.Cmd.MaxOutput
	started   func() (done func()) // as Caller.Started
}

// run runs ffmpeg. It returns no error for an exit status other than 0; see verdict.
func (j *job) run(ctx context.Context, args ...string) (proc.Result, error) {
	return j.runUntil(ctx, nil, args...)
}

// runUntil runs ffmpeg until it exits or enough reports true of its output.
func (j *job) runUntil(ctx context.Context, enough func(output []byte) bool, args ...string) (proc.Result, error) {
	if _, err := j.in.Seek(0, io.SeekStart); err != nil { // the child before has moved the shared offset
		return proc.Result{}, fmt.Errorf("ffmpeg: rewinding: %w", err)
	}
	if j.started != nil {
		defer j.started()()
	}
	res, err := proc.Run(ctx, proc.Cmd{
		Path:      j.program.path,
		Args:      args,
		Env:       []string{"AV_LOG_FORCE_NOCOLOR=1", "LC_ALL=C"},
		Stdin:     j.in.File,
		Enough:    enough,
		MaxOutput: j.maxOutput,
		MaxStderr: 64 << 10, // enough for the list of streams, which comes before most messages
		Timeout:   j.timeout,
		Limits:    proc.Limits{AddressSpace: 2 << 30, CPU: j.timeout + time.Second, OpenFiles: 64},
	})
	if pe, ok := errors.AsType[*proc.Error](err); ok && pe.Err == nil && pe.Signal == nil {
		return res, nil // an exit status
	}
	if err != nil {
		return res, fmt.Errorf("ffmpeg: %w", err)
	}
	return res, nil
}

// picture returns the best picture in the media, as described at Extract; with noCover, no attached one.
func (j *job) picture(ctx context.Context, noCover bool) ([]byte, error) {
	if isStill(j.in) {
		return j.still(ctx)
	}
	s := search{job: j, rest: passes}
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	if s.media.cover != nil && !noCover {
		cover, err := j.run(ctx, j.coverArgs(s.media.cover)...)
		if err != nil {
			return nil, err
		}
		if demuxerOf(cover.Stdout) != "" {
			return cover.Stdout, nil
		}
	}
	if s.media.video == nil {
		return nil, verdict(s.last)
	}
	return s.frame(ctx)
}

// A pass is one way to take frames of a video. It costs one process.
type pass struct {
	seek      bool    // start at the key frame before the wanted position, which may be far away
	exactSeek bool    // start exactly at the wanted position
	keyFrames bool    // take key frames only, and stop at the first good one
	interval  float64 // seconds of video between frames
	window    float64 // seconds of video to search
	most      int     // stop after this many visible frames
	enough    int     // with fewer visible frames than this, the next pass follows; 0 means that any frame is enough
}

// passes are made in order until there is a frame to choose. The first one is cheap and is enough for nearly every video. The
// second is for short clips whose only key frame is black, blurred or in a fade. The third is for videos that are black for a
// long time.
var passes = []pass{
	{seek: true, keyFrames: true, interval: 1, window: 40, most: 5, enough: 3},
	{seek: true, interval: 0.5, window: 8, most: 8, enough: 1},
	{exactSeek: true, interval: 0.5, window: 8, most: 1},
}

// lastPass follows a pass without any frames and accepts any frame. It starts at the beginning, since the video may be damaged
// later or may end long before the audio.
var lastPass = pass{interval: 0.5, window: 8, most: 3}

// A search is a series of passes over a video.
type search struct {
	*job
	media  media
	choice choice
	rest   []pass      // passes still to make
	last   proc.Result // of the pass before
	done   bool        // the choice has a good frame
	empty  bool        // passes were made, and none found a frame
}

// begin lists the streams. If the duration is known, it makes the first pass with the same process.
func (s *search) begin(ctx context.Context) (err error) {
	seconds := duration(s.in, s.in.size)
	if seconds == 0 {
		s.last, err = s.run(ctx, s.inputArgs()...) // without an output, ffmpeg only lists the streams
		s.media = parse(s.last.Stderr)
		return err
	}
	s.media.duration = seconds
	if err := s.pass(ctx, s.rest[0]); err != nil {
		return err
	}
	m := parse(s.last.Stderr)
	m.duration = seconds
	s.media = m
	if m.video != m.first || m.needsFilters() && !s.empty {
		s.choice, s.done, s.empty = choice{}, false, false // the frames are of another stream or lack the filters
	} else {
		s.rest = s.rest[1:]
	}
	return nil
}

// frame makes passes until one finds a good frame, and returns the best frame. It gives up early if there are no frames at all.
func (s *search) frame(ctx context.Context) ([]byte, error) {
	for ; !s.done && !s.empty && len(s.rest) > 0; s.rest = s.rest[1:] {
		p := s.rest[0]
		if p.exactSeek && s.media.duration <= p.window {
			continue // the pass before has covered the whole video
		}
		if err := s.pass(ctx, p); err != nil {
			return nil, err
		}
	}
	if s.empty && !isHopeless(s.last.Stderr) {
		if err := s.pass(ctx, lastPass); err != nil {
			return nil, err
		}
	}
	best := s.choice.best()
	if best == nil {
		return nil, verdict(s.last)
	}
	if v := s.media.video; !(v.hdr && s.program.canToneMap()) { // tone mapping converts the primaries too
		// Players show BT.709 and BT.2020 video without HDR as if it had the tone curve of sRGB.
		best = withProfile(best, heif.ProfileOf(v.primaries, "iec61966-2-1"))
	}
	return best, nil
}

// pass makes one pass.
func (s *search) pass(ctx context.Context, p pass) error {
	c := &s.choice
	res, err := s.runUntil(ctx, c.collect(p.keyFrames, p.most), s.frameArgs(p, s.media)...)
	s.last, s.empty = res, len(c.frames) == 0
	if err != nil && ctx.Err() == nil && (c.visible > 0 || p.enough == 0 && !s.empty) {
		s.done = true // there was no time to find a better frame
		return nil
	}
	s.done = c.good || !s.empty && c.visible >= p.enough
	return err
}
