//go:build !unix

// Package readfile reads small regular files as cheaply and as carefully as the system can.
package readfile

import (
	"io"
	"io/fs"
	"os"
	"time"
)

// Read returns the content and modification time of the regular file at path, which must not be larger than max.
// What is lost here: a link is followed if it takes the file's place between two calls.
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
		err = nil // it was cut off meanwhile
	}
	return data[:n], info.ModTime(), err
}
