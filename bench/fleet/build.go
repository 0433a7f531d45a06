//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// skewEnv is the environment variable by which the clock of suite.wrongClock is ahead, in seconds.
const skewEnv = "FLEET_SKEW"

// buildPrograms builds the thumbcache command: as it is, with thumbnails that look different, and with a clock that can be wrong. The
// tools that change the clock of a process, such as libfaketime, have no effect on programs in Go.
func (s *suite) buildPrograms() error {
	root, err := output("go", "list", "-m", "-f", "{{.Dir}}", "github.com/thumbcache/thumbcache")
	if err != nil {
		return err
	}
	s.root = root
	if s.program == "" {
		s.program = filepath.Join(s.dir, "thumbcache")
		if err := s.build(s.program, "", nil); err != nil {
			return err
		}
	}
	if s.short {
		return nil
	}
	s.nextVersion = filepath.Join(s.dir, "thumbcache-next")
	err = s.build(s.nextVersion, filepath.Join(root, "make.go"), func(src []byte) []byte {
		return regexp.MustCompile(`const pipeline = \d+`).ReplaceAll(src, []byte("const pipeline = 250"))
	})
	if err != nil {
		return err
	}
	goroot, err := output("go", "env", "GOROOT")
	if err != nil {
		return err
	}
	s.wrongClock = filepath.Join(s.dir, "thumbcache-clock")
	return s.build(s.wrongClock, filepath.Join(goroot, "src/time/time.go"), func(src []byte) []byte {
		const now = "sec, nsec, mono := runtimeNow()"
		changed := bytes.Replace(src, []byte(now), []byte(now+"\n\tsec += skew"), 1)
		changed = bytes.Replace(changed, []byte("import ("), []byte("import (\n\t\"syscall\""), 1)
		return append(changed, `
var skew = func() int64 {
	text, _ := syscall.Getenv("`+skewEnv+`")
	seconds, _ := atoi(text)
	return int64(seconds)
}()
`...)
	})
}

// output returns what a command prints.
func output(name string, args ...string) (string, error) {
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", name, args[0], err)
	}
	return strings.TrimSpace(string(out)), nil
}

// build builds the thumbcache command. If file is not empty, that source file is replaced by what change makes of it.
func (s *suite) build(output, file string, change func(src []byte) []byte) error {
	args := []string{"build", "-C", filepath.Join(s.root, "cmd/thumbcache"), "-o", output}
	if file != "" {
		overlay, err := s.overlay(output, file, change)
		if err != nil {
			return err
		}
		args = append(args, "-overlay", overlay)
	}
	if out, err := exec.Command("go", append(args, ".")...).CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// overlay returns a file for the flag -overlay of the go command.
func (s *suite) overlay(output, file string, change func(src []byte) []byte) (string, error) {
	src, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	changed := change(bytes.Clone(src))
	if bytes.Equal(changed, src) {
		return "", fmt.Errorf("%s does not contain what is to be changed", file)
	}
	replacement, overlay := output+".go", output+".json"
	list, err := json.Marshal(map[string]map[string]string{"Replace": {file: replacement}})
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(replacement, changed, 0o600); err != nil {
		return "", err
	}
	return overlay, os.WriteFile(overlay, list, 0o600)
}
