//go:build unix

package rootfs

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Files that are not regular are refused, and none of them blocks.
func TestSpecialFiles(t *testing.T) {
	root, _ := tree(t)
	if err := unix.Mkfifo(filepath.Join(root, "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	names := []string{"fifo", "sub"}
	if fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0); err == nil {
		defer unix.Close(fd)
		t.Chdir(root) // because the name of a socket must be short
		if err := unix.Bind(fd, &unix.SockaddrUnix{Name: "socket"}); err == nil {
			names = append(names, "socket")
		}
	}
	f := New(root)
	for _, name := range names {
		done := make(chan struct{})
		go func() {
			defer close(done)
			if _, err := f.Stat(name); class(err) != "fs.ErrInvalid" {
				t.Errorf("Stat(%s): %v", name, err)
			}
			if file, _, err := f.Open(name); class(err) != "fs.ErrInvalid" || file != nil {
				t.Errorf("Open(%s): %v, %v", name, file, err)
			}
			if name == "sub" {
				return
			}
			if _, err := f.List(t.Context(), name, 100); class(err) != "fs.ErrInvalid" {
				t.Errorf("List(%s): %v", name, err)
			}
		}()
		select {
		case <-done:
		case <-time.After(time.Minute):
			t.Fatalf("%s blocks", name)
		}
	}
}

// Errors of the system that say nothing about the file match neither fs.ErrInvalid nor fs.ErrNotExist.
func TestClassify(t *testing.T) {
	for errno, want := range map[syscall.Errno]string{
		syscall.ENOENT: "fs.ErrNotExist", syscall.ENOTDIR: "fs.ErrNotExist",
		syscall.EINVAL: "fs.ErrInvalid", syscall.ELOOP: "fs.ErrInvalid", syscall.ENAMETOOLONG: "fs.ErrInvalid", syscall.ENXIO: "fs.ErrInvalid",
		syscall.EIO: "another error", syscall.EACCES: "another error", syscall.EMFILE: "another error", syscall.ENFILE: "another error",
		syscall.ESTALE: "another error", syscall.ETIMEDOUT: "another error", syscall.EHOSTDOWN: "another error", syscall.ENOMEM: "another error",
	} {
		err := Classify(&os.PathError{Op: "open", Path: "/srv/music", Err: errno})
		if class(err) != want {
			t.Errorf("%v: %v, want %s", errno, err, want)
		}
	}
}
