package sysmem

import (
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

// The mounts of some systems, and the names of a process's groups in them.
const (
	mountsV2     = "24 1 0:22 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
	mountsV1     = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n35 31 0:32 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n"
	mountsHybrid = mountsV1 + "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
	unlimitedV1  = "9223372036854771712\n"
)

func TestReadBounds(t *testing.T) {
	const MiB = 1 << 20
	mib := func(n int) string { return strconv.Itoa(n*MiB) + "\n" }
	meminfo := "MemTotal:        8192 kB\nMemFree: 1 kB\nMemAvailable:    4096 kB\nHugePages_Total:       0\n"
	system := Bound{"the system", 8 * MiB, 4 * MiB}
	group := func(limit, left int64) Bound { return Bound{"a control group", limit * MiB, left * MiB} }
	for name, tt := range map[string]struct {
		own, mounts, meminfo string
		files                map[string]string // below /sys/fs/cgroup
		want                 []Bound
	}{
		"no control groups": {meminfo: meminfo, want: []Bound{system}},
		"nothing known":     {},
		"an old kernel":     {meminfo: "MemTotal: 8192 kB\n", want: []Bound{{"the system", 8 * MiB, Unknown}}},
		"v2, nested": {"0::/a.slice/b.service\n", mountsV2, meminfo, map[string]string{
			"a.slice/memory.max": mib(6), "a.slice/memory.current": mib(5), "a.slice/memory.stat": "anon 7\ninactive_file " + mib(2) + "active_file " + mib(2),
			"a.slice/b.service/memory.max": "max\n", "a.slice/b.service/memory.high": mib(3), "a.slice/b.service/memory.current": mib(4),
		}, []Bound{system, group(3, -1), group(6, 4)}},
		"v2, the smaller of two limits": {"0::/\n", mountsV2, "", map[string]string{
			"memory.max": mib(5), "memory.high": mib(6), "memory.current": mib(1),
		}, []Bound{group(5, 4)}},
		"v2 without a limit": {"0::/a\n", mountsV2, meminfo, map[string]string{"a/memory.max": "max\n", "a/memory.high": "max\n"}, []Bound{system}},
		"a container sees its own group as the root": {"0::/\n", mountsV2, meminfo, map[string]string{
			"memory.max": mib(2), "memory.current": mib(1),
		}, []Bound{system, group(2, 1)}},
		"a container without a namespace": {"0::/docker/1234\n", "24 1 0:22 /docker/1234 /sys/fs/cgroup ro - cgroup2 cgroup rw\n", "", map[string]string{
			"memory.max": mib(2), "memory.current": mib(1),
		}, []Bound{group(2, 1)}},
		"a group below the mounted part": {"0::/docker/1234/x\n", "24 1 0:22 /docker/1234 /sys/fs/cgroup ro - cgroup2 cgroup rw\n", "", map[string]string{
			"memory.max": mib(2), "memory.current": mib(1), "x/memory.max": mib(1), "x/memory.current": mib(1),
		}, []Bound{group(1, 0), group(2, 1)}},
		"a group beside the mounted part": {"0::/docker/12345\n", "24 1 0:22 /docker/1234 /sys/fs/cgroup ro - cgroup2 cgroup rw\n", "", map[string]string{
			"memory.max": mib(2), "memory.current": mib(1), "5/memory.max": mib(1),
		}, []Bound{group(2, 1)}},
		"a group outside the namespace": {"0::/../../other\n", mountsV2, "", map[string]string{
			"memory.max": mib(2), "memory.current": mib(1), "other/memory.max": mib(1),
		}, []Bound{group(2, 1)}},
		"v1, nested": {"9:name=systemd:/\n4:cpu,memory:/a/b:c\n1:cpu:/x\n", mountsV1, meminfo, map[string]string{
			"memory/memory.limit_in_bytes": unlimitedV1, "memory/memory.usage_in_bytes": mib(9), "memory/memory.stat": "hierarchical_memory_limit " + unlimitedV1,
			"memory/a/memory.limit_in_bytes": mib(4), "memory/a/memory.usage_in_bytes": mib(3), "memory/a/memory.stat": "inactive_file 1\ntotal_inactive_file " + mib(1),
			"memory/a/b:c/memory.limit_in_bytes": unlimitedV1, "memory/a/b:c/memory.usage_in_bytes": mib(1), "memory/a/b:c/memory.stat": "hierarchical_memory_limit " + mib(4),
		}, []Bound{system, group(4, 3), group(4, 2)}},
		"hybrid": {"4:memory:/a\n0::/b\n", mountsHybrid, "", map[string]string{
			"memory/a/memory.limit_in_bytes": mib(4), "memory/a/memory.usage_in_bytes": mib(3), "unified/b/cgroup.procs": "1\n",
		}, []Bound{group(4, 1)}},
		"a mount with a space": {"0::/a\n", "24 1 0:22 / /sys/fs/cgroup/with\\040space rw - cgroup2 cgroup2 rw\n", "", map[string]string{
			"with space/a/memory.max": mib(2), "with space/a/memory.current": mib(1),
		}, []Bound{group(2, 1)}},
		"usage unknown": {"0::/\n", mountsV2, "", map[string]string{"memory.max": mib(2)}, []Bound{{"a control group", 2 * MiB, Unknown}}},
	} {
		root := fstest.MapFS{}
		add := func(name, data string) {
			if data != "" {
				root[name] = &fstest.MapFile{Data: []byte(data)}
			}
		}
		add("proc/self/cgroup", tt.own)
		add("proc/self/mountinfo", tt.mounts)
		add("proc/meminfo", tt.meminfo)
		for file, data := range tt.files {
			add(path.Join("sys/fs/cgroup", file), data)
		}
		if got := readBounds(root, findGroups(root)); !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %v, want %v", name, got, tt.want)
		}
	}
}

