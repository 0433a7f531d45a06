package thumbcache

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/thumbcache/thumbcache/internal/flight"
	"github.com/thumbcache/thumbcache/internal/store"
)

// pipeline is the version of everything that turns media into a thumbnail. A stored thumbnail of another version is a miss.
// Raise it when a change here or below makes a picture look different.
const pipeline = 2

// A thumbFlight identifies the work on one thumbnail.
type thumbFlight struct {
	key     key
	version string
	gen     uint64
	replace bool // replaces a thumbnail that another flight is about to serve
}

// A pictureFlight identifies one extraction, or with rescue set the decoding of a picture by ffmpeg.
type pictureFlight struct {
	sourceFlight
	rescue bool
	digest string // of the picture to decode, or those of the pictures that are rejected
	edge   int    // as in search; -1: all pixels; 0: the first caller decides
}

// A lookFlight identifies one look at a source, and at the pictures beside it if art is set.
type lookFlight struct {
	sourceFlight
	art bool
}

// A job is one thumbnail to load or to make.
type job struct {
	thumbFlight
	hash  string     // of the source, for the names of files
	asked time.Time  // when its flight was asked for
	from  *origin    // where the answer came from
	lease *heldLease // of the shared tier; nil: none
	again bool       // its source is in another state than that of the stored thumbnail
	early bool       // the result may be of an extraction that began before the lease
}

// takeLease returns the lease of j, which its caller must end.
func (j *job) takeLease() *heldLease {
	l := j.lease
	j.lease = nil
	return l
}

func (j *job) source() source { return j.key.source }

func (c *Cache) providerOf(j *job) *provider { return c.providers[j.key.provider] }

func (j *job) sourceFlight() sourceFlight { return sourceFlight{j.key.source, j.version, j.gen} }

// known is what the cache knows about a thumbnail that it cannot serve from memory.
type known struct {
	old    *entry   // the stored thumbnail, perhaps outdated; or nil
	failed *failure // the remembered failure of the source, perhaps outdated; or nil
	last   *Stamp   // the state of the source, if it was checked lately; or nil

	skipped bool // the tiers have not been read yet
}

// load is the flight of one thumbnail: it reads the thumbnail from disk, or makes it.
func (c *Cache) load(w *flight.Work, j *job) (*Thumbnail, error) {
	defer c.logPanic(j.source())
	if w.Err() != nil {
		return nil, c.endError(w, w.Err())
	}
	// 1. A caller misses in memory. 2. Another flight for the same key ends. 3. The caller starts this flight.
	if e := c.memory.get(&j.key); e != nil && e.fresh(j.version) {
		j.from.count(&c.memoryHits, "memory")
		return e.thumb, nil
	}
	k := known{last: c.memory.lastLook(j.source())}
	if k.skipped = time.Since(j.asked) > lookupPatience; k.skipped {
		return c.makeInTurn(w, j, &k)
	}
	k.old = c.stored(w, j)
	if k.old != nil && flight.Idle(w) != nil { // no request waits, so the source is checked now and not in the background
		if err := c.checkNow(w, j, &k, k.old.stamp); err != nil {
			return nil, err
		}
	}
	if t := c.serveStored(w, j, &k); t != nil {
		return t, nil
	}
	if t, err := c.serveShared(w, j, &k); t != nil || err != nil {
		return t, err
	}
	return c.makeThumbnail(w, j, &k)
}

// checkNow checks a source that was not checked lately. It fails only if the source does not exist.
func (c *Cache) checkNow(ctx context.Context, j *job, k *known, before Stamp) error {
	if k.last != nil || j.version != "" || c.providerOf(j).settings.Revalidate < 0 {
		return nil
	}
	now, err := c.stat(ctx, j.sourceFlight(), before)
	switch {
	case err == nil:
		k.last = &now
	case errors.Is(err, fs.ErrNotExist):
		c.failures.Add(1)
		c.forget(j.source())
		return err
	}
	return nil
}

// stored returns the thumbnail on disk, or else the one in memory, whatever the state of its source; nil if there is none.
func (c *Cache) stored(ctx context.Context, j *job) *entry {
	if e := c.disk.load(ctx, &j.key, j.hash); e != nil {
		return e
	}
	return c.memory.get(&j.key)
}

