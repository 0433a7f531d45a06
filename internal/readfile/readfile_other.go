//go:build !unix

// Package readfile reads small regular files with few system calls, and without following symbolic links.
package readfile

import (
	"io"
	"io/fs"
	"os"
	"time"
)

// Read returns the content and modification time of the regular file at path. It returns fs.ErrInvalid for a file of more than max
// bytes and for anything but a regular file. Unlike on Unix, a symbolic link is followed if it replaces the file between two
// system calls, and if it is a folder of the path.
func Read(path string, max int64) (data []byte, modTime time.Time, err error) {
	if info, err := os.Lstat(path); err != nil {
		return nil, modTime, err
	} else if !info.Mode().IsRegular() {
		return nil, modTime, fs.ErrInvalid
	}
	f, err := open(path)
	if err != nil {
		return nil, modTime, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, modTime, err
	}
	if !info.Mode().IsRegular() || info.Size() > max {
		return nil, modTime, fs.ErrInvalid
	}
	data = make([]byte, info.Size())
	n, err := io.ReadFull(f, data)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = nil // the file was truncated meanwhile
	}
	return data[:n], info.ModTime(), err
}
