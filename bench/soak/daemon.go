//go:build linux

package main

import (
	"bytes"
	"fmt"
	"net"
	"os/exec"
	"syscall"
	"time"
)

// A daemon is a server on a port of the loopback.
type daemon struct {
	name, addr string
	args       []string
	cmd        *exec.Cmd
	output     bytes.Buffer
}

// startRedis starts redis-server. The error is exec.ErrNotFound if there is none.
func startRedis(dir string) (*daemon, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(addr)
	d := &daemon{name: "redis-server", addr: addr, args: []string{"--port", port, "--bind", "127.0.0.1", "--dir", dir, "--save", "",
		"--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru", "--loglevel", "warning"}}
	return d, d.start()
}

func (d *daemon) url() string { return "redis://" + d.addr }

// start starts the daemon and waits until it listens.
func (d *daemon) start() error {
	d.cmd = exec.Command(d.name, d.args...)
	d.cmd.Stdout, d.cmd.Stderr = &d.output, &d.output
	if err := d.cmd.Start(); err != nil {
		return err
	}
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if c, err := net.Dial("tcp", d.addr); err == nil {
			return c.Close()
		}
	}
	d.kill()
	return fmt.Errorf("%s does not listen:\n%s", d.name, d.output.String())
}

// kill ends the daemon at once.
func (d *daemon) kill() error {
	if d.cmd == nil {
		return nil
	}
	d.cmd.Process.Kill()
	d.cmd.Wait()
	d.cmd = nil
	return nil
}

// freeze stops the daemon. Its connections stay open, and the system accepts new ones.
func (d *daemon) freeze() error { return d.cmd.Process.Signal(syscall.SIGSTOP) }

func (d *daemon) thaw() error { return d.cmd.Process.Signal(syscall.SIGCONT) }
