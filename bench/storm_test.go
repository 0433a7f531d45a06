//go:build unix

package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/dhowden/tag"

	"github.com/thumbcache/thumbcache"
)

// song returns a FLAC file of 14 MB with a front cover. It has no valid audio: tag readers need none, and ffmpeg is asked for the
// cover only.
func song(cover []byte) []byte {
	be := binary.BigEndian
	block := func(kind byte, body []byte) []byte {
		return append(be.AppendUint32(nil, uint32(kind)<<24|uint32(len(body))), body...)
	}
	streamInfo := make([]byte, 34)
	be.PutUint16(streamInfo, 4096)
	be.PutUint16(streamInfo[2:], 4096)
	be.PutUint64(streamInfo[10:], 44100<<44|1<<41|15<<36|44100*180)
	var picture []byte
	picture = be.AppendUint32(picture, 3)
	picture = append(be.AppendUint32(picture, 10), "image/jpeg"...)
	picture = append(picture, make([]byte, 4+16)...) // no description; no size, depth and colours
	picture = append(be.AppendUint32(picture, uint32(len(cover))), cover...)
	var b bytes.Buffer
	b.WriteString("fLaC")
	b.Write(block(0, streamInfo))
	b.Write(block(0x80|6, picture))
	b.Write(make([]byte, 14<<20-b.Len()))
	return b.Bytes()
}

// songs writes ten such files with covers of 1400 x 1400.
func songs(b *testing.B) (dir string, files []string) {
	all, err := sources()
	if err != nil {
		b.Fatal(err)
	}
	dir = b.TempDir()
	for i := range 10 {
		for _, s := range all {
			if s.name == names[i%len(names)] && s.edge == 1400 && !s.progressive {
				name := fmt.Sprintf("%02d.flac", i)
				if err := os.WriteFile(filepath.Join(dir, name), song(s.data), 0o644); err != nil {
					b.Fatal(err)
				}
				files = append(files, name)
			}
		}
	}
	return dir, files
}

// BenchmarkStorm compares 50 concurrent requests for the covers of ten songs, with nothing cached, with 50 ffmpeg processes that
// only extract the covers. Compare the CPU times.
func BenchmarkStorm(b *testing.B) {
	dir, files := songs(b)
	b.Run("thumbcache", func(b *testing.B) {
		before := cpu(syscall.RUSAGE_SELF)
		for b.Loop() {
			c, err := thumbcache.New(thumbcache.Config{
				Providers: map[string]thumbcache.Provider{"music": thumbcache.Files(dir)},
				Dir:       b.TempDir(),
			})
			if err != nil {
				b.Fatal(err)
			}
			var wg sync.WaitGroup
			for i := range 50 {
				wg.Go(func() {
					if _, err := c.Get(b.Context(), "music", files[i%len(files)], 256); err != nil {
						b.Error(err)
					}
				})
			}
			wg.Wait()
			if st := c.Stats(); st.Extractions != 10 || st.Processes != 0 {
				b.Errorf("%+v", st)
			}
			c.Close()
		}
		b.ReportMetric(float64(cpu(syscall.RUSAGE_SELF)-before)/float64(b.N)/1e6, "cpu-ms/op")
	})
	b.Run("ffmpeg", func(b *testing.B) {
		ffmpeg, err := exec.LookPath("ffmpeg")
		if err != nil {
			b.Skip("ffmpeg is not installed")
		}
		before := cpu(syscall.RUSAGE_CHILDREN)
		for b.Loop() {
			var wg sync.WaitGroup
			for i := range 50 {
				wg.Go(func() {
					cmd := exec.Command(ffmpeg, "-v", "error", "-nostdin", "-i", filepath.Join(dir, files[i%len(files)]), "-an", "-vcodec", "mjpeg", "-f", "mjpeg", "-")
					if out, err := cmd.Output(); len(out) == 0 {
						b.Error(err)
					}
				})
			}
			wg.Wait()
		}
		b.ReportMetric(float64(cpu(syscall.RUSAGE_CHILDREN)-before)/float64(b.N)/1e6, "cpu-ms/op")
	})
}

// BenchmarkSong compares the way from a song to its thumbnail in a file, with nothing cached, with dhowden/tag and imaging. Compare
// the times.
func BenchmarkSong(b *testing.B) {
	all, err := sources()
	if err != nil {
		b.Fatal(err)
	}
	for _, s := range all {
		if s.progressive || s.edge != 1400 && s.edge != 3000 {
			continue
		}
		dir := b.TempDir()
		file := filepath.Join(dir, "song.flac")
		if err := os.WriteFile(file, song(s.data), 0o644); err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprint(s, "/thumbcache"), func(b *testing.B) {
			c, err := thumbcache.New(thumbcache.Config{Providers: map[string]thumbcache.Provider{"music": thumbcache.Files(dir)}, Dir: b.TempDir()})
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			for b.Loop() {
				if err := c.Invalidate("music", "song.flac"); err != nil {
					b.Fatal(err)
				}
				if _, err := c.Get(b.Context(), "music", "song.flac", 256); err != nil {
					b.Fatal(err)
				}
			}
			if st := c.Stats(); st.Extractions != uint64(b.N) || st.DiskEntries != 1 {
				b.Errorf("%+v", st)
			}
		})
		b.Run(fmt.Sprint(s, "/tag+imaging"), func(b *testing.B) {
			out := filepath.Join(b.TempDir(), "thumb.jpg")
			for b.Loop() {
				f, err := os.Open(file)
				if err != nil {
					b.Fatal(err)
				}
				m, err := tag.ReadFrom(f)
				f.Close()
				if err != nil {
					b.Fatal(err)
				}
				thumb, err := imagingLanczos(m.Picture().Data, 256)
				if err != nil {
					b.Fatal(err)
				}
				if err := os.WriteFile(out, thumb, 0o644); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
