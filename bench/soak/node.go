//go:build linux && (amd64 || arm64)

package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/thumbcache/thumbcache"
	"github.com/thumbcache/thumbcache/redis"
)

// Limits of the cache under test.
const (
	memoryEntries = 2000
	memoryBytes   = 16 << 20
	decodeBytes   = 96 << 20
	diskBytes     = 24 << 20
	queueLength   = 1024
	revalidate    = 5 * time.Second
	timeout       = 5 * time.Second
	failureTTL    = 10 * time.Second
)

// A nodeConfig tells a node what to do.
type nodeConfig struct {
	Seed          uint64
	Start         int // how many nodes were started before
	Songs, Albums int
	Films         bool
	Library       string // the folder with the media
	Dir           string // the folder for thumbnails
	History       string
	Redis         string // URL; empty: no shared tier
	Clients       int
	Think         time.Duration
	Cold          int    // keys to ask for at once, instead of everything else
	Lie           string // see liars
}

// A message is what a node tells the driver.
type message struct {
	Sample  *sample     `json:",omitempty"`
	Wrong   string      `json:",omitempty"` // a broken promise
	Cold    *coldResult `json:",omitempty"`
	Final   *final      `json:",omitempty"`
	Started bool        `json:",omitempty"`
}

// A sample is what happened in about a second.
type sample struct {
	Seconds    float64 // since the start of the node
	Goroutines int
	Heap       uint64
	Checked    uint64 // answers since the start
	Stats      thumbcache.Stats
	Times      map[string]histogram // by where the answer came from
	Errors     map[string]int
}

// A final is what a node has found at its end.
type final struct {
	Stats                   thumbcache.Stats // when nothing was in progress any more
	Before, Quiet, After    resources        // before New, when nothing was in progress any more, after Close
	Descriptors             []string         // that are open after Close
	Asked                   int              // thumbnails that were asked for once more
	LooksFailed, LooksTotal uint64           // those that failed while nothing was wrong with the share, and all
}

// resources are what a process uses.
type resources struct {
	Goroutines, Descriptors, Children int
	Heap, RSS                         uint64
}

// A node is a process with a cache, and the clients of it.
type node struct {
	nodeConfig
	*checker
	cache   *thumbcache.Cache
	engine  *redis.Store // nil: no shared tier
	handler http.Handler
	clock   clock
	lie     func(q *question, a *answer)

	mu    sync.Mutex // protects the fields below
	out   *json.Encoder
	times map[string]histogram
	errs  map[string]int

	checked, looks, looksFailed atomic.Uint64
}

// runNode is the main function of a node.
func runNode(config string) error {
	n := &node{clock: newClock(), out: json.NewEncoder(os.Stdout), times: make(map[string]histogram), errs: make(map[string]int)}
	if err := json.Unmarshal([]byte(config), &n.nodeConfig); err != nil {
		return err
	}
	lib := &library{seed: n.Seed, songs: n.Songs, albums: n.Albums}
	file, err := os.Open(n.History)
	if err != nil {
		return err
	}
	defer file.Close()
	n.checker = newChecker(lib, &history{file: file}, n.clock, revalidate)
	n.lie = liars[n.Lie]
	before := n.resources()
	if err := n.open(); err != nil {
		return err
	}
	n.send(message{Started: true})
	if n.Cold > 0 {
		n.send(message{Cold: n.askCold()})
		return n.cache.Close()
	}
	n.run()
	f := final{Before: before}
	n.finish(&f)
	n.send(message{Final: &f})
	return nil
}

func (n *node) open() error {
	cfg := thumbcache.Config{
		Providers:     map[string]thumbcache.Provider{provider: thumbcache.Files(n.Library)},
		Dir:           n.Dir,
		MemoryEntries: memoryEntries, MemoryBytes: memoryBytes, DecodeBytes: decodeBytes, DiskBytes: diskBytes,
		Queue:      queueLength,
		Revalidate: revalidate, Timeout: timeout, FailureTTL: failureTTL,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		Observer: &thumbcache.Observer{
			Request: func(ctx context.Context, _ thumbcache.Request, from string, took time.Duration, err error) {
				if a, ok := ctx.Value(answerKey{}).(*answer); ok {
					a.from, a.took, a.observed = from, took, err
				}
			},
			Stage: func(_, path, stage string, _ time.Duration, err error) {
				if stage == "stat" {
					n.looks.Add(1)
				}
				if err != nil {
					n.noteStage(path, err)
					if stage == "stat" && !errors.Is(err, os.ErrNotExist) && n.faultsBetween(n.clock.now()-settle, n.clock.now())&(unreachable|slow) == 0 {
						n.looksFailed.Add(1)
					}
				}
			},
		},
	}
	if n.Redis != "" && n.Cold == 0 { // with a shared tier, more flights ask at the same time
		var err error
		if n.engine, err = redis.Open(n.Redis); err != nil {
			return err
		}
		cfg.Shared = n.engine
	}
	var err error
	if n.cache, err = thumbcache.New(cfg); err != nil {
		return err
	}
	n.handler = n.cache.Handler()
	return nil
}