// serveStored returns the stored thumbnail unless there is none or it is outdated. It keeps the thumbnail in memory.
func (c *Cache) serveStored(ctx context.Context, j *job, k *known) *Thumbnail {
	if k.old == nil {
		return nil
	}
	standing := c.providerOf(j).standing(&k.old.made, j.version, k.last)
	if standing == outdated {
		return nil
	}
	j.from.count(&c.diskHits, "disk")
	c.keep(ctx, j, k.old)
	if standing == unchecked {
		c.staleServed.Add(1)
		c.revalidateSoon(j, k.old.stamp)
	}
	return k.old.thumb
}

// keep keeps a stored thumbnail in memory.
func (c *Cache) keep(ctx context.Context, j *job, e *entry) {
	c.watchMemory()
	if !c.bypassesMemory(ctx) {
		c.memory.put(j.gen, *e)
	}
	c.memory.putTwin(e)
}

// bypassesMemory reports whether a result is not kept in memory: what Warm makes must not evict what requests have used.
func (c *Cache) bypassesMemory(ctx context.Context) bool {
	return (c.disk != nil || c.shared != nil) && flight.Idle(ctx) != nil
}

// makeThumbnail makes a thumbnail when its turn has come, unless its source is known to have no picture.
func (c *Cache) makeThumbnail(w *flight.Work, j *job, k *known) (*Thumbnail, error) {
	if err := c.answerFailure(w, j, k); err != nil {
		return nil, err
	}
	return c.makeInTurn(w, j, k)
}

// makeInTurn makes a thumbnail when its turn has come, unless another process or machine makes it first.
func (c *Cache) makeInTurn(w *flight.Work, j *job, k *known) (*Thumbnail, error) {
	return c.awaitTurn(w, j.source(), func(w *flight.Work, release func(), err error) (*Thumbnail, error) {
		t, err := c.makeNow(w, j, k, release, err)
		c.forgetIfClosed(j, err)
		return t, err
	})
}

// makeNow is the rest of makeInTurn, with a worker or the error of waiting for one.
func (c *Cache) makeNow(w *flight.Work, j *job, k *known, release func(), err error) (*Thumbnail, error) {
	if err != nil {
		return c.settleFailure(w, j, k, extracted{}, err)
	}
	defer func() { release() }()
	unclaim, free := c.claim(w, j, release)
	defer unclaim()
	if t, err := c.answerAgain(w, j, k, free); t != nil || err != nil {
		return t, err
	}
	if !free {
		if release, err = c.acquireTurn(w, j.source()); err != nil {
			release = func() {}
			return c.settleFailure(w, j, k, extracted{}, err)
		}
	}
	if err := c.recheckFailure(w, j, k, release); err != nil {
		return nil, err
	}

	c.watchMemory()
	c.misses.Add(1)
	j.from.set("made")
	t, x, err := c.extractAndRender(w, j)
	if !c.disk.isBehind() {
		release() // so that a slow disk holds up no other thumbnail
	}
	if err == nil {
		c.publish(w, j, t, x, k.failed != nil)
		return t, nil
	}
	return c.settleFailure(w, j, k, x, err)
}

// answerAgain answers from what another process or machine has stored since the tiers were read. With a free claim, which is the
// usual case, it reads as little as possible.
func (c *Cache) answerAgain(w *flight.Work, j *job, k *known, free bool) (*Thumbnail, error) {
	if e := c.disk.load(w, &j.key, j.hash); e != nil {
		k.old = e
	} else if !free || k.skipped {
		k.old = c.memory.get(&j.key)
	}
	if t := c.serveStored(w, j, k); t != nil {
		return t, nil
	}
	if free && j.lease == nil && !k.skipped {
		return nil, nil
	}
	if t, err := c.serveShared(w, j, k); t != nil || err != nil {
		return t, err
	}
	return nil, c.answerFailure(w, j, k)
}

// answerFailure returns the error that is remembered for the present state of the source, or nil. A failure of another or an
// unknown state is left in k.failed.
func (c *Cache) answerFailure(ctx context.Context, j *job, k *known) error {
	k.failed = c.failureOf(ctx, j)
	if k.failed == nil || compare(&k.failed.made, j.version, k.last) != current {
		return nil
	}
	if k.old != nil { // which is from another state, so the failure replaces it
		j.early = true
		c.rememberFailure(ctx, j, k, k.failed)
	}
	j.from.count(&c.negativeHits, "failure")
	return k.failed.err
}

