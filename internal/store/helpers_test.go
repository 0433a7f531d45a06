package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// series returns full if THUMBCACHE_FULL is set, as in CI, and else short: the number of rounds that a test makes.
func series(short, full int) int {
	if os.Getenv("THUMBCACHE_FULL") != "" {
		return full
	}
	return short
}

// A testClock is the real clock plus what a test adds to it, so that no test waits for a pause to end. In the short series
// background counts do not pause either.
type testClock struct{ ahead atomic.Int64 }

func (c *testClock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

func (c *testClock) clock() clock {
	over := make(chan time.Time)
	close(over)
	return clock{
		now: func() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) },
		after: func(d time.Duration) <-chan time.Time {
			if series(0, 1) == 1 {
				return time.After(d)
			}
			return over
		},
	}
}

// openStore opens a store and closes it at the end of the test.
func openStore(t testing.TB, dir string, maxBytes int64) *Store {
	t.Helper()
	d, _ := openLogged(t, dir, maxBytes, nil, new(testClock))
	return d
}

// openLogged is openStore with a log, which may be nil, and a clock.
func openLogged(t testing.TB, dir string, maxBytes int64, log *lines, clock *testClock) (*Store, *testClock) {
	t.Helper()
	logger := slog.New(slog.DiscardHandler)
	if log != nil {
		logger = log.logger()
	}
	d, err := open(dir, maxBytes, logger, clock.clock())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d, clock
}

// sample returns an entry in which every field is set. Its data repeats five bytes n times.
func sample(path string, n int) *Entry {
	return &Entry{
		Key: Key{Provider: "p", Path: path, Size: 300, Cover: true, PNG: true}, Pipeline: 7, Quality: 85, Limit: 2048, Width: 300, Height: 200,
		Size: 1 << 40, ModTime: time.Unix(1e9, 123456789), Tag: "täg", Version: "v1", ThumbHash: "\x00hash",
		Made: time.Unix(2e9, 1), Data: bytes.Repeat([]byte("thumb"), n),
	}
}

// numbered returns an entry whose data contains its numbers, so that a test notices another entry's bytes.
func numbered(key, variant, size int) *Entry {
	s := sample(fmt.Sprint("n", key), 0)
	s.Version = fmt.Sprint(variant)
	s.Data = bytes.Repeat(binary.LittleEndian.AppendUint64(nil, uint64(key)<<32|uint64(variant)), size/8)
	return s
}

// isNumbered reports whether e is a variant of the entry with this number.
func isNumbered(e *Entry, key int) bool {
	var variant int
	fmt.Sscan(e.Version, &variant)
	return bytes.Equal(e.Data, numbered(key, variant, len(e.Data)).Data)
}

// sealedSize returns the length of the file for e.
func sealedSize(t testing.TB, e *Entry) int64 {
	t.Helper()
	data, err := e.Seal()
	if err != nil {
		t.Fatal(err)
	}
	return int64(len(data))
}

// picture returns a JPEG whose rows all differ.
func picture(edge int) []byte {
	img := image.NewGray(image.Rect(0, 0, edge, edge))
	for i := range img.Pix {
		img.Pix[i] = byte(i * i / edge)
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, nil); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// store stores e as a cache does, and makes room if necessary.
func (s *Store) store(e *Entry) {
	if need := s.Put(e); need > 0 {
		s.MakeRoom(need)
		s.Put(e)
	}
}

// put is store, and fails the test if that fails.
func put(t testing.TB, d *Store, e *Entry) {
	t.Helper()
	before := d.Errors.Load()
	d.store(e)
	if d.Errors.Load() != before {
		t.Fatal("not stored")
	}
}

func fetch(t testing.TB, d *Store, k Key) (*Entry, bool) {
	return d.Get(t.Context(), &k, Hash(k.Provider, k.Path))
}

func pathOf(d *Store, k Key) string { return d.path(&k, Hash(k.Provider, k.Path)) }

// exists reports whether the file for k exists.
func exists(d *Store, k Key) bool {
	_, err := os.Stat(pathOf(d, k))
	return err == nil
}

// filesIn returns the names of all files of ours below dir.
func filesIn(t testing.TB, dir string) (names []string) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "[0-9a-f][0-9a-f]", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		if name := filepath.Base(path); ourName.MatchString(name) {
			names = append(names, name)
		}
	}
	return names
}

