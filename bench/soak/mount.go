//go:build linux && (amd64 || arm64)

package main

import (
	"cmp"
	"fmt"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// A share is a file system that shows the library, as a network share would.
type share struct {
	fuse.RawFileSystem
	*library
	states []atomic.Uint64 // by object
	server *fuse.Server
	heads  headCache

	mu     sync.Mutex
	faults fault
	thawed chan struct{} // closed when it answers again; nil: it answers
}

// A fault is a set of things that are wrong.
type fault uint64

const (
	frozen  fault = 1 << iota // the share does not answer
	missing                   // the share is not mounted
	failing                   // the share answers with an error
	slow                      // the share takes long
	diskFull
	sharedKilled
	sharedFrozen
	clockWrong

	unreachable = frozen | missing | failing
)

func (f fault) String() string {
	names := []string{"the share does not answer", "the share is not mounted", "the share fails", "the share is slow", "the disk is full",
		"Redis is killed", "Redis does not answer", "the clock is wrong"}
	var present []string
	for i, name := range names {
		if f>>i&1 != 0 {
			present = append(present, name)
		}
	}
	return cmp.Or(strings.Join(present, ", "), "nothing is wrong")
}

// Node ids say which file in which state it is, so the share keeps nothing about files that are open.
const (
	mountedDir = 2 // the root of the library, a folder in the mount point
	dirNode    = 1 << 61
	fileNode   = 1 << 62
	anyFilm    = 1 << 20 // as a dirNode
)

func nodeOf(o object, s state) uint64 {
	return fileNode | uint64(o)<<40 | uint64(s.rev)<<20 | uint64(s.cover)<<2 | uint64(s.content)
}

func fileOf(node uint64) (object, state) {
	return object(node >> 40 & (1<<20 - 1)), state{rev: uint32(node >> 20 & (maxRev - 1)), cover: uint16(node >> 2), content: content(node & 3)}
}

// mount shows the library in the folder library of dir.
func mount(l *library, dir string) (*share, error) {
	s := &share{RawFileSystem: fuse.NewDefaultRawFileSystem(), library: l, states: make([]atomic.Uint64, l.objects())}
	for o := range s.states {
		s.states[o].Store(l.first(object(o)).pack())
	}
	var err error
	s.server, err = fuse.NewServer(s, dir, &fuse.MountOptions{
		DirectMountStrict: true, DisableXAttrs: true, DisableReadDirPlus: true, FsName: "soak", MaxBackground: 64,
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errMount, err)
	}
	go s.server.Serve()
	for _, open := range descriptors() { // or the node would keep the mount alive
		var fd int
		var name string
		if fmt.Sscan(open, &fd, &name); name == "/dev/fuse" {
			syscall.CloseOnExec(fd)
		}
	}
	return s, s.server.WaitMount()
}

func (s *share) unmount() error {
	s.set(0)
	return s.server.Unmount()
}

// set makes some faults present, and no others.
func (s *share) set(f fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = f
	switch {
	case f&frozen != 0 && s.thawed == nil:
		s.thawed = make(chan struct{})
	case f&frozen == 0 && s.thawed != nil:
		close(s.thawed)
		s.thawed = nil
	}
}

// fault waits while the share is frozen, and returns the present faults. Calls cannot be interrupted, as those of a share that is
// mounted "hard".
func (s *share) fault() fault {
	s.mu.Lock()
	f, thawed := s.faults, s.thawed
	s.mu.Unlock()
	if thawed != nil {
		<-thawed
		return s.fault()
	}
	if f&slow != 0 {
		time.Sleep(30 * time.Millisecond)
	}
	return f
}

func (s *share) state(o object) state { return unpack(s.states[o].Load()) }

// Lookup implements fuse.RawFileSystem.
func (s *share) Lookup(_ <-chan struct{}, header *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	f := s.fault()
	node, status := s.lookup(header.NodeId, name, f)
	if status != fuse.OK {
		return status
	}
	out.NodeId, out.Generation = node, 1
	if node&dirNode != 0 {
		out.SetEntryTimeout(time.Second)
	}
	s.fill(node, &out.Attr)
	return fuse.OK
}

func (s *share) lookup(parent uint64, name string, f fault) (node uint64, status fuse.Status) {
	switch {
	case parent == fuse.FUSE_ROOT_ID && name == "library" && f&missing == 0:
		if f&failing != 0 {
			return 0, fuse.Status(syscall.EIO)
		}
		return mountedDir, fuse.OK
	case parent == mountedDir && f&failing != 0, parent&dirNode != 0 && f&failing != 0:
		return 0, fuse.Status(syscall.ESTALE)
	case parent == mountedDir && name == filmsDir:
		return dirNode | anyFilm, fuse.OK
	case parent == mountedDir:
		var album int
		if _, err := fmt.Sscanf(name, "%04d", &album); err != nil || album >= s.albums {
			return 0, fuse.ENOENT
		}
		return dirNode | uint64(album), fuse.OK
	case parent&dirNode == 0:
		return 0, fuse.ENOENT
	}
	dir := filmsDir
	if parent != dirNode|anyFilm {
		dir = fmt.Sprintf("%04d", parent&^dirNode)
	}
	o, moves, ok := s.parse(dir + "/" + name)
	if !ok || s.isFilm(o) && len(s.clips) == 0 {
		return 0, fuse.ENOENT
	}
	if now := s.state(o); !now.gone && now.moves == moves && s.path(o, now) == dir+"/"+name {
		return nodeOf(o, now), fuse.OK
	}
	return 0, fuse.ENOENT
}

// fill sets the attributes of a node.
func (s *share) fill(node uint64, a *fuse.Attr) {
	a.Ino, a.Nlink, a.Mode = node, 1, fuse.S_IFDIR|0o755
	if node&fileNode == 0 {
		return
	}
	o, st := fileOf(node)
	a.Mode, a.Size = fuse.S_IFREG|0o644, uint64(s.fileSize(o, st, len(s.headOf(node))))
	t := s.modTime(o, st)
	a.SetTimes(&t, &t, &t)
}

// GetAttr implements fuse.RawFileSystem.
func (s *share) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	if f := s.fault(); f&failing != 0 && in.NodeId != fuse.FUSE_ROOT_ID {
		return fuse.Status(syscall.ESTALE)
	}
	s.fill(in.NodeId, &out.Attr)
	return fuse.OK
}

