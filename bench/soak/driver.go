//go:build linux && (amd64 || arm64)

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/thumbcache/thumbcache/bench/internal/daemon"
)

// A driver keeps the library, changes it, starts nodes and lets things fail.
type driver struct {
	o options
	*library
	*history
	clock   clock
	dir     string // everything is in here
	program string // to start as node; empty: this one
	share   *share
	redis   *daemon.Process // nil: no shared tier

	random *rand.Rand // for what happens to nodes and around them

	mu      sync.Mutex // protects the fields below
	present fault
	events  []string
	node    *nodeProcess // the last one that was started
	report  *report
}

const diskSize = 64 << 20 // bytes of the file system for thumbnails

// errMount says that this system does not allow mounts.
var errMount = errors.New("cannot mount a file system here")

// soak runs everything. An error means that it could not be run; broken promises are in the report.
func soak(o options, dir string) (*report, error) {
	d := &driver{o: o, dir: dir, clock: newClock(), random: rand.New(rand.NewPCG(o.seed, 1)), report: newReport(o)}
	d.library = &library{seed: o.seed, songs: o.songs, albums: max(1, o.songs*9/100)}
	log.Print("rerun: ", d.report.command)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM) // not SIGPIPE, which writing to a killed node causes
	defer close(signals)
	defer signal.Stop(signals)
	go func() {
		if _, ok := <-signals; ok {
			d.close()
			os.RemoveAll(dir)
			os.Exit(1)
		}
	}()
	if err := d.open(); err != nil {
		return nil, errors.Join(err, d.close())
	}
	err := d.run()
	return d.report, errors.Join(err, d.close())
}

// open prepares the library, the disk, and the shared tier.
func (d *driver) open() (err error) {
	for _, name := range []string{"share", "disk"} {
		if err := os.Mkdir(d.file(name), 0o755); err != nil {
			return err
		}
	}
	if d.o.clocks {
		if d.program, err = buildNode(d.dir); err != nil {
			return err
		}
	}
	if _, err := exec.LookPath("ffmpeg"); err == nil {
		if d.clips, err = d.makeClips(d.dir); err != nil {
			return err
		}
	} else if os.Getenv("THUMBCACHE_REQUIRE_FFMPEG") != "" {
		return err
	} else {
		d.report.note("Without ffmpeg there are no films.")
	}
	if d.history, err = createHistory(d.file("history"), d.objects()); err != nil {
		return err
	}
	if err := unix.Mount("soak", d.file("disk"), "tmpfs", 0, fmt.Sprintf("size=%d", diskSize)); err != nil {
		return fmt.Errorf("%w: a small disk: %w", errMount, err)
	}
	if d.share, err = mount(d.library, d.file("share")); err != nil {
		return err
	}
	if d.o.alone {
		return nil
	}
	addr, err := daemon.FreeAddr()
	if err != nil {
		return err
	}
	_, port, _ := net.SplitHostPort(addr)
	redis := &daemon.Process{Name: "redis-server", Addr: addr, Args: []string{"--port", port, "--bind", "127.0.0.1", "--dir", d.dir,
		"--save", "", "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru", "--loglevel", "warning"}}
	err = redis.Start()
	if errors.Is(err, exec.ErrNotFound) && os.Getenv("THUMBCACHE_REQUIRE_REDIS") == "" {
		d.report.note("Without redis-server there is no shared tier.")
		return nil
	}
	d.redis = redis
	return err
}

func (d *driver) close() (err error) {
	if d.redis != nil {
		d.redis.Kill()
	}
	if d.share != nil {
		err = d.share.unmount()
	}
	if unmountErr := unix.Unmount(d.file("disk"), unix.MNT_DETACH); unmountErr != nil && !errors.Is(unmountErr, unix.EINVAL) {
		err = errors.Join(err, unmountErr)
	}
	return err
}

func (d *driver) file(name string) string { return filepath.Join(d.dir, name) }

// run runs the trials.
func (d *driver) run() error {
	if err := d.trialCold(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { d.changeFiles(ctx) })
	share, others := d.happenings()
	for i, all := range [][]happening{share, others} {
		group.Go(func() { d.fail(ctx, all, rand.New(rand.NewPCG(d.o.seed, uint64(10+i)))) })
	}
	err := d.runNodes(cancel)
	cancel()
	group.Wait()
	return err
}

// event records that something happens, for the report of a broken promise.
func (d *driver) event(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	line := fmt.Sprintf("%.3f s: ", float64(d.clock.now()-d.clock.wall)/1e9) + fmt.Sprintf(format, args...)
	d.events = append(d.events, line)
	d.events = d.events[max(0, len(d.events)-20):]
}

