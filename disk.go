package thumbcache

import (
	"cmp"
	"container/heap"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/thumbcache/thumbcache/internal/readfile"
)

const sep = string(filepath.Separator)

const (
	maxSealed     = 128 << 20        // a larger file at one of our names is not ours
	maxDiskReads  = 32               // at once: each may hold a thread for as long as a dying disk likes
	readPatience  = time.Second      // how long a read waits for its turn
	touchInterval = time.Hour        // a disk hit writes the time of use at most this often, as cmd/go's cache does
	orphanAge     = time.Hour        // a temporary file that is older was left behind by a killed process
	writePause    = 2 * time.Second  // after a failed write
	scanPause     = time.Millisecond // between two folders, so that learning sizes is in nobody's way
)

// disk is the second tier: a folder of sealed files, by key, that never holds more than max bytes. Several processes may
// share it: they may do work twice, but never break or misread each other's files. Its methods may be called from several
// goroutines.
//
// The folder holds up to 256 folders, named by the first byte of the hash, and in them
//
//	<hash>_<size>.jpg   <hash>_<size>.png     Contain
//	<hash>_<size>c.jpg  <hash>_<size>c.png    Cover
//	<hash>.none                               there is no picture, and why
//
// where hash is the lower-case hex SHA-256 of provider + "/" + path. A file is written under a temporary name and renamed.
// No fsync is needed: a file that a power failure has torn fails its check and is a miss.
type disk struct {
	dir   string
	max   int64 // negative: no limit
	log   *slog.Logger
	reads *semaphore.Weighted
	stop  context.CancelFunc
	ended <-chan struct{}
	wg    sync.WaitGroup

	evictions, errors, corrupt atomic.Uint64

	trimming sync.Mutex // held by the one who makes room

	mu      sync.Mutex // protects the fields below
	folders [256]folder
	used    usage     // the sum of what the folders hold
	pending int64     // bytes that are being written
	resume  time.Time // when writing is tried again after a failure; zero while all is well
}

type usage struct{ files, bytes int64 }

// A folder is what is known of one of the 256: one that has not been learnt yet counts what was written since New.
type folder struct {
	holds usage
	added usage // all that was ever written there, so that a walk can tell what came while it looked
}

// ourName matches what may be counted and deleted below dir, and nothing else.
var ourName = regexp.MustCompile(`^[0-9a-f]{64}(_[0-9]{1,10}c?\.(jpg|png)|\.none)(\.[0-9a-f]{16}\.tmp)?$`)

// cacheDirTag follows https://bford.info/cachedir/: backup programs leave the folder out.
const cacheDirTag = "Signature: 8a477f597d28d172789f06886806bc55\n# This folder is a cache of thumbnails made by thumbcache. It may be deleted at any time.\n"

// openDisk prepares dir and begins to learn what is in it in the background.
func openDisk(dir string, max int64, log *slog.Logger) (*disk, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	// From here on a link that takes the folder's place later is not followed.
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, err
	}
	if err := claim(dir); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	d := &disk{dir: dir, max: max, log: log, reads: semaphore.NewWeighted(maxDiskReads), stop: cancel, ended: ctx.Done()}
	d.wg.Go(d.learn)
	return d, nil
}

// claim marks dir as ours. A folder that holds something else is refused: one day a trim would be a surprise there. Only
// the marking may fail, since a folder that cannot be written can still be served from.
func claim(dir string) error {
	const tag = "CACHEDIR.TAG"
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if old, err := root.ReadFile(tag); err == nil && strings.Contains(string(old), "thumbcache") {
		return nil
	}
	f, err := root.Open(".")
	if err != nil {
		return err
	}
	defer f.Close()
	// More than 256 names cannot all be ours, so there is no need to read on.
	names, err := f.Readdirnames(257)
	if err != nil && err != io.EOF {
		return err
	}
	for _, name := range names {
		// Another process may be writing the tag just now.
		if b, err := hex.DecodeString(name); name != tag && (err != nil || len(b) != 1) {
			return fmt.Errorf("%s holds %q: not empty, and not a folder of thumbnails", dir, name)
		}
	}
	_ = root.WriteFile(tag, []byte(cacheDirTag), 0o644)
	return nil
}

func (d *disk) stopped() bool {
	select {
	case <-d.ended:
		return true
	default:
		return false
	}
}

func (d *disk) close() {
	d.stop()
	d.wg.Wait()
}

// usage returns what is known to be stored. Until all folders are learnt, more may have gone from them than is known.
func (d *disk) usage() usage {
	d.mu.Lock()
	defer d.mu.Unlock()
	return usage{max(d.used.files, 0), max(d.used.bytes, 0)}
}

