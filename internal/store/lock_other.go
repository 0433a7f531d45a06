//go:build !linux && !darwin && !windows

package store

import (
	"errors"
	"os"
)

// tryLock: there are no locks here that belong to an opening of a file. Lost is that several processes on one folder share
// one account of what it holds and one extraction. What one process does is kept in order by other means.
func tryLock(*os.File, int64, bool) (bool, error) { return false, errors.ErrUnsupported }

func unlock(*os.File, int64) {}

// deleted is found out in another way, which takes a second.
func deleted(*os.File) bool { return false }
