//go:build linux && (amd64 || arm64)

package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A history is a file in which the driver records in which state each object was since when, before the object changes. The node reads
// it to check answers. There is one object more: the faults that are present.
type history struct {
	file *os.File
	mu   sync.Mutex
	data []byte // the file; nil for readers
}

const (
	recordSize = 512
	numKept    = recordSize/16 - 1 // changes of an object; older ones are overwritten
)

// A change is a new value of an object.
type change struct {
	at    int64 // as clock.now
	value uint64
}

// createHistory creates the file of a history that begins empty.
func createHistory(name string, objects int) (*history, error) {
	f, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	size := (objects + 1) * recordSize
	if err := f.Truncate(int64(size)); err != nil {
		return nil, err
	}
	data, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	return &history{file: f, data: data}, err
}

// add records that an object is about to have a new value.
func (h *history) add(index int, c change) {
	h.mu.Lock()
	defer h.mu.Unlock()
	record := h.data[index*recordSize:][:recordSize]
	count := binary.LittleEndian.Uint64(record)
	slot := record[16+count%numKept*16:]
	binary.LittleEndian.PutUint64(slot, uint64(c.at))
	binary.LittleEndian.PutUint64(slot[8:], c.value)
	binary.LittleEndian.PutUint64(record, count+1)
}

// read returns the last changes of an object, the oldest first, and how many there were before them.
func (h *history) read(index int) (changes []change, before uint64, err error) {
	var one, two [recordSize]byte
	for { // until no change came between two reads
		for _, b := range []*[recordSize]byte{&one, &two} {
			if _, err := h.file.ReadAt(b[:], int64(index*recordSize)); err != nil {
				return nil, 0, fmt.Errorf("history: %w", err)
			}
		}
		if one == two {
			break
		}
	}
	count := binary.LittleEndian.Uint64(one[:])
	kept := min(count, numKept)
	for i := count - kept; i < count; i++ {
		slot := one[16+i%numKept*16:]
		changes = append(changes, change{int64(binary.LittleEndian.Uint64(slot)), binary.LittleEndian.Uint64(slot[8:])})
	}
	return changes, count - kept, nil
}

// A clock tells the time in nanoseconds since 1970, as it was when the process started and elapsed since. If the system's clock is set
// later, this clock goes on.
type clock struct {
	start time.Time
	wall  int64
}

func newClock() clock {
	now := time.Now()
	return clock{now, now.UnixNano()}
}

func (c clock) now() int64 { return c.wall + int64(time.Since(c.start)) }
