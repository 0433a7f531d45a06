//go:build unix

package main

import (
	"syscall"
	"time"
)

// cpuTime returns the CPU time that this process has used.
func cpuTime() time.Duration { return cpu(syscall.RUSAGE_SELF) }

// cpu returns the CPU time of this process or of its children.
func cpu(who int) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(who, &u); err != nil {
		panic(err) // only a wrong argument is refused
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
