//go:build unix && !linux

package readfile

import "golang.org/x/sys/unix"

func open(path string, flags int) (int, error) { return unix.Open(path, flags, 0) }
