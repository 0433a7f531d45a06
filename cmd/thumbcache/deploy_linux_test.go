package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// lookTools skips the test if one of the programs is not installed.
func lookTools(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skip(p + " is not installed")
		}
	}
}

// A dockerStage is a part of a Dockerfile that begins with FROM.
type dockerStage struct {
	from  string
	lines []string // instructions
}

// get returns the only instruction with a name, without the name.
func (s *dockerStage) get(t *testing.T, name string) string {
	t.Helper()
	var found []string
	for _, line := range s.lines {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			found = append(found, rest)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d instructions %s in the stage from %s, want 1", len(found), name, s.from)
	}
	return found[0]
}

// getList returns the arguments of an instruction whose argument is a JSON array.
func (s *dockerStage) getList(t *testing.T, name string) (list []string) {
	t.Helper()
	if err := json.Unmarshal([]byte(s.get(t, name)), &list); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return list
}

func readDockerfile(t *testing.T) (stages []dockerStage) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "contrib", "docker", "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	text = regexp.MustCompile(`(?m)^#.*\n`).ReplaceAll(text, nil)
	for line := range strings.Lines(strings.ReplaceAll(string(text), "\\\n", "")) {
		line = strings.TrimSpace(line)
		if from, ok := strings.CutPrefix(line, "FROM "); ok {
			stages = append(stages, dockerStage{from: from})
		} else if line != "" {
			last := &stages[len(stages)-1]
			last.lines = append(last.lines, line)
		}
	}
	return stages
}

// TestDockerfile checks that both images run the same, and without privileges.
func TestDockerfile(t *testing.T) {
	stages := readDockerfile(t)
	if len(stages) != 3 || stages[2].from != "scratch" || !strings.HasSuffix(stages[1].from, " AS ffmpeg") || !strings.HasSuffix(stages[0].from, " AS build") {
		t.Fatalf("%+v", stages)
	}
	withFFmpeg := slices.DeleteFunc(slices.Clone(stages[1].lines), func(line string) bool { return strings.HasPrefix(line, "RUN ") })
	if !slices.Equal(withFFmpeg, stages[2].lines) {
		t.Errorf("%q\n%q", withFFmpeg, stages[2].lines)
	}
	if user := stages[2].get(t, "USER"); user != "65532:65532" {
		t.Errorf("user %s", user)
	}
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	minor := regexp.MustCompile(`(?m)^go (1\.\d+)`).FindSubmatch(mod)
	if minor == nil || !strings.HasPrefix(stages[0].from, "golang:"+string(minor[1])+"-") {
		t.Errorf("it builds with %s, go.mod says %s", stages[0].from, minor)
	}
	if volume := stages[2].get(t, "VOLUME"); !slices.Contains(stages[2].getList(t, "CMD"), volume) {
		t.Errorf("the volume %s is not the thumbnail folder", volume)
	}
}

