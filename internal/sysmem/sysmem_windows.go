package sysmem

import (
	"math"
	"unsafe"

	"golang.org/x/sys/windows"
)

// memoryStatus is MEMORYSTATUSEX.
type memoryStatus struct {
	length, load                                       uint32
	totalPhys, availPhys, totalPageFile, availPageFile uint64
	totalVirtual, availVirtual, availExtendedVirtual   uint64
}

// findSystem finds the memory of the machine. A limit of the job that this process belongs to, as in a container, is not seen.
func findSystem() (read func() []Bound) {
	call := windows.NewLazySystemDLL("kernel32.dll").NewProc("GlobalMemoryStatusEx")
	return func() []Bound {
		s := memoryStatus{length: uint32(unsafe.Sizeof(memoryStatus{}))}
		if call.Find() != nil {
			return nil
		}
		if ok, _, _ := call.Call(uintptr(unsafe.Pointer(&s))); ok == 0 {
			return nil
		}
		return []Bound{{"the system", int64(min(s.totalPhys, math.MaxInt64)), int64(min(s.availPhys, math.MaxInt64))}}
	}
}
