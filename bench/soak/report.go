//go:build linux && (amd64 || arm64)

package main

import (
	"fmt"
	"io"
	"log"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// A report collects what a run has found.
type report struct {
	options
	command string

	mu     sync.Mutex // protects the fields below
	begin  time.Time
	starts int // of nodes
	notes  []string
	broken []string
	points []point
	done   map[string]int       // what went wrong, and how often
	spans  []span               // when
	times  map[string]histogram // by where answers came from
	errs   map[string]int

	cold   *coldResult
	final  *final
	files  int64
	temp   int
	shared int
}

// A span is a time in which something was wrong.
type span struct {
	name       string
	begin, end int64
}

// A point is what was measured of a node in a second.
type point struct {
	at int64
	*sample
	status
	start, descriptors, children int
}

const maxBroken = 20 // promises that are printed

func newReport(o options) *report {
	r := &report{options: o, begin: time.Now(), done: make(map[string]int), times: make(map[string]histogram), errs: make(map[string]int)}
	r.command = fmt.Sprintf("go run ./soak --seed %d --duration %v --clients %d --songs %d --cold %d --think %v", o.seed, o.duration, o.clients, o.songs, o.cold, o.think)
	for _, flag := range []struct {
		set  bool
		name string
	}{{o.small, " --small"}, {o.alone, " --alone"}, {!o.clocks, " --clocks=false"}} {
		if flag.set {
			r.command += flag.name
		}
	}
	return r
}

func (r *report) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
	log.Print(r.notes[len(r.notes)-1])
}

// wrong records a broken promise, and what happened before.
func (r *report) wrong(text string, events []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	text += "\nbefore:\n  " + strings.Join(events, "\n  ") + "\nrerun: " + r.command
	r.broken = append(r.broken, text)
	if len(r.broken) <= maxBroken {
		log.Print("BROKEN: ", text)
	}
}

// happened records that something was wrong for a while.
func (r *report) happened(name string, begin, end int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done[name]++
	r.spans = append(r.spans, span{name, begin, end})
}

// observe adds a sample of a node.
func (d *driver) observe(p *nodeProcess, s *sample) {
	pid := p.cmd.Process.Pid
	r := d.report
	x := point{at: d.clock.now(), sample: s, status: statusOf(pid), descriptors: countDescriptors(pid), children: len(children(pid))}
	r.mu.Lock()
	defer r.mu.Unlock()
	x.start = r.starts
	r.points = append(r.points, x)
	for from, h := range s.Times {
		if r.times[from] == nil {
			r.times[from] = make(histogram)
		}
		r.times[from].merge(h)
	}
	for kind, n := range s.Errors {
		r.errs[kind] += n
	}
	if p := r.points; len(p)%10 == 0 {
		log.Printf("%3.0f s: %d answers, %d/s, %d goroutines, RSS %d MiB, %d processes", float64(x.at-d.clock.wall)/1e9, s.Checked,
			sumOf(s.Times).count(), s.Goroutines, x.rss>>20, x.children)
	}
}

func sumOf(times map[string]histogram) histogram {
	sum := make(histogram)
	for _, h := range times {
		sum.merge(h)
	}
	return sum
}