// failureOf returns the remembered failure of a source, whatever its state, or nil.
func (c *Cache) failureOf(ctx context.Context, j *job) *failure {
	failed := c.memory.failure(j.source())
	p := c.providerOf(j)
	if failed == nil && p.settings.FailureTTL >= 0 {
		failed = c.disk.loadFailure(ctx, j.source(), j.hash)
	}
	if failed != nil && c.failureValid(p, failed) {
		return failed
	}
	if p.settings.FailureTTL < 0 {
		return nil
	}
	failed = c.shared.loadFailure(ctx, j.source(), j.hash)
	if failed == nil || !c.failureValid(p, failed) {
		return nil
	}
	c.memory.putFailure(j.sourceFlight(), failed)
	c.disk.saveFailure(j.sourceFlight(), failed)
	return failed
}

// recheckFailure checks a source that failed before, unless its state is known. It returns the remembered error while the source is
// as it was, and while it cannot be reached. It calls release before it changes files, because a disk may hang.
func (c *Cache) recheckFailure(w *flight.Work, j *job, k *known, release func()) error {
	if k.failed == nil || compare(&k.failed.made, j.version, k.last) != unchecked {
		return nil
	}
	now, err := c.stat(w, j.sourceFlight(), k.failed.stamp)
	switch {
	case w.Err() != nil:
		return c.endError(w, err)
	case errors.Is(err, fs.ErrNotExist):
		release()
		c.failures.Add(1)
		c.forget(j.source())
		return err
	case err != nil:
		j.from.count(&c.negativeHits, "failure")
		return k.failed.err
	case !now.equal(k.failed.stamp):
		return nil
	}
	release()
	k.last = &now
	return c.answerFailure(w, j, k)
}

// extractAndRender makes a thumbnail of the best picture of a source that can be decoded. If there is none, it returns the error
// of the best picture.
func (c *Cache) extractAndRender(w *flight.Work, j *job) (t *Thumbnail, x extracted, err error) {
	defer c.wanted.add(&j.key, j.from.sizes())()
	f := j.sourceFlight()
	rejected := c.memory.rejected(f.source, c.memory.lastLook(f.source))
	var first error // of the best picture
	var firstStamp Stamp
	lasting := true // all rejected pictures are so for good
	for range maxPictures {
		x, err = c.picture(w, j, rejected)
		j.early = j.early || x.early
		if err != nil {
			if first != nil && isVerdict(err) && x.stamp.equal(firstStamp) {
				err = first // no picture is left
			}
			return nil, x, err
		}
		pic := x.pic
		if t, err = c.decode(w, j, &x); err == nil {
			if lasting {
				c.memory.reject(f, x.stamp, rejected)
			}
			return t, x, nil
		}
		if w.Err() != nil || !isUndecodable(err) {
			return nil, x, err
		}
		if first == nil || !x.stamp.equal(firstStamp) {
			first, firstStamp = err, x.stamp
		}
		if !pic.hasNext {
			break
		}
		rejected = append(slices.Clip(rejected), pic.digest())
		lasting = lasting && isVerdict(err)
	}
	return nil, x, first
}

// isUndecodable reports whether err says that a picture cannot be decoded here, so that another one may take its place.
func isUndecodable(err error) bool {
	return isVerdict(err) || errors.Is(err, ErrTooLarge) || isMissingTool(err)
}

// decode makes a thumbnail of the picture in x. If Go cannot decode the picture, ffmpeg may; then x becomes what ffmpeg made.
func (c *Cache) decode(w *flight.Work, j *job, x *extracted) (*Thumbnail, error) {
	t, err := c.render(w, j, x)
	if !x.pic.canRescue() || !errors.Is(err, ErrUnsupported) && !errors.Is(err, ErrCorrupt) {
		return t, err
	}
	rescued, rescueErr := c.rescue(w, j, *x)
	switch {
	case rescueErr == nil:
		*x = rescued
		return c.render(w, j, x)
	case isVerdict(rescueErr) || isMissingTool(rescueErr) && errors.Is(err, ErrCorrupt):
		return nil, err // the first decoder's verdict stands
	}
	return nil, rescueErr // ffmpeg may succeed the next time
}