// onDisk returns the usage of dir as the file system tells it. Other goroutines may write there meanwhile.
func onDisk(t testing.TB, dir string) (u Usage) {
	t.Helper()
	for _, name := range filesIn(t, dir) {
		if info, err := os.Lstat(filepath.Join(dir, name[:2], name)); err == nil {
			u = u.plus(Usage{1, info.Size()})
		}
	}
	return u
}

// account returns the usage of dir as the account tells it, which all processes share.
func account(dir string) Usage {
	l := newLedger(dir, time.Now, func() {})
	defer l.close()
	return l.total()
}

// watch polls the bytes on disk until stop is called, which returns the maximum.
func watch(t testing.TB, dir string) (stop func() int64) {
	var most int64
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		pause := time.Duration(series(20, 5)) * time.Millisecond // a look at 256 folders takes milliseconds
		for {
			most = max(most, onDisk(t, dir).Bytes)
			select {
			case <-end:
				return
			case <-time.After(pause):
			}
		}
	}()
	return func() int64 {
		close(end)
		<-ended
		return most
	}
}

// eventually polls until ok reports true. It is for real files and processes; synctest is for everything else.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 30 seconds", what)
		}
	}
}

// within fails the test if do takes longer than limit. It does not wait for a do that hangs.
func within(t testing.TB, limit time.Duration, what string, do func()) {
	t.Helper()
	done := make(chan struct{})
	start := time.Now()
	go func() {
		defer close(done)
		do()
	}()
	select {
	case <-done:
		if d := time.Since(start); d > limit {
			t.Errorf("%s took %v, limit %v", what, d, limit)
		}
	case <-time.After(limit + 30*time.Second):
		t.Fatalf("%s hangs", what)
	}
}

// mkfifo makes a FIFO, if the system has them.
var mkfifo = func(string) error { return errors.ErrUnsupported }

// reexec returns a command that runs the same test in a child process, which gets args from childArgs.
func reexec(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	name, _, _ := strings.Cut(t.Name(), "/")
	cmd := exec.Command(exe, "-test.run=^"+name+"$")
	// With -cover the child writes its counters to GOCOVERDIR, and a warning to its output if there is none.
	cmd.Env = append(os.Environ(), "THUMBCACHE_TEST_CHILD="+strings.Join(args, "\n"), "GOCOVERDIR="+t.TempDir())
	cmd.Stderr = os.Stderr
	return cmd
}

// childArgs returns the arguments of a child process, and nil in the test itself.
func childArgs() []string {
	if args := os.Getenv("THUMBCACHE_TEST_CHILD"); args != "" {
		return strings.Split(args, "\n")
	}
	return nil
}

// run runs a child process to its end and fails the test if that fails.
func run(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	cmd.Stderr = nil
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// start starts child processes. The channel is closed when all have ended; those that fail make the test fail.
func start(t *testing.T, children []*exec.Cmd) (ended chan struct{}) {
	t.Helper()
	var wg sync.WaitGroup
	for _, cmd := range children {
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
	ended = make(chan struct{})
	go func() {
		wg.Wait()
		close(ended)
	}()
	return ended
}

// lines is a log without debug messages.
type lines struct {
	mu   sync.Mutex
	text []string
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, string(b))
	return len(b), nil
}

func (l *lines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// count returns the number of lines of a level.
func (l *lines) count(level slog.Level) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.text {
		if strings.Contains(line, "level="+level.String()) {
			n++
		}
	}
	return n
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.text, "")
}
