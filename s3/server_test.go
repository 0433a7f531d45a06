//go:build unix

package s3

import (
	"go/build"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
)

// A server is a versitygw process with a bucket.
type server struct {
	t       testing.TB
	binary  string
	address string
	dir     string
	process *exec.Cmd
}

// newServer starts a server, and sets the environment so that Open has its credentials.
func newServer(t testing.TB) *server {
	t.Helper()
	binary, err := exec.LookPath("versitygw")
	if err != nil {
		binary, err = exec.LookPath(filepath.Join(build.Default.GOPATH, "bin", "versitygw"))
	}
	if err != nil {
		if os.Getenv("THUMBCACHE_REQUIRE_S3") != "" {
			t.Fatal(err)
		}
		t.Skip("versitygw is not installed: go install github.com/versity/versitygw/cmd/versitygw@v1.8.0")
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, binary: binary, address: free.Addr().String(), dir: t.TempDir()}
	free.Close()
	setCredentials(t, accessKey, secretKey)
	t.Cleanup(func() { s.kill() })
	s.start()
	if err := s.open().client.MakeBucket(t.Context(), bucket, minio.MakeBucketOptions{}); err != nil {
		t.Fatal(err)
	}
	return s
}

// start starts the process, or starts it again.
func (s *server) start() {
	s.t.Helper()
	s.process = exec.Command(s.binary, "--port", s.address, "--access", accessKey, "--secret", secretKey, "--quiet", "--keep-alive",
		"posix", s.dir)
	out := new(strings.Builder)
	s.process.Stdout, s.process.Stderr = out, out
	if err := s.process.Start(); err != nil {
		s.t.Fatal(err)
	}
	for range 3000 { // 30 s
		connection, err := net.Dial("tcp", s.address)
		if err == nil {
			connection.Close()
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.kill()
	s.t.Fatalf("versitygw does not listen at %s:\n%s", s.address, out)
}

// kill ends the process as a power failure would.
func (s *server) kill() {
	s.process.Process.Kill()
	s.process.Wait()
}

// freeze stops the process, so that it accepts connections without answering.
func (s *server) freeze() {
	s.process.Process.Signal(syscall.SIGSTOP)
	var status syscall.WaitStatus // until all its threads have stopped
	if _, err := syscall.Wait4(s.process.Process.Pid, &status, syscall.WUNTRACED, nil); err != nil || !status.Stopped() {
		s.t.Errorf("versitygw has not stopped: %v, %v", status, err)
	}
}

func (s *server) thaw() { s.process.Process.Signal(syscall.SIGCONT) }

func (s *server) url() string { return "s3://" + bucket + "/some/prefix?endpoint=http://" + s.address }

// open returns a new Store, such as another machine has.
func (s *server) open() *Store {
	s.t.Helper()
	store, err := Open(s.url())
	if err != nil {
		s.t.Fatal(err)
	}
	return store
}
