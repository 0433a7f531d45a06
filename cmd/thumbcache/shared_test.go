package main

import (
	"bytes"
	"encoding/json"
	"go/build"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9/logging"

	"github.com/thumbcache/thumbcache"
	"github.com/thumbcache/thumbcache/internal/store"
	"github.com/thumbcache/thumbcache/sharedtest"
)

const secret = "correct-horse" // must not be in any output

// startProcess starts a server on a free port of the loopback, and waits until it listens. The server ends with the test. The test is
// skipped if the program is not installed, unless the environment requires it.
func startProcess(t *testing.T, program, required string, args func(addr string) []string) (addr string) {
	t.Helper()
	binary, err := exec.LookPath(program)
	if err != nil {
		binary, err = exec.LookPath(filepath.Join(build.Default.GOPATH, "bin", program))
	}
	if err != nil {
		if os.Getenv(required) != "" {
			t.Fatal(err)
		}
		t.Skip(program + " is not installed")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = l.Addr().String()
	l.Close()
	var out bytes.Buffer
	cmd := exec.Command(binary, args(addr)...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for range 3000 { // 30 s
		if conn, err := net.Dial("tcp", addr); err == nil {
			conn.Close()
			return addr
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%s does not listen at %s", program, addr)
	return ""
}

// startRedis returns the address of a Redis server, as in a URL.
func startRedis(t *testing.T, args ...string) string {
	t.Helper()
	dir := t.TempDir()
	return startProcess(t, "redis-server", "THUMBCACHE_REQUIRE_REDIS", func(addr string) []string {
		_, port, _ := net.SplitHostPort(addr)
		return append([]string{"--port", port, "--bind", "127.0.0.1", "--dir", dir, "--save", ""}, args...)
	})
}

// startS3 returns the URL of an empty bucket, and sets the environment so that its credentials are found.
func startS3(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "covers"), 0o755); err != nil {
		t.Fatal(err)
	}
	setCredentials(t, secret)
	addr := startProcess(t, "versitygw", "THUMBCACHE_REQUIRE_S3", func(addr string) []string {
		return []string{"--port", addr, "--access", "access", "--secret", secret, "--quiet", "posix", dir}
	})
	return "s3://covers/some/prefix?endpoint=http://" + addr
}

// setCredentials sets the credentials of S3. Those of the machine that runs the tests are not found.
func setCredentials(t *testing.T, key string) {
	t.Setenv("HOME", t.TempDir())
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY": "", "AWS_SECRET_KEY": "", "AWS_PROFILE": "", "AWS_CONFIG_FILE": "", "AWS_SHARED_CREDENTIALS_FILE": "",
		"AWS_REGION": "", "AWS_DEFAULT_REGION": "", "AWS_SESSION_TOKEN": "", "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:1/",
		"AWS_ACCESS_KEY_ID": "access", "AWS_SECRET_ACCESS_KEY": key,
	} {
		t.Setenv(name, value)
	}
}

// closedAddr returns an address where nothing listens.
func closedAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func checkNoSecret(t *testing.T, r commandResult) {
	t.Helper()
	if strings.Contains(r.out+r.err, secret) {
		t.Errorf("the output contains a secret: %+v", r)
	}
}

// A URL that cannot be used is a usage error that names the option, and repeats nothing that may be secret.
func TestUnusableURLs(t *testing.T) {
	setCredentials(t, secret)
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "url")
	if err := os.WriteFile(file, []byte("ftp://"+secret+"@host/\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		urls []string
		want string
	}{
		{[]string{""}, "not a URL such as redis://host:6379/0 or s3://bucket/prefix"},
		{[]string{secret}, "not a URL"},
		{[]string{"host:6379"}, "not a URL"},
		{[]string{":" + secret + "@host:6379"}, "not a URL"},
		{[]string{secret + "://host"}, "not a URL"},
		{[]string{"http://user:" + secret + "@host"}, `the scheme "http" is none of redis, rediss, unix and s3`},
		{[]string{"redis://:" + secret + "@host:port"}, "redis: the URL is malformed"},
		{[]string{"redis://:" + secret + "/x@host"}, "redis: the URL is malformed"},
		{[]string{"redis://:" + secret + "#x@host"}, "redis: the URL is malformed"},
		{[]string{"redis://:" + secret + " x@host"}, "redis: the URL is malformed"},
		{[]string{"redis://:" + secret + "@host/0?unknown=" + secret}, `redis: the option "unknown" is unknown`},
		{[]string{"redis://:" + secret + "@host/x"}, "redis: "},
		{[]string{"s3://access:" + secret + "@covers"}, "s3: credentials must not be in the URL"},
		{[]string{"s3://covers?endpoint=http://access:" + secret + "@host"}, "s3: the endpoint must have the form"},
		{[]string{"s3://covers?secret=" + secret}, "s3: the query of the URL may have one endpoint and one region"},
		{[]string{"s3://" + strings.ToUpper(secret)}, "s3: the URL must begin with s3:// and a valid name of a bucket"},
		{[]string{"redis://host", "redis://:" + secret + "@host2"}, "two URLs must be one of S3 and one of Redis"},
		{[]string{"s3://covers", "s3://covers2"}, "two URLs must be one of S3 and one of Redis"},
		{[]string{"s3://covers", "redis://host", "unix:///socket"}, "two URLs must be one of S3 and one of Redis"},
		{[]string{"@" + file}, `the scheme "ftp" is none of`},
		{[]string{"@" + file + ".none"}, file + ".none: "},
	} {
		var flags []string
		for _, u := range tc.urls {
			flags = append(flags, "--shared", u)
		}
		for _, args := range [][]string{
			{"serve", dir, "--addr", "127.0.0.1:0"}, {"warm", dir, "--dir", t.TempDir()}, {"stat"}, {"verify"}, {"rm", providerName, song}, {"explain", providerName, song, "64"}, {"doctor"},
		} {
			r := runCommand(t, append(args, flags...)...)
			checkNoSecret(t, r)
			if r.code != exitUsage || r.out != "" || !strings.HasPrefix(r.err, "thumbcache: --shared: "+tc.want) || strings.Contains(r.err, "invalid argument") {
				t.Errorf("%v %q: %+v", args, tc.urls, r)
			}
		}
	}
}

// Arguments that are optional only with --shared are required without it.
func TestSharedArguments(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const url = "redis://host"
	for _, args := range [][]string{
		{"serve", dir, "--dir", ""}, {"warm", dir, "--dir", ""}, {"serve", dir, "--shared", url, "--shared-timeout", "0s"}, {"warm", dir, "--shared", url, "--shared-timeout", "-1s"},
		{"stat", dir, dir, "--shared", url}, {"verify", dir, dir, "--shared", url}, {"rm", song, "--shared", url}, {"rm", dir, providerName, song, "x", "--shared", url},
		{"explain", "file", "--shared", url}, {"explain", providerName, song, "--shared", url},
	} {
		if r := runCommand(t, args...); r.code != exitUsage || r.out != "" {
			t.Errorf("%v: %+v", args, r)
		}
	}
	if found := listTree(t, dir); len(found) != 1 {
		t.Errorf("got %v", found)
	}
}

func TestDescribeURL(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"redis://host":                         "redis at host",
		"redis://user:" + secret + "@h:1/2":    "redis at h:1/2",
		"rediss://h:1?password=" + secret:      "redis at h:1",
		"redis://h?prefix=a%1b:&ttl=1h":        "redis at h (prefix \"a\\x1b:\")",
		"unix://user:" + secret + "@/run/s":    "redis at /run/s",
		"s3://covers":                          "s3 bucket covers",
		"s3://covers/p?region=x":               "s3 bucket covers/p",
		"s3://covers/p?endpoint=http://h:1/":   "s3 bucket covers/p at h:1",
		"redis://:" + secret + " @host%zz\x00": "an unknown engine",
	} {
		if got := describeURL(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
	args := []string{"thumbcache", "serve", "--shared", "redis://:" + secret + "@a", "--shared=s3://covers", "--dir", "redis://x", "--shared", "@/run/secrets/url"}
	want := []string{"thumbcache", "serve", "--shared", "redis at a", "--shared=s3 bucket covers", "--dir", "redis://x", "--shared", "@/run/secrets/url"}
	if got := hideSecrets(args); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// Only the value of the right source and variant is good.
func TestCheckValue(t *testing.T) {
	t.Parallel()
	e := &store.Entry{Key: store.Key{Provider: providerName, Path: song, Size: 64}, Pipeline: 2, Quality: 85, Width: 1, Height: 1, Made: time.Now(), Data: []byte("picture")}
	sealed, err := e.Seal()
	if err != nil {
		t.Fatal(err)
	}
	source, variant := store.Hash(providerName, song), e.Variant()
	for _, tc := range []struct {
		name            string
		source, variant string
		sealed          []byte
		want            string
	}{
		{"good", source, variant, sealed, ""},
		{"another source", store.Hash(providerName, photo), variant, sealed, "another value's content"},
		{"another size", source, strings.Replace(variant, "64", "65", 1), sealed, "another value's content"},
		{"another quality", source, strings.Replace(variant, "q85", "q86", 1), sealed, "another value's content"},
		{"empty", source, variant, []byte{}, "too short"},
		{"cut", source, variant, sealed[:len(sealed)-3], "no trailer"},
		{"flipped", source, variant, append([]byte("P"), sealed[1:]...), "wrong checksum"},
		{"too large", source, variant, nil, "larger than 1 MiB"},
	} {
		got := ""
		if err := checkValue(tc.source, tc.variant, tc.sealed); err != nil {
			got = err.Error()
		}
		if got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

// Wrong settings end a command. The error names the option and the engine, but no secret.
func TestWrongSettings(t *testing.T) {
	addr := startRedis(t, "--requirepass", "another-password")
	bucket := startS3(t)
	endpoint := bucket[strings.Index(bucket, "?"):]
	media := t.TempDir()
	for _, tc := range []struct{ url, name, want string }{
		{"redis://" + addr, "redis at " + addr, "permission denied"},
		{"redis://:" + secret + "@" + addr, "redis at " + addr, "permission denied"},
		{"redis://somebody:" + secret + "@" + addr + "/1", "redis at " + addr + "/1", "permission denied"},
		{"redis://:another-password@" + addr + "/99", "redis at " + addr + "/99", "invalid argument"},
		{"s3://missing" + endpoint, "s3 bucket missing at ", "invalid argument"},
		{bucket + "&credentials=wrong", "", ""},
	} {
		if tc.name == "" { // the same bucket with other credentials
			tc.url, tc.name, tc.want = bucket, "s3 bucket covers/some/prefix at ", "check the credentials; they need the permission s3:PutObject"
			setCredentials(t, secret+"-not")
		}
		for _, args := range [][]string{{"serve", media, "--addr", "127.0.0.1:0", "--dir", ""}, {"warm", media, "--dir", ""}} {
			r := runCommand(t, append(args, "--shared", tc.url)...)
			checkNoSecret(t, r)
			checkContains(t, r.err, "thumbcache: --shared: "+tc.name, tc.want)
			if r.code != exitFailed || r.out != "" || strings.Contains(r.err, "another-password") || strings.Count(r.err, "\n") != 1 {
				t.Errorf("%v: %+v", args, r)
			}
		}
		for _, args := range [][]string{{"stat"}, {"verify"}, {"rm", providerName, song}, {"explain", providerName, song, "64"}} {
			r := runCommand(t, append(args, "--shared", tc.url)...)
			checkNoSecret(t, r)
			checkContains(t, r.err, "thumbcache: --shared: ", tc.name)
			if r.code != exitFailed {
				t.Errorf("%v %s: %+v", args, tc.name, r)
			}
		}
		r := runCommand(t, "doctor", t.TempDir(), "--shared", tc.url)
		checkNoSecret(t, r)
		checkContains(t, r.out, "failed   shared tier", tc.name, tc.want)
		if r.code != exitFailed {
			t.Errorf("doctor: %+v", r)
		}
	}
}

// needFFmpeg skips the test if ffmpeg is not installed, unless it must be.
func needFFmpeg(t *testing.T) {
	t.Helper()
	_, err := exec.LookPath("ffmpeg")
	if err != nil && os.Getenv("THUMBCACHE_REQUIRE_FFMPEG") != "" {
		t.Fatal(err)
	}
	if err != nil {
		t.Skip("ffmpeg is not installed")
	}
}

// Without its engine, a server works as if there was none, after a warning. Commands that need the engine fail.
func TestAbsentEngine(t *testing.T) {
	needFFmpeg(t)     // for the film of the sample library
	logging.Disable() // as in main
	setCredentials(t, secret)
	for _, tc := range []struct{ url, name string }{
		{"redis://:" + secret + "@" + closedAddr(t) + "/1", "redis at 127.0.0.1:"},
		{"s3://covers/p?endpoint=http://" + closedAddr(t), "s3 bucket covers/p at 127.0.0.1:"},
	} {
		warning := "thumbcache: --shared: " + tc.name
		printed, page, stop := startServer(t, sampleFolder(t), serveOptions{addr: "localhost:0", noDir: true, limit: 5 << 20, shared: sharedFlags{urls: []string{tc.url}}})
		if status, _, _ := fetch(t, page+"thumb/library/"+glass+"?size=64"); status != http.StatusOK {
			t.Errorf("got %d", status)
		}
		checkContains(t, printed, "\nThumbnails  not on the disk of this machine\nShared      "+tc.name)
		messages := stop()
		checkContains(t, messages, warning, " does not work now, and is not used until it does: ", "connection refused")
		if strings.Count(messages, "\n") != 1 || strings.Contains(printed+messages, secret) {
			t.Errorf("got %q, %q", printed, messages)
		}

		dir := t.TempDir()
		r := runCommand(t, "warm", sampleFolder(t), "--dir", dir, "--sizes", "64", "--shared", tc.url)
		checkContains(t, r.out, "\nShared: 0 thumbnails found there")
		checkContains(t, r.err, warning, "\nthumbcache: 17 values could not be stored in the shared tier\n")
		if st := runJSON[statResult](t, exitOK, "stat", dir); r.code != exitFailed || st.Files != 17 {
			t.Errorf("%d files, %+v", st.Files, r)
		}
		checkNoSecret(t, r)

		for _, args := range [][]string{{"stat"}, {"stat", dir}, {"verify"}, {"explain", providerName, song, "64"}, {"explain", dir, providerName, song, "64"}} {
			r := runCommand(t, append(args, "--shared", tc.url)...)
			checkContains(t, r.err, warning, "connection refused")
			checkNoSecret(t, r)
			if r.code != exitFailed {
				t.Errorf("%v: %+v", args, r)
			}
		}
		// What can be removed is.
		r = runCommand(t, "rm", dir, providerName, song, "--shared", tc.url)
		checkContains(t, r.err, "thumbcache: --shared: the thumbnails could not be removed from "+tc.name)
		if r.code != exitFailed || r.out != "Removed 1 file for "+song+" in library.\n" {
			t.Errorf("rm: %+v", r)
		}
		d := runJSON[doctorResult](t, exitOK, "doctor", dir, "--shared", tc.url)
		if last := d.Checks[len(d.Checks)-1]; last.Name != "shared tier" || last.Status != statusLimited || last.Cost == "" {
			t.Errorf("doctor: %+v", last)
		}
	}
}

// All commands know the tier, whatever engines it has.
func TestCommandsOnSharedTier(t *testing.T) {
	needFFmpeg(t)
	bucket := startS3(t)
	redis := "redis://:" + secret + "@" + startRedis(t, "--requirepass", secret)
	file := filepath.Join(t.TempDir(), "url")
	if err := os.WriteFile(file, []byte(redis+"/1?prefix=alone:\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		urls []string
		told bool
	}{
		{"redis", []string{"@" + file}, true},
		{"s3", []string{bucket}, false},
		{"both", []string{redis + "/2", strings.Replace(bucket, "some", "other", 1)}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var flags []string
			for _, u := range tc.urls {
				flags = append(flags, "--shared", u)
			}
			with := func(args ...string) []string { return append(args, flags...) }
			tier := testWarmShared(t, with, tc.urls)
			testStatShared(t, with, tc.name)
			testExplainShared(t, with)
			testVerifyShared(t, with, tier)
			testRmShared(t, with, tc.told)

			d := runJSON[doctorResult](t, exitOK, with("doctor", t.TempDir())...)
			if last := d.Checks[len(d.Checks)-1]; last.Name != "shared tier" || last.Status == statusFailed || !strings.Contains(last.Found, " answers in ") {
				t.Errorf("doctor: %+v", last)
			}
		})
	}
}

// withArgs adds the flags of a shared tier to the arguments of a command.
type withArgs func(args ...string) []string

// testWarmShared fills the tier, and a folder from it.
func testWarmShared(t *testing.T, with withArgs, urls []string) *sharedTier {
	t.Helper()
	media := sampleFolder(t)
	w := runJSON[warmResult](t, exitOK, with("warm", media, "--dir", "", "--sizes", "64,32")...)
	if w.Extracted != 15 || w.NoPicture != 2 || w.Dir != "" || w.Shared == nil || *w.Shared != (sharedWarmed{}) {
		t.Errorf("got %+v, %+v", w, w.Shared)
	}
	dir := filepath.Join(t.TempDir(), "thumbs")
	w = runJSON[warmResult](t, exitOK, with("warm", media, "--dir", dir, "--sizes", "64,32")...)
	if w.Extracted != 0 || w.Reused != 15 || w.NoPicture != 2 || w.Shared == nil || *w.Shared != (sharedWarmed{Hits: 30}) {
		t.Errorf("the second machine: %+v, %+v", w, w.Shared)
	}
	if st := runJSON[statResult](t, exitOK, "stat", dir); st.Files != 32 {
		t.Errorf("the second machine has %d files, want 32", st.Files)
	}
	tier, err := (&sharedFlags{urls: urls}).open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tier.close)
	return tier
}

func testStatShared(t *testing.T, with withArgs, name string) {
	t.Helper()
	st := runJSON[statResult](t, exitOK, with("stat")...)
	var values, keys int64
	for _, u := range st.Shared {
		switch {
		case u.Bucket != nil:
			values += u.Bucket.Values
		case u.Server != nil && u.Server.Bytes > 100_000 && u.Server.Policy == "noeviction":
			keys += u.Server.Keys
		}
	}
	if want := map[string][2]int64{"redis": {0, 17}, "s3": {32, 0}, "both": {32, 0}}[name]; values != want[0] || keys != want[1] || st.Dir != "" {
		t.Errorf("%d values in S3 and %d keys in Redis, want %v: %+v", values, keys, want, st)
	}
	dir := fillFolder(t)
	st = runJSON[statResult](t, exitOK, with("stat", dir)...)
	if st.Files != 7 || len(st.Shared) == 0 {
		t.Errorf("got %+v", st)
	}
	r := runCommand(t, with("stat", dir)...)
	checkContains(t, r.out, "\ntotal ", map[string]string{"redis": "  17 keys in the database; the server uses ", "s3": "  32 values, ", "both": "  0 keys in the database"}[name])
	checkNoSecret(t, r)
}

func testExplainShared(t *testing.T, with withArgs) {
	t.Helper()
	media := sampleFolder(t)
	x := runJSON[explainResult](t, exitOK, with("explain", providerName, song, "64", "--media", media)...)
	if f := x.SharedThumbnail; x.Thumbnail != nil || f == nil || !f.Stored || !f.Usable || f.Content.Kind.Size != 64 || !strings.HasPrefix(f.File, store.Hash(providerName, song)+"/64_") || x.SharedNoPicture != nil {
		t.Errorf("got %+v", x)
	}
	x = runJSON[explainResult](t, exitOK, with("explain", fillFolder(t), providerName, broken, "64")...)
	if f := x.SharedNoPicture; f == nil || !f.Usable || f.Content.Holds != "corrupt" || x.SharedThumbnail.Stored || x.NoPicture == nil {
		t.Errorf("got %+v", x)
	}
	// A server with another quality would not find it.
	if x = runJSON[explainResult](t, exitOK, with("explain", providerName, song, "64", "--quality", "50")...); x.SharedThumbnail.Stored {
		t.Errorf("got %+v", x.SharedThumbnail)
	}
	r := runCommand(t, with("explain", providerName, song, "64")...)
	checkContains(t, r.out, "Shared     "+store.Hash(providerName, song)+"/64_", "\nUsable     yes, unless the source has changed")
	r = runCommand(t, with("explain", providerName, song, "65")...)
	checkContains(t, r.out, "Shared     ", "           not stored\n")
	checkNoSecret(t, r)
}

// testVerifyShared damages values of three sources.
func testVerifyShared(t *testing.T, with withArgs, tier *sharedTier) {
	t.Helper()
	r := runCommand(t, with("verify", fillFolder(t))...)
	if r != (commandResult{exitOK, "7 files good, 0 bad\nShared: 32 values good, 0 bad\n", ""}) {
		t.Errorf("got %+v", r)
	}
	names := make(map[string]string) // a variant of each source
	values := make(map[string][]byte)
	if err := tier.engines[0].store.Walk(t.Context(), func(source, variant string, sealed []byte) error {
		if strings.HasPrefix(variant, "64_") {
			names[source], values[source] = variant, sealed
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	flipped, moved, other := store.Hash(providerName, song), store.Hash(providerName, photo), store.Hash(providerName, glass)
	put := func(source string, sealed []byte) {
		t.Helper()
		if err := tier.Put(t.Context(), source, names[source], sealed); err != nil {
			t.Fatal(err)
		}
	}
	newer := bytes.Clone(values[other])
	newer[bytes.LastIndex(newer, []byte("TCSEAL"))+6]++
	put(moved, values[other])
	put(other, newer)
	values[flipped][100] ^= 4
	put(flipped, values[flipped])

	r = runCommand(t, with("verify")...)
	checkContains(t, r.out, flipped+"/"+names[flipped]+": wrong checksum\n", moved+"/"+names[moved]+": another value's content\n",
		"Shared: 29 values good, 2 bad (use --repair to remove them), 1 in another format version\n")
	if r.code != exitFailed || r.err != "" {
		t.Errorf("got %+v", r)
	}
	v := runJSON[verifyResult](t, exitOK, with("verify", "--repair")...)
	// The other size of a source goes too. Whether it was counted as good before depends on the order.
	if s := v.Shared; s == nil || s.Good < 27 || s.Good > 29 || s.OtherVersion != 1 || len(s.Bad) != 2 || !s.Bad[0].Removed || !s.Bad[1].Removed || v.Dir != "" {
		t.Errorf("got %+v, %+v", v, s)
	}
	r = runCommand(t, with("verify")...)
	if r != (commandResult{exitOK, "Shared: 27 values good, 0 bad, 1 in another format version\n", ""}) {
		t.Errorf("got %+v", r)
	}
}

// testRmShared removes a source while a server has it in memory and on disk.
func testRmShared(t *testing.T, with withArgs, told bool) {
	t.Helper()
	folder := t.TempDir()
	writePicture(t, filepath.Join(folder, "a.png"))
	flags := sharedFlags{timeout: time.Second}
	for i, arg := range with() {
		if i%2 == 1 {
			flags.urls = append(flags.urls, arg)
		}
	}
	_, page, stop := startServer(t, folder, serveOptions{addr: "localhost:0", dir: t.TempDir(), limit: 5 << 20, sizes: []int{64}, shared: flags})
	request := func() (extractions uint64) {
		t.Helper()
		if status, _, body := fetch(t, page+"thumb/library/a.png?size=64"); status != http.StatusOK {
			t.Fatalf("%d %s", status, body)
		}
		return fetchStats(t, page).Extractions
	}
	if n := request(); n != 1 {
		t.Fatalf("%d extractions, want 1", n)
	}
	// The server stores the value in the background.
	stored := func() bool {
		return runJSON[explainResult](t, exitOK, with("explain", providerName, "a.png", "64")...).SharedThumbnail.Stored
	}
	for start := time.Now(); !stored(); {
		if time.Since(start) > 30*time.Second {
			t.Fatal("the server does not store its thumbnail in the shared tier")
		}
	}
	r := runCommand(t, with("rm", providerName, "a.png")...)
	want := "Removed a.png in library from the shared tier, and told the running servers.\n"
	if !told {
		want = "Removed a.png in library from the shared tier. Running servers were not told; they keep theirs until they notice a change of the source.\n"
	}
	if r != (commandResult{exitOK, want, ""}) {
		t.Errorf("got %+v", r)
	}
	if stored() {
		t.Error("the shared tier still has the thumbnail")
	}
	if !told {
		if n := request(); n != 1 {
			t.Errorf("%d extractions, want 1", n)
		}
	} else {
		for start := time.Now(); request() != 2; {
			if time.Since(start) > 30*time.Second {
				t.Fatal("the server has not heard of the removal")
			}
		}
	}
	if removal := runJSON[rmResult](t, exitOK, with("rm", fillFolder(t), providerName, song)...); removal.Removed != 2 || *removal.Shared != (sharedRemoval{true, told}) {
		t.Errorf("got %+v, %+v", removal, removal.Shared)
	}
	if messages := stop(); messages != "" {
		t.Errorf("got %q", messages)
	}
}

func fetchStats(t *testing.T, page string) thumbcache.Stats {
	t.Helper()
	_, _, body := fetch(t, page+"stats.json")
	var s thumbcache.Stats
	if err := json.Unmarshal(body, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// A server with a shared tier says so, and counts what came from there.
func TestPageOfSharedTier(t *testing.T) {
	t.Parallel()
	var engine sharedtest.Memory
	newMachine := func(shared thumbcache.Shared) string {
		config := newConfig(sampleFolder(t))
		config.Dir, config.Shared = t.TempDir(), shared
		site, err := newSite(sampleFolder(t), config)
		if err != nil {
			t.Fatal(err)
		}
		s := httptest.NewServer(site.handler())
		t.Cleanup(func() {
			s.Close()
			site.close()
		})
		return s.URL + "/"
	}
	first, second := newMachine(engine.Machine()), newMachine(engine.Machine())
	thumb := "thumb/library/" + glass + "?size=64"
	fetch(t, first+thumb)
	for start := time.Now(); len(engine.Values()) == 0; time.Sleep(time.Millisecond) {
		if time.Since(start) > 30*time.Second {
			t.Fatal("the first machine does not store its thumbnail")
		}
	}
	fetch(t, second+thumb)
	if s := fetchStats(t, second); s.SharedHits != 1 || s.Extractions != 0 {
		t.Errorf("got %+v", s)
	}
	_, _, body := fetch(t, second+"metrics")
	checkContains(t, string(body), "\nthumbcache_shared_hits_total 1\n", "\nthumbcache_shared_errors_total 0\n", "\nthumbcache_shared_dropped_total 0\n", "\nthumbcache_leases_waited_total 0\n")
	_, _, body = fetch(t, second+"debug/vars")
	checkContains(t, string(body), `"shared_hits":1,`, `"shared_errors":0,`, `"shared_dropped":0,`, `"leases_waited":0`)
	_, _, body = fetch(t, second+"explain.json?path="+glass)
	checkContains(t, string(body), `"origin":"shared"`)
	for page, want := range map[string]string{second: `"shared":true`, newMachine(nil): `"shared":false`} {
		_, _, body = fetch(t, page+"stats.json")
		checkContains(t, string(body), want)
	}
}

// Requests wait longer for S3 than for Redis, unless the flag says how long.
func TestSharedTimeout(t *testing.T) {
	setCredentials(t, secret)
	for _, tc := range []struct {
		urls          []string
		timeout, want time.Duration
	}{
		{[]string{"redis://host"}, 0, 100 * time.Millisecond},
		{[]string{"s3://covers"}, 0, 500 * time.Millisecond},
		{[]string{"redis://host", "s3://covers"}, 0, 500 * time.Millisecond},
		{[]string{"redis://host", "s3://covers"}, time.Second, time.Second},
	} {
		f := sharedFlags{urls: tc.urls, timeout: tc.timeout}
		tier, err := f.open()
		if err != nil {
			t.Fatal(err)
		}
		var config thumbcache.Config
		tier.configure(&config, &f)
		if config.SharedTimeout != tc.want || config.Shared == nil {
			t.Errorf("%+v: %v, want %v", f, config.SharedTimeout, tc.want)
		}
		tier.close()
	}
}
