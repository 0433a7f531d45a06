package main

import (
	"fmt"
	"testing"
)

func BenchmarkThumbnail(b *testing.B) {
	all, err := sources()
	if err != nil {
		b.Fatal(err)
	}
	for _, s := range all {
		for _, size := range []int{256, 512} {
			if size > s.edge {
				continue
			}
			for _, way := range []struct {
				name string
				make func([]byte, int) ([]byte, error)
			}{{"ours", ours}, {"imaging", imagingLanczos}, {"catmullrom", catmullRom}} {
				b.Run(fmt.Sprintf("%v to %d/%s", s, size, way.name), func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						if _, err := way.make(s.data, size); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		}
	}
}
