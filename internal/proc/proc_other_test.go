//go:build !linux

package proc

import "testing"

func checkNoChildren(*testing.T) {}

func runUnprivileged() {}

func printPriority(string) {}
