// Package proc runs one child process under limits of time, output and resources.
//
// The child runs an absolute path without a shell. Its environment holds only what the caller lists, its working directory
// is the root folder, and the only descriptor it receives is its standard input. The child and all processes that it started
// are killed when it exits, when its timeout passes, when the context is canceled, and when it writes too much. They run at a low
// priority.
//
// On Linux the child also has no network and cannot write files, its resource limits hold before its first instruction, and
// the kernel kills it when the parent dies. The comments on the function start in proc_unix.go, proc_windows.go and
// proc_other.go list what other systems lack. The one in proc_linux.go says what happens when Linux refuses a restriction.
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

// ErrOutput means that the child was killed because it wrote more than MaxOutput bytes to standard output.
var ErrOutput = errors.New("too much output")

var errEnough = errors.New("enough output") // cancels the child's context when Cmd.Enough reports true

const (
	defaultMaxOutput = 64 << 20
	defaultMaxStderr = 4 << 10

	// waitDelay is how long Run waits for the output pipes to close after the child has exited. A process that the child
	// moved out of its process group may keep them open.
	waitDelay = time.Second

	// niceness is added to that of this process for a child: a thumbnail must not disturb playback. Next to a process of the usual
	// priority, a child gets about a tenth of a processor; an idle processor is all its own.
	niceness = 10
)

// A Cmd describes a program to run and what it may use.
type Cmd struct {
	Path string   // absolute
	Args []string // without the program's name
	Env  []string // the whole environment: nothing is inherited

	// Stdin becomes descriptor 0 of the child, which shares the file offset with the parent; nil is the null device. It
	// gives the child a file without a name. Only standard input works on every system: Windows passes no other descriptor.
	// Descriptors that the parent inherited without close-on-exec are inherited by the child too. Go marks all that it opens.
	Stdin *os.File

	// Enough, if not nil, is called with all of standard output whenever more of it arrives. When it returns true, the child
	// is killed and Run succeeds. It runs on a goroutine of package os/exec, so a panic in it ends the program.
	Enough func(stdout []byte) bool

	MaxOutput int64         // bytes on standard output; a child that writes more is killed; 0 means 64 MiB
	MaxStderr int           // bytes kept of the end of standard error; 0 means 4 KiB
	Timeout   time.Duration // 0 means that only the context limits the time
	Limits    Limits
}

// Limits are resource limits of the child. All of them work on Linux, AddressSpace and CPU on Windows, and none elsewhere.
// Zero means no limit. A limit is never raised above the one that the parent has.
//
// On Linux the child can never write files or core dumps.
type Limits struct {
	AddressSpace uint64        // in bytes
	CPU          time.Duration // in whole seconds, rounded up
	OpenFiles    uint64        // descriptors
}

// A Result is the output of a child.
type Result struct {
	Stdout []byte
	Stderr []byte // the last MaxStderr bytes
}