// excess returns by how much the limit would be exceeded if need more bytes were written.
func (d *disk) excess(need int64) int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.max < 0 {
		return 0
	}
	return d.used.bytes + d.pending + need - d.max
}

// hashOf returns the hex SHA-256 that names the files of s.
func hashOf(s source) string {
	var buf [512]byte
	sum := sha256.Sum256(append(append(append(buf[:0], s.provider...), '/'), s.path...))
	return hex.EncodeToString(sum[:])
}

// nameOf returns the name of the file for k within its folder.
func nameOf(hash string, k *key) string {
	if k.none {
		return hash + ".none"
	}
	name := hash + "_" + strconv.Itoa(k.size)
	if k.fit == Cover {
		name += "c"
	}
	if k.format == PNG {
		return name + ".png"
	}
	return name + ".jpg"
}

// get reads what is stored for k, whose source has this hash. Whatever is wrong with it, it is a miss.
func (d *disk) get(ctx context.Context, k *key, hash string) (*sealed, bool) {
	if !d.reads.TryAcquire(1) {
		// That many reads are slow only if the disk is. A miss is then the better answer.
		ctx, cancel := context.WithTimeout(ctx, readPatience)
		defer cancel()
		if d.reads.Acquire(ctx, 1) != nil {
			return nil, false
		}
	}
	defer d.reads.Release(1)
	folder, name := hash[:2], nameOf(hash, k)
	data, used, err := readfile.Read(d.dir+sep+folder+sep+name, maxSealed)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			d.errors.Add(1)
			d.log.Debug("thumbcache: reading a stored thumbnail", "error", err)
		}
		return nil, false
	}
	s, err := unseal(data, k)
	if err != nil {
		if !errors.Is(err, errOtherVersion) {
			d.corrupt.Add(1)
			d.log.Warn("thumbcache: removing a damaged file", "name", name, "error", err)
			_ = d.in(func(root *os.Root) error { return d.removeFile(root, folder, name) })
		}
		return nil, false
	}
	if s.key != *k {
		return nil, false
	}
	if now := time.Now(); mustTouch(used, now) {
		_ = d.in(func(root *os.Root) error { return root.Chtimes(folder+"/"+name, now, now) })
	}
	return s, true
}

// cached is get for a file that the system has in memory and that is in order. It never waits for the disk, so it needs
// no goroutine that a caller could leave behind, which is half the price of a hit.
func (d *disk) cached(k *key, hash string) (*sealed, bool) {
	data, used, ok := readfile.Cached(d.dir+sep+hash[:2]+sep+nameOf(hash, k), maxSealed)
	if !ok || mustTouch(used, time.Now()) {
		return nil, false
	}
	s, err := unseal(data, k)
	return s, err == nil && s.key == *k
}

// mustTouch reports whether a time of use has to be written anew. One in the future would never be the oldest.
func mustTouch(used, now time.Time) bool {
	return now.Sub(used) > touchInterval || used.After(now.Add(touchInterval))
}

// put stores s, unless there is no room: then it returns how much is needed, and makeRoom and another put are for the
// caller, since no request should wait for that. A failure is counted and logged here; the caller has the thumbnail all
// the same.
func (d *disk) put(s *sealed) (need int64) {
	data, err := s.seal()
	if err != nil {
		d.errors.Add(1)
		d.log.Debug("thumbcache: not stored", "error", err)
		return 0
	}
	size := int64(len(data))
	hash := hashOf(s.key.source)
	folder, name := hash[:2], nameOf(hash, &s.key)

	d.mu.Lock()
	paused := !d.resume.IsZero() && time.Now().Before(d.resume)
	full := d.max >= 0 && d.used.bytes+d.pending+size > d.max
	if !paused && !full {
		d.pending += size
	}
	d.mu.Unlock()
	switch {
	case paused, d.max >= 0 && size > d.max:
		return 0
	case full:
		return size
	}

	old := int64(-1)
	write := func(root *os.Root) (err error) {
		old, err = publish(root, folder, name, data)
		return err
	}
	if err = d.in(write); errors.Is(err, fs.ErrNotExist) {
		// Somebody has deleted the folder.
		if err = cmp.Or(os.MkdirAll(d.dir, 0o755), claim(d.dir)); err == nil {
			err = d.in(write)
		}
	}
	d.mu.Lock()
	d.pending -= size
	if err == nil {
		d.accountLocked(folder, 1, size)
		if old >= 0 {
			d.accountLocked(folder, -1, -old)
		}
	}
	d.mu.Unlock()
	d.wrote(err)
	return 0
}

