// Package proc runs one child process that cannot hang, flood, outlive or surprise its parent.
//
// The child gets a closed world: an absolute program, no shell, an empty environment, the root folder, and of the parent's
// descriptors only the one that is given to it as standard input. It answers on standard output, up to a limit. When its
// time is up, when the caller leaves, when it says too much and when it ends, what it has started is killed with it.
//
// On Linux it also has no network, may write no file, is under its other limits before its first instruction, and dies with
// its parent. What of this is lost elsewhere is said at the function start in proc_unix.go, proc_windows.go and
// proc_other.go; what Linux itself may refuse, at the one in proc_linux.go.
package proc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"time"
)

// ErrOutput means that the child was killed because it wrote more than MaxOutput.
var ErrOutput = errors.New("too much output")

var errEnough = errors.New("enough output") // how the child's context ends when Cmd.Enough has reported true

const (
	defaultMaxOutput = 64 << 20
	defaultMaxStderr = 4 << 10

	// waitDelay is how long a pipe is waited for that something outside the child's group still holds.
	waitDelay = time.Second
)

// A Cmd is a program and what it may use.
type Cmd struct {
	Path string   // absolute
	Args []string // without the program's name
	Env  []string // the whole environment: nothing is inherited

	// Stdin becomes descriptor 0, shared offset and all; nil is the null device. It is how a child gets at a file without
	// knowing its name, and the only way that works everywhere: Windows hands over no other descriptor. (What the parent
	// itself was given by its own parent, and never marked close-on-exec, is inherited as well; Go marks all it opens.)
	Stdin *os.File

	// Enough, if it is not nil, is given what has come on standard output so far whenever there is more of it. When it reports
	// true the child is killed, and that is no error. It runs on a goroutine of its own, so it must not panic.
	Enough func(stdout []byte) bool

	MaxOutput int64         // on standard output, beyond which the child is killed; 0 means 64 MiB
	MaxStderr int           // how much of the end of standard error is kept; 0 means 4 KiB
	Timeout   time.Duration // 0 means none but that of the context
	Limits    Limits
}

// Limits bound what the operating system gives to the child, where it can: all of them on Linux, AddressSpace and CPU on
// Windows, none elsewhere. Zero is no limit. A limit never raises one that is lower already.
//
// Files that the child would write and core dumps are limited to nothing, always.
type Limits struct {
	AddressSpace uint64        // in bytes
	CPU          time.Duration // in whole seconds, rounded up
	OpenFiles    uint64        // descriptors
}

// A Result is what a child said.
type Result struct {
	Stdout []byte
	Stderr []byte // the end of it
}

// An Error says how a child failed. Its text names no path and quotes nothing the child said, so it may be shown to
// anybody.
type Error struct {
	// Err is why the child did not start or was killed by us: ErrOutput, the error of the context, context.DeadlineExceeded
	// for Timeout, exec.ErrNotFound, fs.ErrPermission or another error number. It is nil if the child ended by itself.
	Err      error
	ExitCode int       // -1 if it has none
	Signal   os.Signal // that ended the child, if one did
	Stderr   []byte    // the last 4 KiB, for logs only
}

func (e *Error) Error() string {
	switch {
	case e.Err != nil:
		return "child process: " + e.Err.Error()
	case e.Signal != nil:
		return "child process: " + e.Signal.String()
	}
	return "child process: exit status " + strconv.Itoa(e.ExitCode)
}

func (e *Error) Unwrap() error { return e.Err }