func (n *node) send(m message) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.out.Encode(m)
}

// wrong tells of a broken promise.
func (n *node) wrong(format string, args ...any) {
	n.send(message{Wrong: fmt.Sprintf(format, args...)})
}

type answerKey struct{}

// ask asks for a thumbnail, and checks the answer.
func (n *node) ask(ctx context.Context, q *question) *answer {
	n.prepare(q)
	a := &answer{start: n.clock.now()}
	a.thumb, a.err = n.cache.Do(context.WithValue(ctx, answerKey{}, a), q.Request)
	a.end = n.clock.now()
	n.judge(ctx, q, a)
	return a
}

// judge checks an answer that has just come.
func (n *node) judge(ctx context.Context, q *question, a *answer) {
	a.ended = ctx.Err() != nil
	if errors.Is(a.err, thumbcache.ErrClosed) {
		n.wrong("closed: %+v", q)
		return
	}
	if n.lie != nil {
		n.lie(q, a)
	}
	if err := n.check(q, a); err != nil {
		n.send(message{Wrong: n.describe(q, a, err)})
	}
	n.checked.Add(1)
	n.record(cmp.Or(a.from, "nowhere"), a.took)
	if a.err != nil {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.errs[kindOf(a.err)]++
	}
}

// kindOf returns a name for an error.
func kindOf(err error) string {
	for name, target := range map[string]error{
		"no such file": os.ErrNotExist, "no picture": thumbcache.ErrNoPicture, "unsupported": thumbcache.ErrUnsupported,
		"corrupt": thumbcache.ErrCorrupt, "busy": thumbcache.ErrBusy, "deadline": context.DeadlineExceeded, "canceled": context.Canceled,
	} {
		if errors.Is(err, target) {
			return name
		}
	}
	return "unreachable"
}

// askHandler asks by HTTP.
func (n *node) askHandler(ctx context.Context, q *question) {
	n.prepare(q)
	a := &answer{start: n.clock.now(), http: true}
	r := httptest.NewRequest("GET", q.URL(), nil).WithContext(context.WithValue(ctx, answerKey{}, a))
	w := httptest.NewRecorder()
	n.handler.ServeHTTP(w, r)
	a.end = n.clock.now()
	if want := thumbcache.HTTPStatus(a.observed); w.Code != want {
		n.wrong("%s: status %d, want %d for %v", q.URL(), w.Code, want, a.observed)
	}
	if a.err = a.observed; a.err != nil && strings.Contains(w.Body.String(), filepath.Dir(n.Library)) {
		n.wrong("%s: a path of the host is in the answer %q", q.URL(), w.Body)
	}
	if a.err == nil {
		modified, _ := http.ParseTime(w.Header().Get("Last-Modified"))
		a.thumb = &thumbcache.Thumbnail{Data: w.Body.Bytes(), ContentType: w.Header().Get("Content-Type"), ModTime: modified, Width: q.Size, Height: q.Size}
	}
	n.judge(ctx, q, a)
}

// now returns the present state of an object.
func (n *node) now(o object) state {
	s, _ := n.latest(o)
	return s
}

// latest returns the present state of an object, and since when it is in that state.
func (n *node) latest(o object) (s state, since int64) {
	changes, _, err := n.read(int(o))
	if err != nil || len(changes) == 0 {
		return n.first(o), 0
	}
	last := changes[len(changes)-1]
	return unpack(last.value), last.at
}

// question returns a request for an object under its present name.
func (n *node) question(o object, size int) *question {
	s, _ := n.latest(o)
	return &question{Request: thumbcache.Request{Provider: provider, Path: n.path(o, s), Size: size}, o: o, moves: s.moves}
}

// run lets clients work until the driver says that it is enough.
func (n *node) run() {
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			if lines.Text() == "stop" {
				break
			}
			jumpClock(lines.Text())
		}
		stop()
	}()
	var group sync.WaitGroup
	for i := range n.Clients {
		group.Go(func() { n.newClient(i).run(ctx) })
	}
	group.Go(func() { n.invalidateSome(ctx) })
	group.Go(func() { n.warmSome(ctx) })
	group.Go(func() { n.probe(ctx) })
	group.Go(func() { n.watchQueue(ctx) })
	group.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				n.send(message{Sample: n.sample()})
			case <-ctx.Done():
				return
			}
		}
	})
	<-ctx.Done()
	done := make(chan struct{})
	go func() { group.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(time.Minute):
		n.wrong("a request was not answered within a minute")
		debug.SetTraceback("all")
		panic("a request was not answered within a minute")
	}
}

// watchQueue notes when much work is waiting.
func (n *node) watchQueue(ctx context.Context) {
	for ctx.Err() == nil {
		if n.cache.Stats().InFlight > muchWork {
			n.busy.Store(n.clock.now())
		}
		sleep(ctx, 100*time.Millisecond)
	}
}

const muchWork = 100 // thumbnails, which take about a second

