package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

const (
	socketPrefix  = "unix:" // of the values of --addr that name a Unix socket
	maxSocketName = 103     // bytes; the limit of macOS, where Linux has 107
	socketMode    = 0o660   // the server's user and group may connect
)

// listen listens on a TCP address, or on a Unix socket if addr begins with socketPrefix.
func listen(ctx context.Context, addr string) (net.Listener, error) {
	name, ok := strings.CutPrefix(addr, socketPrefix)
	if !ok {
		return net.Listen("tcp", addr)
	}
	switch {
	case runtime.GOOS == "windows":
		return nil, usageError{errors.New("--addr: Unix sockets are not supported on Windows")}
	case name == "":
		return nil, usageError{errors.New("--addr: the name of the socket is missing")}
	case len(name) > maxSocketName:
		return nil, usageError{fmt.Errorf("--addr: the name of the socket is longer than %d bytes", maxSocketName)}
	}
	if err := checkStale(ctx, name); err != nil {
		return nil, fmt.Errorf("--addr: %s: %w", name, err)
	}
	return listenUnix(name)
}

// checkStale returns an error if there is a file with the name of a socket that must not be replaced.
func checkStale(ctx context.Context, name string) error {
	info, err := os.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return errors.Unwrap(err)
	case info.Mode().Type() != fs.ModeSocket:
		return errors.New("it exists and is no socket")
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", name)
	if err == nil {
		conn.Close()
		return errors.New("another server listens on it")
	}
	if !errors.Is(err, syscall.ECONNREFUSED) { // which says that no process listens
		return fmt.Errorf("it is not known whether another server listens on it: %w", err)
	}
	return nil
}

// listenUnix listens on a socket, which replaces another one of that name. The socket is made in a folder of its own and gets its name
// when its permissions are set, so there is no time at which others can connect.
func listenUnix(name string) (net.Listener, error) {
	private, err := os.MkdirTemp(filepath.Dir(name), ".*") // with mode 0700
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(private)
	temp := filepath.Join(private, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: temp, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // it would remove the name in private
	var info fs.FileInfo
	if err = os.Chmod(temp, socketMode); err == nil {
		if info, err = os.Lstat(temp); err == nil {
			err = os.Rename(temp, name)
		}
	}
	if err != nil {
		l.Close()
		return nil, err
	}
	return &socket{l, name, info}, nil
}

// A socket is a listener that removes its file when it is closed.
type socket struct {
	*net.UnixListener
	name string
	info fs.FileInfo
}

func (s *socket) Close() error {
	if now, err := os.Lstat(s.name); err == nil && os.SameFile(now, s.info) { // not that of a server that has replaced it
		_ = os.Remove(s.name)
	}
	return s.UnixListener.Close()
}