// The folders of groups lie at or below their mounts, so that the way up ends there.
func FuzzParseGroups(f *testing.F) {
	f.Add("0::/a/b\n4:memory:/c\n", mountsHybrid)
	f.Add("0::/docker/1234/x\n", "24 1 0:22 /docker/1234 /sys/fs/cgroup\\040x ro - cgroup2 cgroup rw\n")
	f.Add("0::/\n", "1 1 0:1 / / rw - cgroup2 x rw\n")
	f.Add("0::/../x\n4:memory:a\n", "1 1 0:1 a b rw - cgroup2 x rw\n")
	f.Fuzz(func(t *testing.T, own, mounts string) {
		for _, g := range parseGroups([]byte(own), []byte(mounts)) {
			if g.mount != "." && g.dir != g.mount && !strings.HasPrefix(g.dir, g.mount+"/") {
				t.Errorf("%+v", g)
			}
			steps := 0
			for dir := g.dir; dir != g.mount; dir = path.Dir(dir) {
				if steps++; steps > len(own) {
					t.Fatalf("%+v has no end", g)
				}
			}
		}
	})
}

func FuzzReadNumbers(f *testing.F) {
	f.Add("MemTotal:        8192 kB\n")
	f.Add("inactive_file 18446744073709551615\nmax\n")
	f.Fuzz(func(t *testing.T, data string) {
		root := fstest.MapFS{"f": &fstest.MapFile{Data: []byte(data)}}
		for name, n := range readNumbers(root, "f") {
			if n < 0 || kib(n) < 0 {
				t.Errorf("%s: %d", name, n)
			}
		}
		if n, ok := readNumber(root, "f"); ok && n < 0 {
			t.Errorf("%d", n)
		}
	})
}

// The limit of a real control group is found, and what is left of it.
func TestRealGroup(t *testing.T) {
	const limit = 96 << 20
	if os.Getenv("THUMBCACHE_TEST_CHILD") != "" {
		b, _ := Smallest(Find()())
		if b.Limit != limit || b.Left <= 0 || b.Left >= limit {
			t.Errorf("got %+v", b)
		}
		return
	}
	dir := newGroup(t, limit)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", `echo $$ >"$1/cgroup.procs" && shift && exec "$@"`, "sh", dir, exe, "-test.run=^TestRealGroup$")
	cmd.Env = append(os.Environ(), "THUMBCACHE_TEST_CHILD=1", "GOCOVERDIR="+t.TempDir())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// newGroup makes a control group with a limit of memory below that of this process. The test is skipped if it may not.
func newGroup(t *testing.T, limit int64) (dir string) {
	t.Helper()
	for _, g := range findGroups(os.DirFS("/")) {
		dir, file := filepath.Join("/", g.dir, "thumbcache-test-"+strconv.Itoa(os.Getpid())), "memory.limit_in_bytes"
		if g.v2 {
			file = "memory.max"
		}
		if os.Mkdir(dir, 0o755) != nil {
			continue
		}
		t.Cleanup(func() { os.Remove(dir) })
		if os.WriteFile(filepath.Join(dir, file), []byte(strconv.FormatInt(limit, 10)), 0) == nil {
			return dir
		}
	}
	t.Skip("this process may make no control group that limits memory")
	return ""
}

// Here, wherever that is, the machine's memory is found.
func TestFind(t *testing.T) {
	bounds := Find()()
	if !slices.ContainsFunc(bounds, func(b Bound) bool {
		return b.Name == "the system" && b.Limit > 16<<20 && b.Left > 0 && b.Left <= b.Limit
	}) {
		t.Errorf("got %+v", bounds)
	}
}

func BenchmarkRead(b *testing.B) {
	read := Find()
	for b.Loop() {
		read()
	}
}