// An Error describes how a child failed. Its text contains neither paths nor output of the child, so it may be shown to
// clients.
type Error struct {
	// Err is why the child did not start or why Run killed it: ErrOutput, the error of the context, context.DeadlineExceeded
	// for Timeout, exec.ErrNotFound, fs.ErrPermission or another system error. It is nil if the child exited on its own.
	Err      error
	ExitCode int       // -1 if the child did not exit normally
	Signal   os.Signal // the signal that ended the child, or nil
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

// Run runs c until it has exited. It returns an [*Error] unless the child exits with status 0 or Enough returned true. The
// Result holds the output in either case. Run occupies one operating system thread while the child runs.
//
// SIGKILL does not end a child that hangs inside the kernel, for example on a dead network share. Run then waits beyond the
// timeout, because a caller that limits the number of processes must not start another one.
func Run(ctx context.Context, c Cmd) (Result, error) {
	if !filepath.IsAbs(c.Path) {
		return Result{}, &Error{Err: fmt.Errorf("program path is not absolute: %w", fs.ErrInvalid), ExitCode: -1}
	}
	if c.Timeout > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, c.Timeout)
		defer stop()
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	out := newOutput(c, cancel)
	newCmd := func() *exec.Cmd {
		cmd := exec.CommandContext(ctx, c.Path, c.Args...)
		cmd.Env = append([]string{}, c.Env...) // nil would inherit the parent's environment
		cmd.Dir = filepath.VolumeName(c.Path) + string(filepath.Separator)
		if c.Stdin != nil { // a nil *os.File in the interface would not be nil
			cmd.Stdin = c.Stdin
		}
		cmd.Stdout = &out.stdout
		cmd.Stderr = &out.stderr
		cmd.WaitDelay = waitDelay
		return cmd
	}

	// On Linux the kernel kills the child when the thread that started it exits, so this thread must outlive the child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	cmd, g, err := start(newCmd, c.Limits)
	if err != nil {
		return Result{}, &Error{Err: startError(err), ExitCode: -1}
	}
	g.awaitExit()
	err = cmd.Wait()
	g.close(errors.Is(err, exec.ErrWaitDelay))

	res := Result{Stdout: out.stdout.buf.Bytes(), Stderr: out.stderr.bytes()}
	if cmd.ProcessState == nil { // other code in this process has reaped the child
		return res, &Error{Err: err, ExitCode: -1, Stderr: res.Stderr}
	}
	return res, exitError(ctx, cmd.ProcessState, res.Stderr)
}

// exitError returns the error of a child that has exited, or nil if it did its work.
func exitError(ctx context.Context, state *os.ProcessState, stderr []byte) error {
	cause := context.Cause(ctx)
	if cause == errEnough || cause != ErrOutput && state.Success() {
		// The child finished before anything else went wrong. Even when Wait returned ErrWaitDelay, its output is complete.
		return nil
	}
	e := &Error{
		Err:      ctx.Err(),
		ExitCode: state.ExitCode(),
		Signal:   signalOf(state),
		Stderr:   bytes.Clone(stderr[max(0, len(stderr)-defaultMaxStderr):]),
	}
	if cause == ErrOutput {
		e.Err = ErrOutput
	}
	return e
}

// startError removes the path from err. A missing program is exec.ErrNotFound rather than fs.ErrNotExist, which callers
// would take for a statement about their media file.
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

// An output receives what a child writes.
type output struct {
	stdout cappedBuffer
	stderr tailBuffer
}

// newOutput returns the output of c, which calls cancel when the child is to be killed.
func newOutput(c Cmd, cancel context.CancelCauseFunc) *output {
	o := &output{
		stdout: cappedBuffer{left: c.MaxOutput, enough: c.Enough, cancel: cancel},
		stderr: tailBuffer{max: c.MaxStderr},
	}
	if o.stdout.left == 0 {
		o.stdout.left = defaultMaxOutput
	}
	if o.stderr.max == 0 {
		o.stderr.max = defaultMaxStderr
	}
	return o
}

// A cappedBuffer keeps what is written to it, and calls cancel when that is too much or enough.
type cappedBuffer struct {
	buf    bytes.Buffer // used by the goroutine that copies the pipe until Wait has returned
	left   int64        // bytes until too much
	enough func(all []byte) bool
	cancel context.CancelCauseFunc
}

func (w *cappedBuffer) Write(p []byte) (int, error) {
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

// A tailBuffer keeps the last max bytes that are written to it.
type tailBuffer struct {
	buf []byte // at most 2*max
	max int
}

func (w *tailBuffer) Write(p []byte) (int, error) {
	n := len(p)
	p = p[max(0, n-w.max):]
	if len(w.buf)+len(p) > 2*w.max {
		w.buf = append(w.buf[:0], w.bytes()...)
	}
	w.buf = append(w.buf, p...)
	return n, nil
}

func (w *tailBuffer) bytes() []byte { return w.buf[max(0, len(w.buf)-w.max):] }