// extracted is the result of an extraction.
type extracted struct {
	pic       *Picture
	stamp     Stamp
	unchanged bool // the source did not change meanwhile, so the result may be remembered
	early     bool // the extraction may have begun before it was asked for
}

// picture returns the best picture of a source that is not rejected: one that was extracted a moment ago, or that of one
// extraction for all sizes.
func (c *Cache) picture(w *flight.Work, j *job, rejected []string) (extracted, error) {
	f := j.sourceFlight()
	s := search{rejected: rejected, edge: j.key.edge()}
	recent := c.memory.picture(f.source)
	if recent != nil && compare(&recent.made, f.version, c.memory.lastLook(f.source)) == current && s.accepts(recent.pic) {
		return extracted{recent.pic, recent.stamp, true, true}, nil
	}
	id := pictureFlight{sourceFlight: f, digest: strings.Join(rejected, " ")}
	return c.sharePicture(w, id, s.edge, func(w *flight.Work) (extracted, error) {
		s.caller = c.callerOf(w, f.provider)
		s.readArt = func(ctx context.Context, file artFile) (*Picture, error) { return c.readArt(ctx, f, file) }
		return c.extract(withSearch(w, s), f)
	})
}

// rescue has ffmpeg decode a picture that Go cannot decode, once for all sizes.
func (c *Cache) rescue(w *flight.Work, j *job, x extracted) (extracted, error) {
	f, edge := j.sourceFlight(), j.key.edge()
	id := pictureFlight{sourceFlight: f, rescue: true, digest: x.pic.digest()}
	return c.sharePicture(w, id, edge, func(w *flight.Work) (_ extracted, err error) {
		defer c.observer.stage("rescue", f.source)(&err)
		rescued := x
		s := search{caller: c.callerOf(w, f.provider), edge: edge}
		if rescued.pic, err = x.pic.rescue(withSearch(w, s)); err == nil && x.unchanged {
			c.memory.putPicture(f, x.stamp, rescued.pic)
		}
		return rescued, err
	})
}

// sharePicture joins or starts a flight for a picture, which has a limit of its own. If the flight was started for a smaller edge,
// and the picture is not enough for this one, sharePicture starts another flight.
func (c *Cache) sharePicture(w *flight.Work, id pictureFlight, edge int, fn func(*flight.Work) (extracted, error)) (extracted, error) {
	defer w.Waiting()()
	for {
		x, joined, err := c.pictures.Do(w, id, func(w *flight.Work) (extracted, error) {
			defer c.logPanic(id.source)
			return fn(w)
		})
		x.early = x.early || joined
		if err == nil && x.pic.isEnough(edge) {
			return x, nil
		}
		if err != nil {
			op := "extract"
			if id.rescue {
				op = "decode"
			}
			return x, fail(op, id.source, err)
		}
		id.edge = cmp.Or(edge, -1) // another one than at first
	}
}

// callerOf returns the caller for ffmpeg processes of w: they are counted, and wait as the work of a provider.
func (c *Cache) callerOf(w *flight.Work, provider string) ffmpegCaller {
	return ffmpegCaller{Groups: c.groups(provider), Idle: flight.Idle(w), Started: c.processes.start, Waits: w.Waiting}
}

