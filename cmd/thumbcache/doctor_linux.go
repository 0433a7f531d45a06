package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/thumbcache/thumbcache/internal/readfile"
)

// fileSystems names file systems by the number that statfs returns, see statfs(2).
var fileSystems = map[uint32]string{
	0xef53: "ext4", 0x58465342: "xfs", 0x9123683e: "btrfs", 0x2fc12fc1: "zfs", 0xf2f52010: "f2fs", 0xca451a4e: "bcachefs",
	0x01021994: "tmpfs (in memory)", 0x794c7630: "overlay", 0x4d44: "vfat", 0x2011bab0: "exfat", 0x7366746e: "ntfs", 0x5346544e: "ntfs",
	0x6969: "nfs", 0x517b: "smb", 0xfe534d42: "smb", 0xff534d42: "cifs", 0x01021997: "9p", 0x00c36400: "ceph", 0x5346414f: "afs", 0x65735546: "fuse",
}

// describeFileSystem returns the name of the file system of a folder, or "" if that is unknown, and its free space in bytes,
// or -1.
func describeFileSystem(dir string) (kind string, free int64) {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return "", -1
	}
	kind, ok := fileSystems[uint32(st.Type)]
	if !ok {
		kind = fmt.Sprintf("file system %#x", uint32(st.Type))
	}
	return kind, int64(st.Bavail) * int64(st.Bsize)
}

// checkFileSystem checks features that depend on the file system, with a file in a folder of thumbnails.
func (d *doctorResult) checkFileSystem(folder, name string) {
	file := filepath.Join(folder, name)
	err := error(nil)
	if _, _, ok := readfile.Cached(file, maxFileSize); !ok {
		err = errors.New("not supported by this kernel or file system")
	}
	d.addFeature("cached reads", err, "each thumbnail read from disk occupies a thread, even if it is in the page cache")

	// Both names exist, so a file system that knows the flag refuses.
	other := filepath.Join(folder, "other")
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		return
	}
	defer os.Remove(other)
	err = unix.Renameat2(unix.AT_FDCWD, other, unix.AT_FDCWD, file, unix.RENAME_EXCHANGE)
	d.addFeature("renameat2", err, "replacing a thumbnail takes longer")
}

// checkSystem checks features of the kernel.
func (d *doctorResult) checkSystem(ctx context.Context) {
	fd, err := unix.Openat2(unix.AT_FDCWD, "/", &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_CLOEXEC | unix.O_DIRECTORY, Resolve: unix.RESOLVE_NO_SYMLINKS})
	if err == nil {
		unix.Close(fd)
	}
	d.addFeature("openat2", err, "paths are opened step by step, which takes more system calls")

	path, err := exec.LookPath("ffmpeg")
	if err != nil {
		return // the rest concerns ffmpeg
	}
	try := func(attr *syscall.SysProcAttr) error {
		ctx, cancel := context.WithTimeout(ctx, ffmpegTimeout)
		defer cancel()
		cmd := exec.CommandContext(ctx, path, "-version")
		cmd.SysProcAttr = attr
		return cmd.Run()
	}
	offline := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if os.Geteuid() != 0 {
		offline.Cloneflags |= syscall.CLONE_NEWUSER
	}
	d.addFeature("network namespace", try(offline), "only ffmpeg's own options keep it from using the network")
	d.addFeature("ptrace", tryTrace(path), "ffmpeg runs for a moment before its limits of memory and time are set")
}

// tryTrace starts a process that stops before its first instruction, and kills it.
func tryTrace(path string) error {
	cmd := exec.Command(path, "-version")
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	return nil
}