// print writes the report as Markdown, and reports whether all promises were kept.
func (r *report) print(out io.Writer) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.checkTimes()
	var b strings.Builder
	fmt.Fprintf(&b, "\n`%s`, %d starts of the process, the last one for %.0f s.\n", r.command, r.starts, r.last())
	fmt.Fprintf(&b, "\n| answers from | number | p50 | p99 | p99.9 | max |\n|---|---|---|---|---|---|\n")
	for _, from := range slices.Sorted(maps.Keys(r.times)) {
		h := r.times[from]
		fmt.Fprintf(&b, "| %s | %d | %v | %v | %v | %v |\n", from, h.count(), h.quantile(0.5), h.quantile(0.99), h.quantile(0.999), h.quantile(1))
	}
	fmt.Fprintln(&b)
	for _, from := range slices.Sorted(maps.Keys(r.errs)) {
		fmt.Fprintf(&b, "- %d answers: %s\n", r.errs[from], from)
	}
	for _, name := range slices.Sorted(maps.Keys(r.done)) {
		fmt.Fprintf(&b, "- %d times: %s\n", r.done[name], name)
	}
	for _, n := range r.notes {
		fmt.Fprintln(&b, "-", n)
	}
	if f := r.final; f != nil {
		fmt.Fprintf(&b, "- At the end: %d files in order, as account and Stats say; %d temporary files of killed processes; %d sources in the shared tier; %d thumbnails asked for again.\n", r.files, r.temp, r.shared, f.Asked)
		fmt.Fprintf(&b, "- Goroutines, descriptors, RSS in MiB: before New %d, %d, %d; without work %d, %d, %d; after Close %d, %d, %d.\n",
			f.Before.Goroutines, f.Before.Descriptors, f.Before.RSS>>20, f.Quiet.Goroutines, f.Quiet.Descriptors, f.Quiet.RSS>>20, f.After.Goroutines, f.After.Descriptors, f.After.RSS>>20)
		fmt.Fprintf(&b, "- Checks of sources: %d, of which %d failed although nothing was wrong with the share. Stats: %+v\n", f.LooksTotal, f.LooksFailed, f.Stats)
	}
	for _, text := range r.broken[:min(len(r.broken), maxBroken)] {
		fmt.Fprintf(&b, "- BROKEN: %s\n", text)
	}
	if len(r.broken) == 0 {
		fmt.Fprintln(&b, "- All promises were kept.")
	} else {
		fmt.Fprintf(&b, "- %d promises were broken.\n", len(r.broken))
	}
	io.WriteString(out, b.String())
	if r.out != "" {
		if err := r.writeTo(b.String()); err != nil {
			log.Print(err)
			return false
		}
	}
	return len(r.broken) == 0
}

func (r *report) writeTo(text string) error {
	if err := os.MkdirAll(r.out, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(r.out, "report.md"), []byte(text), 0o644); err != nil {
		return err
	}
	return r.writeCharts(r.out)
}

// last returns for how many seconds the last node was measured.
func (r *report) last() (seconds float64) {
	for _, p := range r.points {
		if p.start == r.starts {
			seconds = p.Seconds
		}
	}
	return seconds
}

const hitLimit = 10 * time.Microsecond

// checkTimes checks what is promised about times, and about memory over time.
func (r *report) checkTimes() {
	hits, controls := make(histogram), make(histogram)
	slowest := time.Duration(0)
	var early, late []uint64 // RSS of the last node after ten minutes and at the end
	for i, p := range r.points {
		hits.merge(p.Times[probes])
		controls.merge(p.Times[control])
		if i%10 == 9 {
			// The control tells how busy other programs kept the processors.
			q, limit := hits.quantile(0.99), hitLimit+2*controls.quantile(0.99)
			if slowest = max(slowest, q); hits.count() >= 500 && q > limit {
				r.broken = append(r.broken, fmt.Sprintf("around second %.0f, p99 of hits in memory was %v, want at most %v", float64(p.at-r.points[0].at)/1e9, q, limit))
			}
			hits, controls = make(histogram), make(histogram)
		}
		if p.start == r.starts && p.Seconds > 540 && p.Seconds < 660 {
			early = append(early, p.rss)
		}
		if p.start == r.starts && p.Seconds > r.last()-120 {
			late = append(late, p.rss)
		}
	}
	r.notes = append(r.notes, fmt.Sprintf("The highest p99 of hits in memory, over ten seconds: %v.", slowest))
	if len(early) == 0 || r.last() < 1200 {
		return
	}
	slices.Sort(early)
	slices.Sort(late)
	before, after := early[len(early)/2], late[len(late)/2]
	r.notes = append(r.notes, fmt.Sprintf("RSS of the last process: %d MiB after ten minutes, %d MiB at the end (medians over two minutes).", before>>20, after>>20))
	if after > before+before/10 {
		r.broken = append(r.broken, fmt.Sprintf("RSS grew from %d MiB to %d MiB", before>>20, after>>20))
	}
}
