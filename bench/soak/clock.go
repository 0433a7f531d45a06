//go:build linux && (amd64 || arm64)

package main

// jumpClock sets the clock of this process. It does nothing unless the program was built by the driver, see buildNode.
func jumpClock(string) {}
