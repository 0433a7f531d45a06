package ffmpeg

import (
	"os"

	"golang.org/x/sys/unix"
)

// createMemoryFile returns an empty file in memory, which has no name and disappears when it is closed.
func createMemoryFile() (*os.File, error) {
	fd, err := unix.MemfdCreate("thumbcache", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "memory file"), nil
}
