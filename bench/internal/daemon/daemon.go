//go:build unix

// Package daemon runs servers that are killed, frozen and started again.
package daemon

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// A Process is a server on a port of the loopback.
type Process struct {
	Name string // of the program
	Args []string
	Env  []string // besides that of this process
	Addr string   // where it will listen

	cmd    *exec.Cmd // nil: it does not run
	exited chan struct{}
	output *bytes.Buffer // of all starts; read it only after the process has ended
}

// FreeAddr returns an address at which nothing listens.
func FreeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// Start starts the process, and waits until it listens.
func (p *Process) Start() error {
	if p.output == nil {
		p.output = new(bytes.Buffer)
	}
	cmd := exec.Command(p.Name, p.Args...)
	cmd.Env = append(os.Environ(), p.Env...)
	cmd.Stdout, cmd.Stderr = p.output, p.output
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() { cmd.Wait(); close(exited) }()
	p.cmd, p.exited = cmd, exited
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		select {
		case <-exited:
			p.cmd = nil
			return fmt.Errorf("%s has ended:\n%s", p.Name, p.output)
		default:
		}
		if c, err := net.Dial("tcp", p.Addr); err == nil {
			return c.Close()
		}
	}
	p.Kill()
	return fmt.Errorf("%s does not listen:\n%s", p.Name, p.output)
}

// Kill ends the process at once, as a loss of power would.
func (p *Process) Kill() { p.end(syscall.SIGKILL) }

// Stop lets the process finish what it does.
func (p *Process) Stop() { p.end(syscall.SIGTERM) }

func (p *Process) end(s syscall.Signal) {
	if p.cmd == nil {
		return
	}
	p.cmd.Process.Signal(s)
	select {
	case <-p.exited:
	case <-time.After(20 * time.Second):
		p.cmd.Process.Kill()
		<-p.exited
	}
	p.cmd = nil
}

// Freeze stops the process. Its connections stay open, and the system still accepts new ones.
func (p *Process) Freeze() { p.cmd.Process.Signal(syscall.SIGSTOP) }

// Thaw lets a frozen process go on.
func (p *Process) Thaw() { p.cmd.Process.Signal(syscall.SIGCONT) }
