package main

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"
)

// readyTimeout limits how long a readiness check waits for a folder. A network share may hang.
const readyTimeout = 2 * time.Second

// A probe checks something that may hang. Concurrent callers share one check, so a hanging one holds one thread.
type probe struct {
	name  string // for clients: it must reveal nothing about the host
	check func() error

	mu      sync.Mutex
	running chan struct{} // closed at the end of the check; nil if none is running
	err     error         // of the latest check
}

// run returns the error of a check that ends after the call, or an error when ctx ends.
func (p *probe) run(ctx context.Context) error {
	p.mu.Lock()
	done := p.running
	if done == nil {
		done = make(chan struct{})
		p.running = done
		go func() {
			err := p.check()
			p.mu.Lock()
			p.err, p.running = err, nil
			p.mu.Unlock()
			close(done)
		}()
	}
	p.mu.Unlock()
	select {
	case <-done:
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.err
	case <-ctx.Done():
		return errors.New("it does not answer")
	}
}

// runProbes returns the names of the probes that fail.
func runProbes(ctx context.Context, probes []*probe) (failing []string) {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	errs := make([]error, len(probes))
	var wg sync.WaitGroup
	for i, p := range probes {
		wg.Go(func() { errs[i] = p.run(ctx) })
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			failing = append(failing, probes[i].name)
		}
	}
	return failing
}

// checkWritable returns an error if no file can be created in a thumbnail folder.
func checkWritable(dir string) error {
	f, err := os.CreateTemp(dir, ".thumbcache-ready-*")
	if err != nil {
		return err
	}
	f.Close()
	return os.Remove(f.Name())
}