// Run runs c to its end. It fails with an [*Error] unless the child exits with status 0; the Result is filled in either
// case. It holds one thread of the operating system for as long as the child lives.
//
// A child that hangs inside the kernel where even SIGKILL waits, as on a dead network share, is waited for beyond its
// time: returning would hide it from whoever counts processes.
func Run(ctx context.Context, c Cmd) (Result, error) {
	if !filepath.IsAbs(c.Path) {
		return Result{}, &Error{Err: fmt.Errorf("program without an absolute path: %w", fs.ErrInvalid), ExitCode: -1}
	}
	if c.Timeout > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, c.Timeout)
		defer stop()
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	stdout := capped{left: c.MaxOutput, enough: c.Enough, cancel: cancel}
	if stdout.left == 0 {
		stdout.left = defaultMaxOutput
	}
	stderr := tail{max: c.MaxStderr}
	if stderr.max == 0 {
		stderr.max = defaultMaxStderr
	}
	newCmd := func() *exec.Cmd {
		cmd := exec.CommandContext(ctx, c.Path, c.Args...)
		cmd.Env = append([]string{}, c.Env...) // not nil, which would be our own
		cmd.Dir = filepath.VolumeName(c.Path) + string(filepath.Separator)
		if c.Stdin != nil { // a nil *os.File in the interface would not be nil
			cmd.Stdin = c.Stdin
		}
		cmd.Stdout = &stdout
		cmd.Stderr = &stderr
		cmd.WaitDelay = waitDelay
		return cmd
	}

	// On Linux a child dies with the thread that started it; this one must live as long as the child does.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	cmd, g, err := start(newCmd, c.Limits)
	if err != nil {
		return Result{}, &Error{Err: startError(err), ExitCode: -1}
	}
	g.awaitExit()
	err = cmd.Wait()
	g.close(errors.Is(err, exec.ErrWaitDelay))

	res := Result{Stdout: stdout.buf.Bytes(), Stderr: stderr.bytes()}
	cause := context.Cause(ctx)
	switch {
	case cmd.ProcessState == nil: // somebody else in this process has reaped it
		return res, &Error{Err: err, ExitCode: -1, Stderr: res.Stderr}
	case cause == ErrOutput:
		err = ErrOutput
	case cause == errEnough, cmd.ProcessState.Success():
		// It was done, whatever happened after. ErrWaitDelay included: the child itself has written all it had.
		return res, nil
	default:
		err = ctx.Err()
	}
	return res, &Error{
		Err:      err,
		ExitCode: cmd.ProcessState.ExitCode(),
		Signal:   signalOf(cmd.ProcessState),
		Stderr:   bytes.Clone(res.Stderr[max(0, len(res.Stderr)-defaultMaxStderr):]),
	}
}

// startError takes the path out of err. A program that is missing is exec.ErrNotFound and not fs.ErrNotExist, which
// callers take to be about the file they are working on.
func startError(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		err = pe.Err
	}
	if ee, ok := errors.AsType[*exec.Error](err); ok {
		err = ee.Err
	}
	if errors.Is(err, fs.ErrNotExist) {
		return exec.ErrNotFound
	}
	return err
}

// capped keeps what is written to it, and calls cancel when that is too much or enough.
type capped struct {
	buf    bytes.Buffer // until Wait has returned, only the goroutine that copies the pipe may use it
	left   int64
	enough func(all []byte) bool
	cancel context.CancelCauseFunc
}

func (w *capped) Write(p []byte) (int, error) {
	if int64(len(p)) > w.left {
		w.cancel(ErrOutput)
		return 0, ErrOutput
	}
	w.left -= int64(len(p))
	w.buf.Write(p)
	if w.enough != nil && w.enough(w.buf.Bytes()) {
		w.enough = nil
		w.cancel(errEnough)
	}
	return len(p), nil
}

// tail keeps the last max bytes that are written to it.
type tail struct {
	buf []byte // at most 2*max
	max int
}

func (w *tail) Write(p []byte) (int, error) {
	n := len(p)
	p = p[max(0, n-w.max):]
	if len(w.buf)+len(p) > 2*w.max {
		w.buf = append(w.buf[:0], w.bytes()...)
	}
	w.buf = append(w.buf, p...)
	return n, nil
}

func (w *tail) bytes() []byte { return w.buf[max(0, len(w.buf)-w.max):] }
