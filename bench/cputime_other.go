//go:build !unix

package main

import "time"

var start = time.Now()

// cpuTime returns the time since the process has started, which includes the time of other processes.
func cpuTime() time.Duration { return time.Since(start) }
