//go:build !linux

package readfile

import "time"

// Cached is Read for a file that can be read without waiting. There is no telling here, so it always reports false.
func Cached(path string, max int64) (data []byte, modTime time.Time, ok bool) {
	return nil, modTime, false
}