// sample returns what happened since the last sample.
func (n *node) sample() *sample {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	s := &sample{Seconds: float64(n.clock.now()-n.clock.wall) / 1e9, Goroutines: runtime.NumGoroutine(), Heap: m.HeapAlloc,
		Checked: n.checked.Load(), Stats: n.cache.Stats()}
	n.mu.Lock()
	defer n.mu.Unlock()
	s.Times, s.Errors = n.times, n.errs
	n.times, n.errs = make(map[string]histogram), make(map[string]int)
	return s
}

// probes is where the times of probe are in a sample.
const probes = "memory, checked lately"

// control is where the times of something are that has nothing to do with the cache, and takes as long as a hit.
const control = "(control)"

// probe measures hits in memory of which nothing else is needed: each thumbnail is asked for twice, and the second time counts.
func (n *node) probe(ctx context.Context) {
	p := n.popularity(5 << 32)
	var page [4096]byte
	for ctx.Err() == nil {
		sleep(ctx, 5*time.Millisecond)
		first, _ := n.songsOf(p.album(p.random.IntN(50)))
		q := n.question(first, listSize)
		var a *answer
		for range 2 {
			brief, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
			a = n.ask(brief, q)
			cancel()
		}
		if a.from == "memory" && a.err == nil {
			n.record(probes, a.took)
		}
		start := time.Now()
		maphash.Bytes(hashSeed, page[:])
		n.record(control, time.Since(start))
	}
}

// record adds the time of an answer.
func (n *node) record(from string, took time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.times[from] == nil {
		n.times[from] = make(histogram)
	}
	n.times[from].add(took)
}

// invalidateSome removes what is known of popular songs.
func (n *node) invalidateSome(ctx context.Context) {
	p := n.popularity(1 << 32)
	for ctx.Err() == nil {
		sleep(ctx, time.Second/2)
		o := p.song()
		s := n.now(o)
		start := n.clock.now()
		if n.cache.Invalidate(provider, n.path(o, s)) == nil {
			n.noteInvalidated(o, s.moves, start)
		}
	}
}

// warmSome makes the thumbnails of whole albums.
func (n *node) warmSome(ctx context.Context) {
	p := n.popularity(2 << 32)
	for ctx.Err() == nil {
		sleep(ctx, 3*time.Second)
		first, end := n.songsOf(p.random.IntN(n.albums))
		warming, cancel := context.WithTimeout(ctx, 20*time.Second)
		_, err := n.cache.Warm(warming, provider, func(yield func(string) bool) {
			for o := first; o < end && yield(n.path(o, n.now(o))); o++ {
			}
		}, listSize, bigSize)
		if err != nil && warming.Err() == nil {
			n.wrong("Warm: %v", err)
		}
		cancel()
	}
}

// sleep waits for d or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// finish checks that nothing is left when the clients are gone.
func (n *node) finish(f *final) {
	ctx := context.Background()
	n.askAgain(ctx, f)
	n.awaitQuiet()
	f.Stats, f.Quiet = n.cache.Stats(), n.resources()
	f.LooksTotal, f.LooksFailed = n.looks.Load(), n.looksFailed.Load()
	n.cache.Close()
	if n.engine != nil {
		n.engine.Close()
	}
	for deadline := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > f.Before.Goroutines+1 && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond) // of go-redis and of time
	}
	f.After = n.resources()
	f.Descriptors = descriptors()
}

// awaitQuiet waits until the cache does nothing any more.
func (n *node) awaitQuiet() {
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if s := n.cache.Stats(); s.InFlight == 0 && s.ProcessesRunning == 0 {
			break
		}
	}
	time.Sleep(time.Second) // what is stored in the background
	if s := n.cache.Stats(); s.InFlight > 0 || s.ProcessesRunning > 0 {
		n.wrong("without clients, %d thumbnails are being made and %d processes run", s.InFlight, s.ProcessesRunning)
	}
}

// askAgain asks for many thumbnails when nothing changes any more. After a check of each, all must show the present state.
func (n *node) askAgain(ctx context.Context, f *final) {
	p := n.popularity(3 << 32)
	objects := make(map[object]bool)
	for range min(3000, n.songs/30) {
		objects[p.song()] = true
	}
	all := make([]object, 0, len(objects))
	for o := range objects {
		all = append(all, o)
	}
	slices.Sort(all)
	for round := range 3 {
		if round > 0 {
			time.Sleep(revalidate + time.Duration(bound))
		}
		var group sync.WaitGroup
		next := make(chan object)
		for range 20 {
			group.Go(func() {
				for o := range next {
					n.ask(ctx, n.question(o, listSize))
				}
			})
		}
		for _, o := range all {
			next <- o
		}
		close(next)
		group.Wait()
	}
	f.Asked = len(all)
}

// resources returns what this process uses when garbage is collected.
func (n *node) resources() (r resources) {
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return resources{runtime.NumGoroutine(), len(descriptors()), len(children(os.Getpid())), m.HeapAlloc, statusOf(os.Getpid()).rss}
}
