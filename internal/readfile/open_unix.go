//go:build unix && !linux

package readfile

func open(path string, flags int) (int, error) { return openSteps(path, flags) }