// extract is the flight of one extraction. The source counts as unchanged if it is in the same state before and after.
func (c *Cache) extract(ctx context.Context, f sourceFlight) (x extracted, err error) {
	p := c.providers[f.provider]
	recent := c.memory.picture(f.source)
	stated := f.version == "" && (recent != nil || !p.opensFirst())
	if stated {
		var before Stamp
		if recent != nil {
			before = recent.stamp
		}
		if x.stamp, err = c.stat(ctx, f, before); err != nil {
			return x, err
		}
		if recent != nil && recent.stamp.equal(x.stamp) && searchOf(ctx).accepts(recent.pic) {
			return extracted{recent.pic, recent.stamp, true, true}, nil
		}
		if err := x.stamp.verdict(); err != nil {
			x.unchanged = true
			return x, fail("stat", f.source, err)
		}
	}
	src, release, err := c.open(ctx, f, &x, stated)
	if err != nil {
		return x, fail("open", f.source, err)
	}
	defer release()
	if src.Partial {
		if f.version != "" {
			return x, fail("open", f.source, errPartial)
		}
		x.stamp = src.Stamp // so that the ETag is not that of the whole
	}
	c.extractions.Add(1)
	done := c.observer.stage("extract", f.source)
	x.pic, x.stamp, err = p.extract(ctx, src, f.path, x.stamp)
	done(&err)
	x.unchanged = !src.Partial && (f.version != "" || src.isSteady(x.stamp))
	if !x.unchanged && !src.Partial {
		after, err := p.stat(ctx, f.path, x.stamp)
		if x.unchanged = err == nil && after.equal(x.stamp); x.unchanged {
			c.memory.recordLook(f, after, p.settings.Revalidate)
		}
	}
	if err != nil {
		return x, fail("extract", f.source, err)
	}
	x.pic = c.identify(x.pic.rescuedBy(c.ffmpeg))
	if x.unchanged {
		c.memory.putPicture(f, x.stamp, x.pic)
	}
	return x, nil
}

var errPartial = errors.New("a part of the media cannot be reached")

// open opens a source, which the caller must release. If the source was not stated before, its state is what Open says. A lasting
// verdict of Open is about that state, so it may be remembered.
func (c *Cache) open(ctx context.Context, f sourceFlight, x *extracted, stated bool) (src *Source, release func(), err error) {
	p := c.providers[f.provider]
	if !p.calls.TryAcquire(1) {
		return nil, nil, ErrBusy
	}
	defer func() {
		if release == nil {
			p.calls.Release(1)
		}
	}()
	done := c.observer.stage("open", f.source)
	src, err = p.open(ctx, f.path)
	done(&err)
	x.unchanged = isVerdict(err)
	switch {
	case stated:
	case err == nil:
		x.stamp = src.Stamp
	case x.unchanged:
		x.stamp = verdictStamp(err)
	}
	if err != nil && !x.unchanged {
		return nil, nil, err
	}
	if !stated && f.version == "" {
		c.memory.recordLook(f, x.stamp, p.settings.Revalidate)
	}
	if err != nil {
		return nil, nil, err
	}
	return src, func() { src.Content.Close(); p.calls.Release(1) }, nil
}

// identify returns pic with its digest. If an equal picture was extracted a moment ago, pic shares its bytes.
func (c *Cache) identify(pic *Picture) *Picture {
	identified := *pic
	if equal := c.memory.equalPicture(pic); equal != nil {
		identified.Data, identified.sum = equal.Data, equal.sum
	} else {
		identified.sum = pic.digest()
	}
	return &identified
}

// readArt reads a picture beside the media, once for all media beside it.
func (c *Cache) readArt(ctx context.Context, of sourceFlight, file artFile) (*Picture, error) {
	art := c.providers[of.provider].art
	f := sourceFlight{source{of.provider, file.path}, artTag + file.stamp.Version(), of.gen}
	if f.version == artTag { // the provider cannot tell its states apart
		return art.readFile(ctx, file)
	}
	f.gen = c.generations.of(f.source)
	if p := c.memory.picture(f.source); p != nil && p.version == f.version {
		return p.pic, nil
	}
	x, _, err := c.pictures.Do(ctx, pictureFlight{sourceFlight: f}, func(w *flight.Work) (extracted, error) {
		pic, err := art.readFile(w, file)
		if err == nil {
			pic = c.identify(pic)
			c.memory.putPicture(f, file.stamp, pic)
		}
		return extracted{pic: pic}, err
	})
	return x.pic, err
}

// publish stores a new thumbnail in memory and on disk, unless its source changed meanwhile or was invalidated. If the source
// failed before, that failure is removed.
func (c *Cache) publish(ctx context.Context, j *job, t *Thumbnail, x extracted, hadFailed bool) {
	if !x.unchanged {
		return
	}
	e := entry{made: made{x.stamp, j.version}, key: j.key, thumb: t, picture: x.pic.digest()}
	if hadFailed {
		c.memory.removeFailure(j.sourceFlight())
	}
	if !c.bypassesMemory(ctx) {
		c.memory.put(j.gen, e)
	}
	c.disk.save(j.gen, &e, hadFailed)
	c.shared.save(ctx, j, &e)
	c.memory.putTwin(&e)
}

