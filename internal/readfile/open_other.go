//go:build !unix && !windows

package readfile

import "os"

func open(path string) (*os.File, error) { return os.Open(path) }