// copyContext returns a copy of what Docker copies to the first stage: the repository without the names in the file .dockerignore.
func copyContext(t *testing.T) string {
	t.Helper()
	root := filepath.Join("..", "..")
	ignored, err := os.ReadFile(filepath.Join(root, "contrib", "docker", "Dockerfile.dockerignore"))
	if err != nil {
		t.Fatal(err)
	}
	isIgnored := func(name string) bool {
		for pattern := range strings.FieldsSeq(string(ignored)) {
			base, isAnywhere := strings.CutPrefix(pattern, "**/")
			if name == pattern || isAnywhere && filepath.Base(name) == base {
				return true
			}
		}
		return false
	}
	src := t.TempDir()
	err = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		switch {
		case err != nil:
			return err
		case isIgnored(name) && e.IsDir():
			return fs.SkipDir
		case isIgnored(name) || !e.IsDir() && !e.Type().IsRegular():
			return nil
		case e.IsDir():
			return os.MkdirAll(filepath.Join(src, name), 0o755)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(src, name), data, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	return src
}

// buildImage returns a folder with the files of the image from scratch. It runs the commands of the Dockerfile.
func buildImage(t *testing.T, stages []dockerStage) string {
	t.Helper()
	image := filepath.Join(t.TempDir(), "image")
	if from := stages[2].get(t, "COPY"); from != "--from=build /image/ /" {
		t.Fatalf("COPY %s", from)
	}
	if src := stages[0].get(t, "COPY"); src != ". ." {
		t.Fatalf("COPY %s", src)
	}
	cmd := exec.Command("sh", "-c", strings.ReplaceAll(stages[0].get(t, "RUN"), "/image", image))
	cmd.Dir = copyContext(t)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return image
}

// inImage is a script that runs a program in an image: its root file system cannot be written, apart from the volume, it cannot get
// privileges, and its environment is empty. Docker does this with --read-only and --security-opt no-new-privileges.
const inImage = `set -e
image=$1 media=$2 volume=$3 user=$4
shift 4
mount --bind "$image" "$image"
mount -o remount,bind,ro "$image"
mount --bind "$media" "$image/media"
mount -o remount,bind,ro "$image/media"
mount --bind "$volume" "$image/var/cache/thumbs"
exec env -i PATH="$PATH" setpriv --no-new-privs --bounding-set=-all,+sys_chroot,+setuid,+setgid chroot --userspec="$user" "$image" "$@"`

// TestImage runs the image of the Dockerfile without Docker.
func TestImage(t *testing.T) {
	if os.Getenv("THUMBCACHE_FULL") == "" {
		t.Skip("the build may take minutes; set THUMBCACHE_FULL=1")
	}
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	lookTools(t, "go", "unshare", "mount", "setpriv", "chroot", "install")
	if _, err := os.Stat("/etc/ssl/certs/ca-certificates.crt"); err != nil {
		t.Skip(err)
	}
	if out, err := exec.Command("unshare", "--mount", "true").CombinedOutput(); err != nil {
		t.Skipf("mounting is not allowed: %v, %s", err, out)
	}
	stages := readDockerfile(t)
	image, volume := buildImage(t, stages), t.TempDir()
	run := &stages[2]
	info, err := os.Stat(filepath.Join(image, run.get(t, "VOLUME")))
	if err != nil {
		t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	if got := fmt.Sprintf("%d:%d", owner.Uid, owner.Gid); got != run.get(t, "USER") || info.Mode().Perm() != 0o700 {
		t.Errorf("the volume belongs to %s, %v", got, info.Mode())
	}
	if err := os.Chown(volume, int(owner.Uid), int(owner.Gid)); err != nil {
		t.Fatal(err)
	}
	command := append(run.getList(t, "ENTRYPOINT"), run.getList(t, "CMD")...)
	for i, arg := range command {
		if arg == ":"+run.get(t, "EXPOSE") {
			command[i] = "127.0.0.1:0"
		}
	}
	args := append([]string{"--mount", "sh", "-c", inImage, "sh", image, sampleFolder(t), volume, run.get(t, "USER")}, command...)
	cmd := exec.Command("unshare", args...)
	var messages bytes.Buffer
	cmd.Stderr = &messages
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	printed := bufio.NewReader(out)
	var url string
	for url == "" {
		line, err := printed.ReadString('\n')
		if err != nil {
			cmd.Wait()
			t.Fatalf("it does not start: %s", &messages)
		}
		if rest, ok := strings.CutPrefix(line, "Listening "); ok {
			url = strings.TrimSuffix(strings.TrimSpace(rest), "/")
		}
	}
	go io.Copy(io.Discard, printed)

	proc := fmt.Sprintf("/proc/%d", cmd.Process.Pid)
	status, err := os.ReadFile(proc + "/status")
	if err != nil {
		t.Fatal(err)
	}
	checkContains(t, string(status), "\nUid:\t65532\t65532\t65532\t65532\n", "\nGid:\t65532\t", "\nGroups:\t \n", "\nNoNewPrivs:\t1\n", "\nCapEff:\t0000000000000000\n")
	if err := os.WriteFile(proc+"/root/x", nil, 0o600); !errors.Is(err, syscall.EROFS) {
		t.Errorf("writing to the root file system: %v", err)
	}
	if code, _, body := fetch(t, url+"/readyz"); code != http.StatusOK {
		t.Errorf("%d %s", code, body)
	}
	if code, header, body := fetch(t, url+"/thumb/media/Ada%20Rings/Lossless/01%20One%20Cover.flac"); code != http.StatusOK || header.Get("Content-Type") != "image/jpeg" {
		t.Errorf("%d %.60q", code, body)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, &messages)
	}
	if names, err := filepath.Glob(filepath.Join(volume, "??", "*.jpg")); err != nil || len(names) != 1 {
		t.Errorf("stored: %q, %v", names, err)
	}
}

// TestUnit checks the unit of systemd, and runs its command.
func TestUnit(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "contrib", "systemd", "thumbcache.service"))
	if err != nil {
		t.Fatal(err)
	}
	unit := string(text)
	line := regexp.MustCompile(`(?m)^ExecStart=/usr/local/bin/thumbcache serve --no-page (.+)$`).FindStringSubmatch(unit)
	if line == nil {
		t.Fatal("no ExecStart")
	}
	runtimeDir, cacheDir := shortTempDir(t), t.TempDir()
	args := strings.Fields(strings.NewReplacer("/srv/music", sampleFolder(t), "/srv/photos", t.TempDir(), "${CACHE_DIRECTORY}", cacheDir, "${RUNTIME_DIRECTORY}", runtimeDir).Replace(line[1]))
	s := startAPI(t, args...)
	if a := s.ask(t, "GET", "/readyz", ""); a.status != http.StatusOK {
		t.Errorf("%+v", a)
	}
	if names, err := os.ReadDir(runtimeDir); err != nil || len(names) != 1 || names[0].Name() != "thumbcache.sock" {
		t.Errorf("%v, %v", names, err)
	}

	lookTools(t, "systemd-analyze")
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "thumbcache.service")
	installed := strings.ReplaceAll(unit, "/usr/local/bin/thumbcache ", program+" ")
	if err := os.WriteFile(file, []byte(installed), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("systemd-analyze", "verify", "--man=no", file).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
	// The exposure is a number from 0 to 100. A unit without a sandbox has 96.
	if out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=25", file).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