// errInTheWay says that somebody made a folder by the name of a file. That is no reason to stop writing others.
var errInTheWay = errors.New("a folder is in the way")

// publish writes a file in one step, as every reader sees it. It returns the size of the file that it replaced, or -1.
func publish(root *os.Root, folder, name string, data []byte) (old int64, err error) {
	final := folder + "/" + name
	temp := fmt.Sprintf("%s.%016x.tmp", final, rand.Uint64())
	open := func() (*os.File, error) { return root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) }
	f, err := open()
	if errors.Is(err, fs.ErrNotExist) {
		if err := root.Mkdir(folder, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return -1, err
		}
		f, err = open()
	}
	if err != nil {
		return -1, err
	}
	_, err = f.Write(data)
	if err = cmp.Or(err, f.Close()); err == nil {
		old = -1
		info, statErr := root.Lstat(final)
		switch {
		case statErr == nil && info.IsDir():
			err = errInTheWay
		case statErr == nil && info.Mode().IsRegular():
			old = info.Size()
			fallthrough
		default:
			err = root.Rename(temp, final)
		}
		if err == nil {
			return old, nil
		}
	}
	_ = root.Remove(temp)
	return -1, err
}

// in calls do with the folder opened. It is opened each time, because what is written through the descriptor of a folder
// that was deleted is lost, and never through a link that has taken its place.
func (d *disk) in(do func(*os.Root) error) error {
	info, err := os.Lstat(d.dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is no folder any more", d.dir)
	}
	root, err := os.OpenRoot(d.dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return do(root)
}

// wrote notes how a write went. It logs changes of state only.
func (d *disk) wrote(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	well := d.resume.IsZero()
	if err == nil {
		d.resume = time.Time{}
		if !well {
			d.log.Info("thumbcache: thumbnails are stored again", "dir", d.dir)
		}
		return
	}
	d.errors.Add(1)
	if errors.Is(err, errInTheWay) {
		return
	}
	d.resume = time.Now().Add(writePause)
	if well {
		d.log.Warn("thumbcache: thumbnails cannot be stored, serving goes on without", "error", err)
	}
}

func (d *disk) account(folder string, files, bytes int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.accountLocked(folder, files, bytes)
}

// accountLocked notes a file that was written to a folder, or with negative numbers one that was removed.
func (d *disk) accountLocked(folder string, files, bytes int64) {
	i, err := strconv.ParseUint(folder, 16, 8)
	if err != nil {
		return // no folder of ours
	}
	f := &d.folders[i]
	f.holds.files += files
	f.holds.bytes += bytes
	if files > 0 {
		f.added.files += files
		f.added.bytes += bytes
	}
	d.used.files += files
	d.used.bytes += bytes
}

// remove deletes the file for k, if there is one.
func (d *disk) remove(k *key) {
	hash := hashOf(k.source)
	_ = d.in(func(root *os.Root) error { return d.removeFile(root, hash[:2], nameOf(hash, k)) })
}

// removeSource deletes every file of s. It reads one folder.
func (d *disk) removeSource(s source) error {
	hash := hashOf(s)
	return d.in(func(root *os.Root) error {
		names, err := readNames(root, hash[:2])
		var errs []error
		for _, name := range names {
			if strings.HasPrefix(name, hash) && ourName.MatchString(name) && !strings.HasSuffix(name, ".tmp") {
				errs = append(errs, d.removeFile(root, hash[:2], name))
			}
		}
		return errors.Join(append(errs, err)...)
	})
}

// removeFile deletes one file and takes it out of the account.
func (d *disk) removeFile(root *os.Root, folder, name string) error {
	info, err := root.Lstat(folder + "/" + name)
	if err == nil {
		err = root.Remove(folder + "/" + name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && info.Mode().IsRegular() {
		d.account(folder, -1, -info.Size())
	}
	return err
}

func readNames(root *os.Root, folder string) ([]string, error) {
	f, err := root.Open(folder)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

// learn sums up what an earlier process left, and trims it if that is too much.
func (d *disk) learn() {
	d.walk(func() bool {
		select {
		case <-d.ended:
			return false
		case <-time.After(scanPause):
			return true
		}
	}, nil)
	d.makeRoom(0)
}

// walk visits every file of ours: it removes temporary files that were left behind, corrects the accounts, and calls
// visit, if there is one, for the others. It stops when next says false, which is asked before each folder.
func (d *disk) walk(next func() bool, visit func(file)) {
	now := time.Now()
	for i := range d.folders {
		folder := fmt.Sprintf("%02x", i)
		if !next() {
			return
		}
		d.mu.Lock()
		before := d.folders[i].added
		d.mu.Unlock()
		var seen usage
		err := d.in(func(root *os.Root) error {
			names, err := readNames(root, folder)
			for _, name := range names {
				if !ourName.MatchString(name) {
					continue
				}
				info, err := root.Lstat(folder + "/" + name)
				if err != nil || !info.Mode().IsRegular() {
					continue
				}
				used := info.ModTime()
				if strings.HasSuffix(name, ".tmp") {
					if now.Sub(used) > orphanAge || used.After(now.Add(orphanAge)) {
						_ = root.Remove(folder + "/" + name)
					}
					continue // one that is being written was counted by put
				}
				if used.After(now.Add(touchInterval)) {
					_ = root.Chtimes(folder+"/"+name, now, now) // or it would never grow old
					used = now
				}
				seen.files++
				seen.bytes += info.Size()
				if visit != nil {
					visit(file{folder, name, info.Size(), used})
				}
			}
			return err
		})
		if err != nil {
			continue
		}
		// What came meanwhile may have been seen too, and what went may have been seen before it did. Either counts for too
		// much until the next walk, and nothing for too little.
		d.mu.Lock()
		f := &d.folders[i]
		files, bytes := seen.files+f.added.files-before.files, seen.bytes+f.added.bytes-before.bytes
		d.used.files += files - f.holds.files
		d.used.bytes += bytes - f.holds.bytes
		f.holds = usage{files, bytes}
		d.mu.Unlock()
	}
}

type file struct {
	folder, name string
	size         int64
	used         time.Time
}

// oldest is a heap of files with the one used last on top.
type oldest []file

func (h oldest) Len() int           { return len(h) }
func (h oldest) Less(i, j int) bool { return h[i].used.After(h[j].used) }
func (h oldest) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *oldest) Push(x any)        { *h = append(*h, x.(file)) }
func (h *oldest) Pop() any {
	last := len(*h) - 1
	f := (*h)[last]
	*h = (*h)[:last]
	return f
}

// makeRoom removes the files used longest ago until need more bytes fit. A walk is dear in a large folder, so then it
// goes a little further than it must: a 64th of all files.
func (d *disk) makeRoom(need int64) {
	d.trimming.Lock()
	defer d.trimming.Unlock()
	// Twice, because a walk may find that there is more than was known before it.
	for range 2 {
		before := d.usage()
		goal := d.excess(need)
		if goal <= 0 {
			return
		}
		extra := before.files / 64
		var found oldest
		var sum int64 // of the sizes in found
		d.walk(func() bool { return !d.stopped() }, func(f file) {
			heap.Push(&found, f)
			sum += f.size
			// found needs no more than the goal and the extra files; what was used after them stays.
			for int64(len(found)) > extra && sum-found[0].size >= goal {
				sum -= heap.Pop(&found).(file).size
			}
		})
		if d.stopped() {
			return // what was not seen may be older
		}
		// From the oldest on.
		victims := make([]file, len(found))
		for i := len(victims) - 1; len(found) > 0; i-- {
			victims[i] = heap.Pop(&found).(file)
		}
		err := d.in(func(root *os.Root) error {
			for i, f := range victims {
				if int64(i) >= extra && d.excess(need) <= 0 {
					return nil
				}
				if err := d.removeFile(root, f.folder, f.name); err != nil {
					return err
				}
				d.evictions.Add(1)
			}
			return nil
		})
		if err != nil {
			d.errors.Add(1)
			d.log.Warn("thumbcache: making room", "error", err)
			return
		}
	}
}

// A sealed file is the picture as it is served, so that any viewer shows it, and behind it a trailer that says what it
// is. All numbers are little-endian.
//
//	     payload         the JPEG or PNG, or nothing
//	 0   magic           "TCSEAL"
//	 6   format version  uint16, sealVersion
//	 8   fit             uint8
//	 9   format          uint8
//	10   quality         uint8
//	11   cause           uint8, 0 for a picture, else why there is none
//	12   pipeline        uint32, the version of the code that made the picture
//	16   size            uint32, as requested
//	20   width, height   2 x uint32, in pixels
//	28   payload length  uint64
//	36   stamp           int64 size, int64 seconds, uint32 nanoseconds of the source's modification time
//	56   made            int64, Unix time in nanoseconds
//	64   limit           uint32, Config.MaxSize where size is 0, else 0
//	68   provider, path, tag, version: each a uint32 length and its bytes
//	     checksum        uint32, CRC-32C of all before it, the payload included
//	     trailer length  uint32, from magic to the end of the file
type sealed struct {
	key           key
	quality       int
	limit         int
	cause         cause
	width, height int
	stamp         Stamp
	version       string
	made          time.Time
	data          []byte // the payload
}

const (
	sealMagic   = "TCSEAL"
	sealVersion = 1
	sealFixed   = 68
	sealEnd     = 8
	maxTrailer  = 1 << 20
)

// A cause is why there is no picture.
type cause uint8

const (
	causeNone cause = iota // there is one
	causeNoPicture
	causeUnsupported
	causeCorrupt
)

var (
	castagnoli      = crc32.MakeTable(crc32.Castagnoli)
	errOtherVersion = errors.New("sealed by another version")
)

func (s *sealed) seal() ([]byte, error) {
	texts := []string{s.key.provider, s.key.path, s.stamp.Tag, s.version}
	n := sealFixed + sealEnd
	for _, t := range texts {
		n += 4 + len(t)
	}
	if n > maxTrailer {
		return nil, errors.New("thumbcache: key too long to store")
	}
	le := binary.LittleEndian
	b := make([]byte, 0, len(s.data)+n)
	b = append(b, s.data...)
	b = append(b, sealMagic...)
	b = le.AppendUint16(b, sealVersion)
	b = append(b, byte(s.key.fit), byte(s.key.format), byte(s.quality), byte(s.cause))
	b = le.AppendUint32(b, pipeline)
	b = le.AppendUint32(b, uint32(s.key.size))
	b = le.AppendUint32(b, uint32(s.width))
	b = le.AppendUint32(b, uint32(s.height))
	b = le.AppendUint64(b, uint64(len(s.data)))
	b = le.AppendUint64(b, uint64(s.stamp.Size))
	b = le.AppendUint64(b, uint64(s.stamp.ModTime.Unix()))
	b = le.AppendUint32(b, uint32(s.stamp.ModTime.Nanosecond()))
	b = le.AppendUint64(b, uint64(s.made.UnixNano()))
	b = le.AppendUint32(b, uint32(s.limit))
	for _, t := range texts {
		b = le.AppendUint32(b, uint32(len(t)))
		b = append(b, t...)
	}
	b = le.AppendUint32(b, crc32.Checksum(b, castagnoli))
	return le.AppendUint32(b, uint32(n)), nil
}

// unseal checks a file and takes it apart. The payload of the result is a part of data. Texts that are the same as those of
// want are not copied.
func unseal(data []byte, want *key) (*sealed, error) {
	le := binary.LittleEndian
	if len(data) < sealFixed+sealEnd {
		return nil, errors.New("too short")
	}
	n := int64(le.Uint32(data[len(data)-4:]))
	if n < sealFixed+sealEnd || n > maxTrailer || n > int64(len(data)) {
		return nil, errors.New("no trailer")
	}
	payload, t := data[:len(data)-int(n):len(data)-int(n)], data[len(data)-int(n):]
	if string(t[:6]) != sealMagic {
		return nil, errors.New("no trailer")
	}
	if le.Uint16(t[6:]) != sealVersion {
		return nil, errOtherVersion
	}
	if le.Uint32(t[n-8:]) != crc32.Checksum(data[:len(data)-8], castagnoli) {
		return nil, errors.New("wrong checksum")
	}
	if le.Uint32(t[12:]) != pipeline {
		return nil, errOtherVersion
	}
	if le.Uint64(t[28:]) != uint64(len(payload)) {
		return nil, errors.New("wrong length")
	}
	s := &sealed{
		key:     key{size: int(le.Uint32(t[16:])), fit: Fit(t[8]), format: Format(t[9]), none: t[11] != 0},
		quality: int(t[10]),
		cause:   cause(t[11]),
		width:   int(le.Uint32(t[20:])),
		height:  int(le.Uint32(t[24:])),
		stamp:   Stamp{Size: int64(le.Uint64(t[36:])), ModTime: time.Unix(int64(le.Uint64(t[44:])), int64(le.Uint32(t[52:])))},
		made:    time.Unix(0, int64(le.Uint64(t[56:]))),
		limit:   int(le.Uint32(t[64:])),
		data:    payload,
	}
	rest := t[sealFixed : n-sealEnd]
	s.key.source = want.source
	for _, text := range [...]*string{&s.key.provider, &s.key.path, &s.stamp.Tag, &s.version} {
		if len(rest) < 4 || uint64(le.Uint32(rest)) > uint64(len(rest)-4) {
			return nil, errors.New("broken trailer")
		}
		l := 4 + int(le.Uint32(rest))
		if string(rest[4:l]) != *text { // which allocates nothing
			*text = string(rest[4:l])
		}
		rest = rest[l:]
	}
	if len(rest) != 0 {
		return nil, errors.New("broken trailer")
	}
	return s, nil
}
