//go:build linux && (amd64 || arm64)

package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/thumbcache/thumbcache"
)

const lieRate = 50 // answers for each that is changed

// liars change answers, so that tests can see that the check finds that.
var liars = map[string]func(q *question, a *answer){
	"stale": func() func(*question, *answer) {
		var kept sync.Map
		return func(q *question, a *answer) {
			if a.err == nil {
				old, _ := kept.LoadOrStore(q.Path+fmt.Sprint(q.Size, q.Format), a.thumb)
				a.thumb = old.(*thumbcache.Thumbnail)
			}
		}
	}(),
	"swapped": func() func(*question, *answer) {
		var last atomic.Pointer[thumbcache.Thumbnail]
		return func(q *question, a *answer) {
			if a.err == nil && q.Format == thumbcache.JPEG && q.Size == listSize {
				if old := last.Swap(a.thumb); old != nil && rand.IntN(lieRate) == 0 {
					a.thumb = old
				}
			}
		}
	}(),
	"lost":    func(_ *question, a *answer) { lie(a, os.ErrNotExist) },
	"busy":    func(_ *question, a *answer) { lie(a, thumbcache.ErrBusy) },
	"verdict": func(_ *question, a *answer) { lie(a, thumbcache.ErrNoPicture) },
	"flipped": func(_ *question, a *answer) {
		if a.err == nil && rand.IntN(lieRate) == 0 {
			t := *a.thumb
			t.Data = slices.Clone(t.Data[:len(t.Data)/2])
			a.thumb = &t
		}
	},
}

// lie replaces some pictures by an error.
func lie(a *answer, err error) {
	if a.err == nil && rand.IntN(lieRate) == 0 {
		a.thumb, a.err = nil, err
	}
}
