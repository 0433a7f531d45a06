package sysmem

import (
	"bytes"
	"io/fs"
	"math"
	"os"
	"path"
	"strconv"
	"strings"
)

// findSystem finds the limits of the machine and of the control groups of this process. Should it be moved to other groups, their
// limits are not seen.
func findSystem() (read func() []Bound) {
	root := os.DirFS("/")
	groups := findGroups(root)
	return func() []Bound { return readBounds(root, groups) }
}

func findGroups(root fs.FS) []group {
	own, _ := fs.ReadFile(root, "proc/self/cgroup")
	mounts, _ := fs.ReadFile(root, "proc/self/mountinfo")
	return parseGroups(own, mounts)
}

func readBounds(root fs.FS, groups []group) []Bound {
	var all []Bound
	info := readNumbers(root, "proc/meminfo") // in KiB
	if total := info["MemTotal"]; total > 0 {
		b := Bound{"the system", kib(total), Unknown}
		if left, ok := info["MemAvailable"]; ok { // since Linux 3.14
			b.Left = kib(left)
		}
		all = append(all, b)
	}
	for _, g := range groups {
		for dir := g.dir; ; dir = path.Dir(dir) {
			if b, ok := g.bound(root, dir); ok {
				all = append(all, b)
			}
			if dir == g.mount {
				break
			}
		}
	}
	return all
}

func kib(n int64) (bytes int64) { return min(n, math.MaxInt64>>10) << 10 }

// A group is a control group of this process that may limit memory.
type group struct {
	mount string // where its hierarchy is mounted, as a path for io/fs
	dir   string // the group's folder, which is mount or below it
	v2    bool
}

// bound returns the limit in a folder of a hierarchy. The folders above limit g, too.
func (g group) bound(root fs.FS, dir string) (b Bound, ok bool) {
	b = Bound{Name: "a control group", Limit: math.MaxInt64}
	limits, usage, prefix := []string{"memory.limit_in_bytes"}, "memory.usage_in_bytes", "total_"
	if g.v2 {
		limits, usage, prefix = []string{"memory.max", "memory.high"}, "memory.current", ""
	}
	for _, name := range limits {
		if n, ok := readNumber(root, path.Join(dir, name)); ok {
			b.Limit = min(b.Limit, n)
		}
	}
	stat := readNumbers(root, path.Join(dir, "memory.stat"))
	if n, ok := stat["hierarchical_memory_limit"]; ok { // v1: of the folders above, which may not be visible
		b.Limit = min(b.Limit, n)
	}
	if b.Limit >= math.MaxInt64-1<<20 { // v1 without a limit: the largest number of whole pages
		return b, false
	}
	b.Left = Unknown
	if used, ok := readNumber(root, path.Join(dir, usage)); ok {
		// The kernel gives up cached files before it kills. Half of those that are in use count as needed, such as programs.
		b.Left = b.Limit - used + stat[prefix+"inactive_file"] + stat[prefix+"active_file"]/2
	}
	return b, true
}

// parseGroups returns the control groups that may limit memory. own and mounts are the contents of /proc/self/cgroup and
// /proc/self/mountinfo.
func parseGroups(own, mounts []byte) []group {
	var all []group
	for line := range bytes.Lines(own) { // such as "4:memory:/user.slice", and of v2 "0::/user.slice"
		fields := strings.SplitN(strings.TrimSuffix(string(line), "\n"), ":", 3)
		if len(fields) != 3 {
			continue
		}
		v2 := fields[0] == "0" && fields[1] == ""
		if !v2 && !hasWord(fields[1], "memory") {
			continue
		}
		for line := range bytes.Lines(mounts) {
			if g, ok := groupIn(string(line), fields[2], v2); ok {
				all = append(all, g)
				break
			}
		}
	}
	return all
}

// groupIn returns the group with the given path if a line of mountinfo is the mount of its hierarchy. See proc(5).
func groupIn(line, name string, v2 bool) (g group, ok bool) {
	before, after, ok := strings.Cut(line, " - ")
	mount, fsType := strings.Fields(before), strings.Fields(after)
	if !ok || len(mount) < 5 || len(fsType) < 3 {
		return g, false
	}
	if v2 != (fsType[0] == "cgroup2") || !v2 && (fsType[0] != "cgroup" || !hasWord(fsType[2], "memory")) {
		return g, false
	}
	root, point := unescape(mount[3]), path.Clean(unescape(mount[4]))
	if !strings.HasPrefix(point, "/") {
		return g, false
	}
	g.mount, g.v2 = strings.TrimPrefix(point, "/"), v2
	if g.mount == "" {
		g.mount = "."
	}
	g.dir = g.mount
	// A container may see a part of the hierarchy only, and its own group under another name. Then the mounted part is the group.
	below, ok := strings.CutPrefix(name, strings.TrimSuffix(root, "/"))
	if ok && (below == "" || below[0] == '/') && !hasParent(name) {
		g.dir = path.Join(g.mount, below)
	}
	return g, true
}

// hasParent reports whether a path has an element "..", as that of a group outside the namespace of this process has.
func hasParent(name string) bool {
	for element := range strings.SplitSeq(name, "/") {
		if element == ".." {
			return true
		}
	}
	return false
}

// hasWord reports whether a list separated by commas has word.
func hasWord(list, word string) bool {
	for element := range strings.SplitSeq(list, ",") {
		if element == word {
			return true
		}
	}
	return false
}

// unescape replaces the octal escapes of mountinfo, such as \040 for a space.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// readNumber returns the number in a file. A word such as "max" is not one, and a number too large for int64 becomes the largest.
func readNumber(root fs.FS, name string) (n int64, ok bool) {
	data, err := fs.ReadFile(root, name)
	if err != nil {
		return 0, false
	}
	return parseNumber(strings.TrimSpace(string(data)))
}

func parseNumber(s string) (n int64, ok bool) {
	u, err := strconv.ParseUint(s, 10, 64)
	return int64(min(u, math.MaxInt64)), err == nil
}

// readNumbers returns the numbers in the lines of a file, such as "MemTotal:  8167848 kB" or "inactive_file 4096", by their names.
func readNumbers(root fs.FS, name string) map[string]int64 {
	data, err := fs.ReadFile(root, name)
	if err != nil {
		return nil
	}
	numbers := make(map[string]int64)
	for line := range bytes.Lines(data) {
		if fields := strings.Fields(string(line)); len(fields) >= 2 {
			if n, ok := parseNumber(fields[1]); ok {
				numbers[strings.TrimSuffix(fields[0], ":")] = n
			}
		}
	}
	return numbers
}
