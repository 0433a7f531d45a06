package ffmpeg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/thumbcache/thumbcache/internal/proc"
)

// A job is one call of Extract or Decode that has its slot.
type job struct {
	program program
	timeout time.Duration // as Tool.Timeout
	at      float64       // as Tool.At
	in      *input
	started func() (done func()) // as Caller.Started
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

// A pass is one way to take frames of a video. It costs one process.
type pass struct {
	seek      bool    // start at the key frame before the wanted position, which may be far away
	exactSeek bool    // start exactly at the wanted position
	keyFrames bool    // take key frames only, and stop at the first good one
	interval  float64 // seconds of video between frames
	window    float64 // seconds of video to search; 0 means no limit
	most      int     // stop after this many visible frames; 0 means after one frame, even if it is not visible
	enough    int     // with fewer visible frames than this, the next pass follows
}

// passes are made in order until there is a frame to choose. The first one is cheap and is enough for nearly every video. The
// second is for short clips whose only key frame is black, blurred or in a fade. The third is for videos that are black for a
// long time. The last two accept any frame; the very last starts at the beginning, since the video may end long before the
// audio.
var passes = []pass{
	{seek: true, keyFrames: true, interval: 1, window: 40, most: 5, enough: 3},
	{seek: true, interval: 0.5, window: 8, most: 8, enough: 1},
	{exactSeek: true, interval: 0.5, window: 8, most: 1, enough: 1},
	{seek: true},
	{},
}

// takeFrames adds the frames of a pass to c, and reports whether no other pass is needed.
func (j *job) takeFrames(ctx context.Context, p pass, m media, c *choice) (res proc.Result, done bool, err error) {
	res, err = j.runUntil(ctx, c.collect(p.keyFrames, max(1, p.most)), j.frameArgs(p, m)...)
	if err != nil && ctx.Err() == nil && (c.visible > 0 || p.exactSeek && len(c.frames) > 0) {
		return res, true, nil // there was no time to find a better frame
	}
	return res, c.good || len(c.frames) > 0 && c.visible >= p.enough, err
}

// picture returns the best picture in the media, as described at Extract.
func (j *job) picture(ctx context.Context) ([]byte, error) {
	if isStill(j.in) {
		return j.still(ctx)
	}
	var (
		res  proc.Result
		m    media
		c    choice
		err  error
		rest = passes
	)
	if seconds := duration(j.in, j.in.size); seconds > 0 {
		var done bool
		if res, done, err = j.takeFrames(ctx, passes[0], media{duration: seconds}, &c); err != nil {
			return nil, err
		}
		m = parse(res.Stderr)
		m.duration = seconds
		switch {
		case m.cover != nil:
		case m.needsFilters() || m.video != m.first:
			c = choice{} // its frames lack the filters or are of another stream
		case done:
			return c.best(), nil
		default:
			rest = passes[1:]
		}
	} else {
		// Without an output, ffmpeg lists the streams.
		if res, err = j.run(ctx, j.inputArgs()...); err != nil {
			return nil, err
		}
		m = parse(res.Stderr)
	}
	if m.cover != nil {
		cover, err := j.run(ctx, j.coverArgs(m.cover)...)
		if err != nil {
			return nil, err
		}
		if demuxerOf(cover.Stdout) != "" {
			return cover.Stdout, nil
		}
		c = choice{}
	}
	if m.video == nil {
		return nil, verdict(res)
	}
	return j.frame(ctx, rest, m, &c, res)
}

// frame returns the best frame of the video m. It makes the given passes until one of them has found a good frame. The frames in c
// and the result last are those of the passes before.
func (j *job) frame(ctx context.Context, passes []pass, m media, c *choice, last proc.Result) ([]byte, error) {
	for _, p := range passes {
		if p.most == 0 && len(c.frames) > 0 {
			break
		}
		res, done, err := j.takeFrames(ctx, p, m, c)
		if err != nil {
			return nil, err
		}
		if done {
			return c.best(), nil
		}
		last = res
	}
	if best := c.best(); best != nil {
		return best, nil
	}
	return nil, verdict(last)
}