// settleFailure decides what becomes of a thumbnail that could not be made: the old one is served, or the error is returned,
// and remembered if it would be the same the next time.
func (c *Cache) settleFailure(w *flight.Work, j *job, k *known, x extracted, err error) (*Thumbnail, error) {
	if w.Err() != nil || err == ErrClosed {
		return nil, c.endError(w, err)
	}
	c.failures.Add(1)
	if needsTempDir(err) {
		c.logTempDir.Do(func() { c.log.Error("thumbcache: some media needs a folder for temporary files", "error", err) })
	}
	switch {
	case j.version == "" && k.old != nil && !isPermanent(err):
		from := "disk"
		if c.disk == nil {
			from = "memory"
		}
		j.from.count(&c.staleServed, from)
		return k.old.thumb, nil // the source has changed, but cannot be read now
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, ErrTooLarge): // not remembered: too large for one size may do for another
		if k.old != nil || k.failed != nil {
			c.forget(j.source())
		}
	case isVerdict(err) && x.unchanged:
		c.rememberFailure(w, j, k, &failure{made: made{x.stamp, j.version}, err: err, at: time.Now(), ffmpeg: c.ffmpegID(err)})
	}
	return nil, err
}

// rememberFailure stores the failure of a source. It replaces all sizes of the source if there is an old thumbnail.
func (c *Cache) rememberFailure(ctx context.Context, j *job, k *known, failed *failure) {
	f := j.sourceFlight()
	if k.old != nil {
		f.gen = c.forget(f.source)
	}
	if c.providerOf(j).settings.FailureTTL >= 0 {
		c.memory.putFailure(f, failed)
		c.disk.saveFailure(f, failed)
		c.shared.saveFailure(ctx, j, f, failed)
	}
}

// failureValid reports whether a failure is recent enough, and of the ffmpeg that is installed now. A failure from the future
// was recorded by a clock that was wrong.
func (c *Cache) failureValid(p *provider, f *failure) bool {
	age := time.Since(f.at)
	return age >= 0 && age < p.settings.FailureTTL && f.ffmpeg == c.ffmpegID(f.err)
}

// ffmpegID identifies the ffmpeg that err depends on.
func (c *Cache) ffmpegID(err error) string {
	if c.ffmpeg == nil || errors.Is(err, ErrNoPicture) || errors.Is(err, ErrNoMedia) {
		return ""
	}
	return c.ffmpeg.build()
}

// forget removes everything about a source that is gone or can no longer be used, and returns its new generation. Removing files
// goes on in the background if it takes long.
func (c *Cache) forget(s source) (gen uint64) {
	c.disk.removeSoon(s, c.memory.remove(s))
	return c.memory.remove(s) // again, because a Get may have read a file meanwhile
}

// endError counts and returns the reason why work ended before it was done.
func (c *Cache) endError(w *flight.Work, err error) error {
	if w.Err() != nil {
		err = context.Cause(w)
	}
	if errors.Is(err, flight.ErrAbandoned) {
		c.abandoned.Add(1)
	} else {
		c.failures.Add(1)
	}
	return err
}

// isPermanent reports whether err would be the same the next time.
func isPermanent(err error) bool {
	return isVerdict(err) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) || errors.Is(err, ErrTooLarge)
}

// isVerdict reports whether err says something lasting about the media itself.
func isVerdict(err error) bool { return causeOf(err) != store.Picture }

// causeOf returns the cause under which err is remembered, or store.Picture if it is not remembered.
func causeOf(err error) store.Cause {
	switch {
	case errors.Is(err, ErrNoPicture):
		return store.NoPicture
	case errors.Is(err, ErrNoMedia):
		return store.NoMedia
	case errors.Is(err, ErrUnsupported):
		return store.Unsupported
	case errors.Is(err, ErrCorrupt):
		return store.Corrupt
	}
	return store.Picture
}

// retryLook is how soon a source that could not be reached is checked again: often enough to see a share come back, and not
// on every request.
const retryLook = 5 * time.Second