// wrong records a broken promise.
func (d *driver) wrong(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.report.wrong(fmt.Sprintf(format, args...), d.events)
}

// changeFiles changes files of the library until ctx ends.
func (d *driver) changeFiles(ctx context.Context) {
	p := d.popularity(4 << 32)
	changed := make(map[object]int64)
	alter := func(o object, to func(*state)) {
		s := d.share.state(o)
		now := d.clock.now()
		if now-changed[o] < int64(2*time.Second) || s.rev == maxRev-1 || s.moves == maxMoves-1 || s.cover == 1<<16-1 {
			return
		}
		changed[o] = now
		s.rev++
		to(&s)
		d.history.add(int(o), change{d.clock.now(), s.pack()})
		d.share.states[o].Store(s.pack())
	}
	for ctx.Err() == nil {
		sleep(ctx, time.Duration(float64(50*time.Millisecond)*min(5, p.random.ExpFloat64())))
		album := p.album(-1)
		if p.random.IntN(2) == 0 {
			album = p.random.IntN(p.albums)
		}
		first, end := d.songsOf(album)
		song := first + object(p.random.IntN(int(end-first)))
		switch n := p.random.IntN(100); {
		case n < 15: // all songs of the album get a new cover
			for o := first; o < end; o++ {
				alter(o, func(s *state) { s.cover++; s.content = whole })
			}
		case n < 40:
			alter(song, func(s *state) {})
		case n < 50:
			alter(song, func(s *state) { s.cover++; s.content = content(p.random.IntN(3)) })
		case n < 65:
			alter(song, func(s *state) { s.moves++ })
		case n < 75:
			alter(song, func(s *state) { s.gone = !s.gone })
		case n < 85:
			alter(d.folderPicture(album), func(s *state) { s.cover++ })
		case n < 92:
			alter(d.folderPicture(album), func(s *state) { s.gone = !s.gone })
		case n < 93:
			alter(d.films()+object(p.random.IntN(numFilms)), func(s *state) {})
		default: // a song that was removed comes back
			for o := first; o < end; o++ {
				if d.share.state(o).gone {
					alter(o, func(s *state) { s.gone = false })
				}
			}
		}
	}
}

// A happening is something that goes wrong for a while.
type happening struct {
	fault
	begin, end func() error
}

// happenings returns what may be wrong with the share, and with all else.
func (d *driver) happenings() (share, others []happening) {
	do := func(f func()) func() error { return func() error { f(); return nil } }
	nothing := do(func() {})
	for _, f := range []fault{slow, frozen, missing, failing} {
		share = append(share, happening{f, nothing, nothing})
	}
	others = []happening{{diskFull, d.fillDisk, func() error { return os.Remove(d.file("disk/ballast")) }}}
	if d.redis != nil {
		others = append(others, happening{sharedFrozen, do(d.redis.Freeze), do(d.redis.Thaw)}, happening{sharedKilled, do(d.redis.Kill), d.redis.Start})
	}
	if d.o.clocks {
		others = append(others, happening{clockWrong, func() error { return d.jump(true) }, func() error { return d.jump(false) }})
	}
	return share, others
}

// fail lets one thing after the other go wrong until ctx ends.
func (d *driver) fail(ctx context.Context, all []happening, random *rand.Rand) {
	length := min(max(d.o.duration/20, 3*time.Second), 15*time.Second)
	pause := func(most float64) { sleep(ctx, time.Duration((0.5+(most-0.5)*random.Float64())*float64(length))) }
	for {
		random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		for _, h := range all {
			if pause(2.5); ctx.Err() != nil {
				return
			}
			d.event("%v", h.fault)
			d.set(h.fault, true)
			begin := d.clock.now()
			err := h.begin()
			pause(1.5)
			if err := errors.Join(err, h.end()); err != nil {
				d.wrong("%v: %v", h.fault, err)
			}
			d.set(h.fault, false)
			d.event("no longer: %v", h.fault)
			d.report.happened(h.fault.String(), begin, d.clock.now())
		}
	}
}

// set says whether a fault is present. While it is present, the history says so.
func (d *driver) set(f fault, present bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !present {
		d.present &^= f
		d.share.set(d.present)
	} else {
		d.present |= f
	}
	d.history.add(d.objects(), change{d.clock.now(), uint64(d.present)})
	d.share.set(d.present)
}

