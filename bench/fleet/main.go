//go:build unix

// Command fleet runs several servers that share their thumbnails, and lets everything around them fail. It prints a report, and
// exits with 1 if a promise of docs/scale.md was broken.
//
//	go run ./fleet            # all of it; some minutes
//	go run ./fleet -short
//
// The servers are processes of "thumbcache serve", built from this source tree. The engines are redis-server and versitygw. With
// THUMBCACHE_REQUIRE_REDIS and THUMBCACHE_REQUIRE_S3 set, a missing engine is an error; otherwise its part is left out.
package main

import (
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

func main() {
	log.SetFlags(0)
	short := flag.Bool("short", false, "leave out what takes long")
	server := flag.String("server", "", "the thumbcache command to run, instead of one that is built")
	flag.Parse()
	dir, err := os.MkdirTemp("", "fleet")
	if err != nil {
		log.Fatal(err)
	}
	r := &report{out: os.Stdout}
	err = runAll(r, dir, *server, *short)
	os.RemoveAll(dir)
	if err != nil {
		log.Fatal(err)
	}
	if !r.print() {
		os.Exit(1)
	}
}

// A suite runs all trials with one program and one library.
type suite struct {
	*report
	dir, library string
	short        bool
	prefixes     int // used so far

	// Builds of the thumbcache command in root. Short runs have the first one only.
	root        string
	program     string
	nextVersion string // its thumbnails look different
	wrongClock  string // its clock is ahead by as many seconds as $FLEET_SKEW says
}

// runAll runs all trials. An error means that they could not be run; broken promises are in the report.
func runAll(r *report, dir, program string, short bool) error {
	s := &suite{report: r, dir: dir, library: filepath.Join(dir, "library"), program: program, short: short}
	if err := s.buildPrograms(); err != nil {
		return err
	}
	if err := os.Mkdir(s.library, 0o700); err != nil {
		return err
	}
	if err := makeLibrary(s.library); err != nil {
		return err
	}
	for _, withS3 := range []bool{false, true} {
		dir, err := os.MkdirTemp(dir, "engines")
		if err != nil {
			return err
		}
		e, err := startEngines(dir, withS3)
		if errors.Is(err, exec.ErrNotFound) && os.Getenv("THUMBCACHE_REQUIRE_REDIS") == "" && os.Getenv("THUMBCACHE_REQUIRE_S3") == "" {
			r.note("left out: %v", err)
			continue
		}
		if err != nil {
			return err
		}
		err = s.runTrials(e)
		e.kill()
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *suite) runTrials(e *engines) error {
	counts := []int{1, 2, 4}
	if s.short {
		counts = []int{4}
	}
	for _, n := range counts {
		f := &fleet{suite: s, engines: e, count: n}
		for _, trial := range []func(*fleet) error{trialStorm, trialDeath, trialFaults, trialVersions, trialClocks, trialAbsent} {
			f.newPrefix()
			err := trial(f)
			f.killNodes()
			if err != nil {
				return fmt.Errorf("%s, %d processes: %w", f.name(), n, err)
			}
		}
	}
	return nil
}

// A fleet is some nodes on the same engines.
type fleet struct {
	*suite
	*engines
	count  int
	prefix string
	nodes  []*node
	alone  *recorder // what such nodes do without a shared tier
}

func (f *fleet) name() string {
	if f.s3 != nil {
		return "S3 + Redis"
	}
	return "Redis"
}

// newPrefix makes the nodes that are started from now on share nothing with those from before.
func (f *fleet) newPrefix() {
	f.prefixes++
	f.prefix = fmt.Sprintf("p%d", f.prefixes)
}

// sharing returns the flags of nodes that use the engines.
func (f *fleet) sharing() []string {
	return append(f.flags(f.prefix, ""), "--shared-timeout="+sharedTimeout.String())
}

// patient returns the flags of nodes that wait for the engines as long as it takes. Storms need it where one machine runs everything:
// its processors are so busy then that the engines seem not to work.
func (f *fleet) patient() []string {
	flags := f.flags(f.prefix, "&dial_timeout=20s&read_timeout=20s&write_timeout=20s&pool_timeout=20s")
	return append(flags, "--shared-timeout=20s")
}

// startNodes replaces the nodes by new ones, whose memory is empty.
func (f *fleet) startNodes(flags []string) error {
	f.killNodes()
	for range f.count {
		if err := f.addNode(f.program, flags); err != nil {
			return err
		}
	}
	return nil
}

func (f *fleet) addNode(program string, flags []string, env ...string) error {
	n, err := startNode(program, f.library, flags, env...)
	if err != nil {
		return err
	}
	f.nodes = append(f.nodes, n)
	return nil
}

func (f *fleet) killNodes() {
	for _, n := range f.nodes {
		n.Kill()
		n.client.CloseIdleConnections()
	}
	f.nodes = nil
}

// stopNodes ends the nodes when they have stored what they made.
func (f *fleet) stopNodes() {
	for _, n := range f.nodes {
		n.Stop()
	}
	f.killNodes()
}

// faultTime is how long each fault lasts.
func (s *suite) faultTime() time.Duration {
	if s.short {
		return 2 * time.Second
	}
	return 5 * time.Second
}