// revalidateSoon checks in the background whether a source is still in the state of stamp. If it has changed, its thumbnail is
// made again.
func (c *Cache) revalidateSoon(j *job, stamp Stamp) {
	if !c.memory.isPostponed(j.source()) {
		c.lookSoon(j.sourceFlight(), stamp, func(now Stamp) { c.replace(j, now) })
	}
}

// lookSoon looks at a source in the background, and calls changed if it is not in the state of stamp any more.
func (c *Cache) lookSoon(f sourceFlight, stamp Stamp, changed func(now Stamp)) {
	p := c.providers[f.provider]
	trust := p.settings.Revalidate
	if trust < 0 {
		return
	}
	c.checks.Start(lookFlight{f, p.watchesArt(stamp)}, func(w *flight.Work) (now Stamp, err error) {
		reached := false
		defer func() {
			if !reached { // or the provider panicked
				c.memory.postponeLook(f, min(trust, retryLook))
			}
		}()
		now, err = c.statNow(w, f.source, stamp, p.background)
		switch {
		case err == nil:
			reached = true
			c.memory.recordLook(f, now, trust)
			if !now.equal(stamp) {
				changed(now)
			}
		case errors.Is(err, fs.ErrNotExist):
			reached = true
			c.forget(f.source)
		}
		return now, err
	})
}

// logPanic logs a panic of the function that defers it, and goes on with the panic.
func (c *Cache) logPanic(s source) {
	if p := recover(); p != nil {
		c.log.Error("thumbcache: panic", "provider", s.provider, "path", s.path, "panic", p, "stack", string(debug.Stack()))
		panic(p)
	}
}

// replace makes a thumbnail again in the background, because its source is now in another state. If the cache is closed first, the
// old thumbnail is removed, so that the next process does not serve it.
func (c *Cache) replace(j *job, now Stamp) {
	remake := func(w *flight.Work) (*Thumbnail, error) {
		defer c.logPanic(j.source())
		again := &job{thumbFlight: j.thumbFlight, hash: hashOf(j.source()), again: true}
		// The state is handed on: the look in memory may be due again by now, if Revalidate is very short.
		k := &known{old: c.stored(w, again), last: &now}
		if t, err := c.serveShared(w, again, k); t != nil || err != nil {
			c.forgetIfClosed(again, err)
			return t, err
		}
		return c.makeThumbnail(w, again, k)
	}
	f := j.thumbFlight
	started := c.thumbs.Start(f, remake)
	if !started {
		f.replace = true // the flight in progress may be the one that serves the old thumbnail
		started = c.thumbs.Start(f, remake)
	}
	if !started && c.closed.Load() {
		c.forget(j.source())
	}
}

// forgetIfClosed removes the old thumbnail if the cache was closed before it could be made again.
func (c *Cache) forgetIfClosed(j *job, err error) {
	if j.again && err != nil && c.closed.Load() {
		c.forget(j.source())
	}
}

// stat asks the provider for the state of a source, and records it. If the stamp from before includes the pictures beside the
// source, so does the new one. Concurrent callers share one call.
func (c *Cache) stat(ctx context.Context, f sourceFlight, before Stamp) (Stamp, error) {
	p := c.providers[f.provider]
	stamp, _, err := c.looks.Do(ctx, lookFlight{f, p.watchesArt(before)}, func(w *flight.Work) (Stamp, error) {
		return c.statNow(w, f.source, before, p.calls)
	})
	if err != nil {
		return stamp, fail("stat", f.source, err)
	}
	c.memory.recordLook(f, stamp, p.settings.Revalidate)
	return stamp, nil
}

// statNow is the flight of one look at a source. limit bounds the calls of the provider.
func (c *Cache) statNow(ctx context.Context, s source, before Stamp, limit *semaphore.Weighted) (stamp Stamp, err error) {
	defer c.logPanic(s)
	defer c.observer.stage("stat", s)(&err)
	if !limit.TryAcquire(1) {
		return Stamp{}, fail("stat", s, ErrBusy)
	}
	defer limit.Release(1)
	if stamp, err = c.providers[s.provider].stat(ctx, s.path, before); err != nil {
		err = fail("stat", s, err)
	}
	return stamp, err
}
