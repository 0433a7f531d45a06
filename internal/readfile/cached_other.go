//go:build !linux

package readfile

import "time"

// Cached reports false, because this system cannot tell whether a file can be read without waiting for a disk.
func Cached(path string, max int64) (data []byte, modTime time.Time, ok bool) {
	return nil, modTime, false
}
