//go:build unix

package main

import (
	"strings"
	"testing"
)

// TestFleet runs the short trials. The report is in the log.
func TestFleet(t *testing.T) {
	var out strings.Builder
	r := &report{out: &out}
	if err := runAll(r, t.TempDir(), "", true); err != nil {
		t.Fatal(err)
	}
	if len(r.tables) == 0 {
		t.Skip(r.notes)
	}
	if !r.print() {
		t.Error("a promise was broken")
	}
	t.Log(out.String())
}