// Open implements fuse.RawFileSystem.
func (s *share) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if f := s.fault(); f&failing != 0 {
		return fuse.EIO
	}
	out.OpenFlags = fuse.FOPEN_DIRECT_IO
	return fuse.OK
}

// Read implements fuse.RawFileSystem.
func (s *share) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	if f := s.fault(); f&failing != 0 {
		return nil, fuse.EIO
	}
	o, st := fileOf(in.NodeId)
	head := s.headOf(in.NodeId)
	n := min(int64(len(buf)), max(0, s.fileSize(o, st, len(head))-int64(in.Offset)))
	clear(buf[:n])
	if in.Offset < uint64(len(head)) {
		copy(buf[:n], head[in.Offset:])
	}
	return fuse.ReadResultData(buf[:n]), fuse.OK
}

// OpenDir implements fuse.RawFileSystem.
func (s *share) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if f := s.fault(); f&failing != 0 {
		return fuse.EIO
	}
	return fuse.OK
}

// ReadDir implements fuse.RawFileSystem.
func (s *share) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	f := s.fault()
	if f&failing != 0 {
		return fuse.EIO
	}
	if in.NodeId&dirNode == 0 || in.NodeId == dirNode|anyFilm {
		return fuse.OK // nothing lists these
	}
	album := int(in.NodeId &^ dirNode)
	first, end := s.songsOf(album)
	for i := in.Offset; i <= uint64(end-first); i++ {
		o := s.folderPicture(album)
		if i < uint64(end-first) {
			o = first + object(i)
		}
		now := s.state(o)
		if now.gone {
			continue
		}
		if !out.AddDirEntry(fuse.DirEntry{Mode: fuse.S_IFREG, Name: path.Base(s.path(o, now)), Ino: nodeOf(o, now), Off: i + 1}) {
			break
		}
	}
	return fuse.OK
}

// StatFs implements fuse.RawFileSystem.
func (s *share) StatFs(<-chan struct{}, *fuse.InHeader, *fuse.StatfsOut) fuse.Status { return fuse.OK }

func (s *share) String() string { return "soak" }

// A headCache keeps the heads of files that are being read.
type headCache struct {
	mu    sync.Mutex
	heads map[uint64][]byte
}

const maxHeads = 1000

func (s *share) headOf(node uint64) []byte {
	o, st := fileOf(node)
	if s.isFilm(o) {
		return s.head(o, st)
	}
	c := &s.heads
	c.mu.Lock()
	head, ok := c.heads[node]
	c.mu.Unlock()
	if ok {
		return head
	}
	head = s.head(o, st)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.heads) >= maxHeads || c.heads == nil {
		c.heads = make(map[uint64][]byte)
	}
	c.heads[node] = head
	return head
}
