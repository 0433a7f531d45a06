//go:build !linux

package ffmpeg

import (
	"errors"
	"os"
)

// createMemoryFile fails: only Linux has files in memory without a name.
func createMemoryFile() (*os.File, error) { return nil, errors.ErrUnsupported }