// fillDisk writes a file until the disk is full.
func (d *driver) fillDisk() error {
	f, err := os.Create(d.file("disk/ballast"))
	if err != nil {
		return err
	}
	defer f.Close()
	data := make([]byte, 1<<16)
	for {
		_, err := f.Write(data)
		if errors.Is(err, unix.ENOSPC) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// jump sets the clocks of the nodes forward or back.
func (d *driver) jump(wrong bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	skew := 0
	if wrong {
		skew = []int{3600, -3600, 10 * 365 * 86400, -10 * 365 * 86400}[rand.IntN(4)]
	}
	fmt.Fprintln(d.node.commands, skew) // it may have been killed
	return nil
}

// A nodeProcess is a node that runs.
type nodeProcess struct {
	cmd      *exec.Cmd
	started  chan struct{}
	commands io.WriteCloser
	stderr   bytes.Buffer
	killed   bool
	begin    time.Time
	ended    chan struct{} // closed when all its messages were read
	final    *final
	cold     *coldResult
}

// startNode starts a node.
func (d *driver) startNode(cold int) (*nodeProcess, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	cfg := nodeConfig{Seed: d.o.seed, Start: d.report.starts, Songs: d.songs, Albums: d.albums, Films: len(d.clips) > 0,
		Library: d.file("share/library"), Dir: d.file("disk/thumbs"), History: d.file("history"),
		Clients: d.o.clients, Think: d.o.think, Cold: cold, Lie: d.o.lie}
	if d.redis != nil && cold == 0 {
		cfg.Redis = "redis://" + d.redis.Addr
	}
	if cold > 0 {
		cfg.Dir = d.file("disk/cold")
	}
	config, err := json.Marshal(cfg)
	if err != nil {
		return nil, err
	}
	program := d.program
	if program == "" {
		if program, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	p := &nodeProcess{cmd: exec.Command(program), started: make(chan struct{}), ended: make(chan struct{}), begin: time.Now()}
	p.cmd.Env = append(os.Environ(), nodeEnv+"="+string(config))
	if d.o.small {
		p.cmd.Env = append(p.cmd.Env, "GOMAXPROCS=1", "GOMEMLIMIT=128MiB")
	}
	p.cmd.Stderr = &p.stderr
	if p.commands, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	messages, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	d.node = p
	if cold == 0 {
		d.report.starts++
	}
	go d.listen(p, messages)
	return p, nil
}

// listen reads the messages of a node.
func (d *driver) listen(p *nodeProcess, messages io.Reader) {
	defer close(p.ended)
	lines := bufio.NewScanner(messages)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var m message
		if json.Unmarshal(lines.Bytes(), &m) != nil {
			continue // it was killed while it wrote
		}
		switch {
		case m.Started:
			close(p.started)
		case m.Wrong != "":
			d.wrong("%s", m.Wrong)
		case m.Sample != nil:
			d.observe(p, m.Sample)
		case m.Cold != nil:
			p.cold = m.Cold
		case m.Final != nil:
			p.final = m.Final
		}
	}
}

// wait waits until a node has ended, and checks that it has not crashed. If it takes longer than patience, the node tells what its
// goroutines do.
func (d *driver) wait(p *nodeProcess, patience time.Duration) {
	dump := time.AfterFunc(patience, func() { p.cmd.Process.Signal(syscall.SIGQUIT) })
	defer dump.Stop()
	<-p.ended
	err := p.cmd.Wait()
	text := p.stderr.String()
	if !p.killed && err != nil || strings.Contains(text, "panic") || strings.Contains(text, "fatal error") {
		d.wrong("a node ended: %v\n%s", err, text[max(0, len(text)-20000):])
	}
}

// runNodes starts nodes and kills them, lets one live long, and checks what it leaves behind. calm ends changes and faults.
func (d *driver) runNodes(calm func()) error {
	begin := time.Now()
	young := d.o.duration / 7 // until the last start
	for time.Since(begin) < young {
		p, err := d.startNode(0)
		if err != nil {
			return err
		}
		<-p.started
		time.Sleep(time.Duration(d.random.Float64() * float64(min(young/2, time.Minute))))
		d.event("kill -9")
		p.killed = true
		p.cmd.Process.Kill()
		d.wait(p, time.Minute)
	}
	p, err := d.startNode(0)
	if err != nil {
		return err
	}
	select {
	case <-p.ended:
	case <-time.After(d.o.duration - time.Since(begin)):
	}
	calm()
	d.settle()
	io.WriteString(p.commands, "stop\n")
	d.wait(p, 5*time.Minute)
	if p.final == nil {
		d.wrong("the last node told nothing at its end")
		return nil
	}
	d.checkEnd(p.final, p.begin)
	return nil
}

// settle waits until no fault is present any more and its effects are gone.
func (d *driver) settle() {
	for {
		changes, _, err := d.history.read(d.objects())
		if err == nil && (len(changes) == 0 || changes[len(changes)-1].value == 0) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(min(time.Duration(settle), d.o.duration/20))
}
