//go:build !linux && !darwin && !windows

package store

import (
	"errors"
	"os"
)

// tryLock returns errors.ErrUnsupported, because this system has no locks that belong to an open file. So processes that share
// a folder share neither an account nor the work for a thumbnail. Within a process nothing is lost.
func tryLock(*os.File, int64, bool) (bool, error) { return false, errors.ErrUnsupported }

func unlock(*os.File, int64) {}

// deleted reports false: openLocked notices a deleted file within checkInterval.
func deleted(*os.File) bool { return false }
