//go:build linux && (amd64 || arm64)

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// buildNode builds this program with a clock that can be set, and returns the name of the executable. The tools that change the clock of
// a process have no effect on programs in Go, and a time namespace cannot change the time of day. So the standard library's time.Now
// gets what jumpClock wants, and jumpClock is replaced by a function that says what it wants.
func buildNode(dir string) (program string, err error) {
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("go env: %w", err)
	}
	module, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/thumbcache/thumbcache/bench").Output()
	if err != nil {
		return "", fmt.Errorf("go list: %w", err)
	}
	here := filepath.Join(strings.TrimSpace(string(module)), "soak")
	clock := filepath.Join(strings.TrimSpace(string(goroot)), "src/time/time.go")
	src, err := os.ReadFile(clock)
	if err != nil {
		return "", err
	}
	const now = "sec, nsec, mono := runtimeNow()"
	changed := bytes.Replace(src, []byte(now), []byte(now+"\n\tsec += Skew"), 1)
	if bytes.Equal(changed, src) {
		return "", fmt.Errorf("%s of %s does not contain what is to be changed", clock, runtime.Version())
	}
	changed = append(changed, "\nvar Skew int64 // seconds\n"...)
	jump := `package main

import (
	"strconv"
	"time"
)

func jumpClock(seconds string) {
	skew, _ := strconv.ParseInt(seconds, 10, 64)
	time.Skew = skew
}
`
	replace := map[string]string{clock: filepath.Join(dir, "time.go.txt"), filepath.Join(here, "clock.go"): filepath.Join(dir, "clock.go.txt")}
	for i, data := range [][]byte{changed, []byte(jump)} {
		name := []string{"time.go.txt", "clock.go.txt"}[i]
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return "", err
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600); err != nil {
		return "", err
	}
	program = filepath.Join(dir, "soak")
	if out, err := exec.Command("go", "build", "-C", here, "-o", program, "-overlay", filepath.Join(dir, "overlay.json"), ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return program, nil
}
