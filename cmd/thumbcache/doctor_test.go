package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
)

// findCheck returns the check with a name.
func findCheck(t *testing.T, d *doctorResult, name string) check {
	t.Helper()
	for _, c := range d.Checks {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("no check %q in %+v", name, d)
	return check{}
}

func TestDoctor(t *testing.T) {
	dir := t.TempDir()
	d := runJSON[doctorResult](t, exitOK, "doctor", dir)
	if d.Dir != dir || d.System != runtime.GOOS+"/"+runtime.GOARCH || findCheck(t, &d, "thumbnail folder").Status == statusFailed {
		t.Errorf("got %+v", d)
	}
	if c := findCheck(t, &d, "locks"); c.Status != statusOK && (runtime.GOOS == "linux" || runtime.GOOS == "darwin" || runtime.GOOS == "windows") {
		t.Errorf("got %+v", c)
	}
	for _, c := range d.Checks {
		if (c.Cost == "") != (c.Status == statusOK) || c.Found == "" {
			t.Errorf("got %+v", c)
		}
	}
	if found := listTree(t, dir); len(found) != 1 {
		t.Errorf("doctor has left %v", found)
	}
	missing := filepath.Join(dir, "a", "b")
	d = runJSON[doctorResult](t, exitOK, "doctor", missing)
	checkContains(t, findCheck(t, &d, "thumbnail folder").Found, missing+" (does not exist yet)")
	if found := listTree(t, dir); len(found) != 1 {
		t.Errorf("doctor has left %v", found)
	}
	r := runCommand(t, "doctor", dir)
	checkContains(t, r.out, "thumbcache "+buildVersion()+" on ", "\nok       temporary folder ")
	if r.code != exitOK || r.err != "" {
		t.Errorf("got %+v", r)
	}
}

// A thumbnail folder that cannot be used is a failure, and no ffmpeg is not.
func TestDoctorFindsProblems(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	r := runCommand(t, "doctor", file)
	checkContains(t, r.out, "\nfailed   thumbnail folder ", "\nThumbnails cannot be stored here.\n")
	if r.code != exitFailed || r.err != "" {
		t.Errorf("got %+v", r)
	}
	t.Setenv("PATH", t.TempDir())
	d := runJSON[doctorResult](t, exitOK, "doctor", t.TempDir())
	if c := findCheck(t, &d, "ffmpeg"); c.Status != statusLimited || c.Found != "not found in PATH" || d.Status != statusLimited {
		t.Errorf("got %+v", d)
	}
	if runtime.GOOS == "windows" {
		return // no shell scripts
	}
	for script, want := range map[string]string{
		"echo 'ffmpeg version n7.1 Copyright (c)'":     "n7.1 at ",
		"echo 'ffmpeg version N-118000-g12 Copyright'": "N-118000-g12 at ",
		"echo nonsense": "does not run: it does not print its version",
		"exit 3":        "does not run: exit status 3",
	} {
		bin := t.TempDir()
		t.Setenv("PATH", bin)
		if err := os.WriteFile(filepath.Join(bin, "ffmpeg"), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		d := runJSON[doctorResult](t, exitOK, "doctor", t.TempDir())
		checkContains(t, findCheck(t, &d, "ffmpeg").Found, want)
	}
}

func TestDoctorDecoders(t *testing.T) {
	t.Parallel()
	var d doctorResult
	d.checkDecoders([]byte("Decoders:\n V..... = Video\n A..... = Audio\n ------\n VFS..D h264                 H.264\n V....D libdav1d             dav1d (codec av1)\n A....D vp9                  an audio decoder\n"))
	if c := findCheck(t, &d, "decoders"); c.Found != "h264, av1" {
		t.Errorf("got %+v", c)
	}
	if c := findCheck(t, &d, "decoder vp9"); c.Status != statusLimited || c.Cost == "" || len(d.Checks) != len(decoders)-2+1 {
		t.Errorf("got %+v", d)
	}
	ffmpeg, err := exec.LookPath("ffmpeg")
	if err != nil {
		t.Skip("ffmpeg is not in PATH")
	}
	out, err := runFFmpeg(t.Context(), ffmpeg, "-hide_banner", "-decoders")
	if err != nil {
		t.Fatal(err)
	}
	d = doctorResult{}
	d.checkDecoders(out)
	checkContains(t, findCheck(t, &d, "decoders").Found, "mjpeg", "png")
}

func TestVersion(t *testing.T) {
	t.Parallel()
	const commit = "0123456789abcdef0123456789abcdef01234567"
	for _, tc := range []struct {
		version  string
		settings []debug.BuildSetting
		want     string
	}{
		{"v1.2.3", nil, "v1.2.3 go1.26"},
		{"(devel)", []debug.BuildSetting{{Key: "vcs.revision", Value: commit}, {Key: "vcs.modified", Value: "true"}}, "(devel) (commit 0123456789ab, modified) go1.26"},
		{"v1.2.3", []debug.BuildSetting{{Key: "vcs.revision", Value: commit}, {Key: "vcs.modified", Value: "false"}}, "v1.2.3 (commit 0123456789ab) go1.26"},
		{"", []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}}, "(devel) (commit abc) go1.26"},
	} {
		info := &debug.BuildInfo{GoVersion: "go1.26", Main: debug.Module{Version: tc.version}, Settings: tc.settings}
		if got := formatVersion(info); got != tc.want {
			t.Errorf("got %q, want %q", got, tc.want)
		}
	}
	if v := buildVersion(); !strings.Contains(v, " go1.") {
		t.Errorf("got %q", v)
	}
}
