// Command bench measures how long thumbnails take, made by thumbcache and in other ways that are usual in Go, in one run. It
// prints a table for the README and draws a chart.
//
//	go run . [-rounds 15] [-svg chart.svg]
//	go run . -webp [-rounds 15] [-svg webp.svg] [picture...]
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A way turns the bytes of a picture into those of its thumbnail.
type way struct {
	name string
	make func(data []byte, size int) ([]byte, error)
}

var ways = []way{
	{"thumbcache", ours},
	{"imaging, Lanczos", imagingLanczos},
	{"x/image, CatmullRom", catmullRom},
}

// jobs are the reductions that are measured.
var jobs = []struct {
	edge, size  int
	progressive bool
}{
	{500, 256, false}, {1000, 256, false}, {1400, 256, false}, {1400, 256, true}, {1400, 512, false},
	{3000, 256, false}, {3000, 512, false},
}

// A result is the times of one job, by way.
type result struct {
	source source
	size   int
	times  []time.Duration
}

func main() {
	log.SetFlags(0)
	rounds := flag.Int("rounds", 15, "how often each is measured; the fastest counts")
	svg := flag.String("svg", "", "file to draw a chart to")
	memory := flag.Int("memory", -1, "make one thumbnail in this way, and print the peak memory (used by the command itself)")
	dump := flag.String("dump", "", "write the pictures to this folder, and nothing else (used by compare.py)")
	serve := flag.Bool("serve", false, "make the thumbnails that stdin names, and print their CPU times (used by compare.py)")
	webp := flag.Bool("webp", false, "compare WebP with JPEG and cwebp instead, for these pictures and those in the arguments")
	flag.Parse()

	if *memory >= 0 {
		data, err := testdata.ReadFile("testdata/ordinary-3000.jpg")
		if err == nil {
			err = printPeak(ways[*memory], data)
		}
		if err != nil {
			log.Fatal(err)
		}
		return
	}
	if *webp {
		if err := compareWebP(*svg, *rounds, flag.Args()); err != nil {
			log.Fatal(err)
		}
		return
	}
	if *serve {
		if err := serveTimes(); err != nil {
			log.Fatal(err)
		}
		return
	}
	all, err := sources()
	if err != nil {
		log.Fatal(err)
	}
	if *dump != "" {
		for _, s := range all {
			name := strings.ReplaceAll(s.String(), " ", "-") + ".jpg"
			if err := os.WriteFile(filepath.Join(*dump, name), s.data, 0o644); err != nil {
				log.Fatal(err)
			}
		}
		return
	}
	var results []result
	for _, job := range jobs {
		for _, s := range all {
			if s.edge == job.edge && s.progressive == job.progressive {
				r, err := measure(ways, s, job.size, *rounds)
				if err != nil {
					log.Fatal(err)
				}
				results = append(results, r)
			}
		}
	}
	printTable(results)
	if err := printMemory(); err != nil {
		log.Fatal(err)
	}
	if *svg != "" {
		if err := os.WriteFile(*svg, []byte(chart(results)), 0o644); err != nil {
			log.Fatal(err)
		}
	}
}

// serveTimes makes a thumbnail for each line of standard input, which has its size and the name of a file. It prints the CPU time
// in ms since the last one, garbage collection included.
func serveTimes() error {
	var (
		size       int
		name, last string
		data       []byte
	)
	for before := cpuTime(); ; {
		switch _, err := fmt.Scanf("%d %s\n", &size, &name); {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
		if name != last {
			var err error
			if data, err = os.ReadFile(name); err != nil {
				return err
			}
			last = name
		}
		if _, err := ours(data, size); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		now := cpuTime()
		fmt.Println(milliseconds(now - before))
		before = now
	}
}

// measure runs the ways in turn, so that other load on the machine affects all alike. The fastest round counts, because every
// disturbance makes a round slower.
func measure(ways []way, s source, size, rounds int) (result, error) {
	r := result{source: s, size: size, times: make([]time.Duration, len(ways))}
	for range rounds {
		for i, w := range ways {
			start := time.Now()
			if _, err := w.make(s.data, size); err != nil {
				return r, fmt.Errorf("%s: %w", w.name, err)
			}
			if t := time.Since(start); r.times[i] == 0 || t < r.times[i] {
				r.times[i] = t
			}
		}
	}
	return r, nil
}

func (r result) title() string { return fmt.Sprintf("%v → %d", r.source, r.size) }

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func printTable(results []result) {
	fmt.Print("| picture, longest edge → thumbnail, ms |")
	for _, w := range ways {
		fmt.Printf(" %s |", w.name)
	}
	fmt.Println("\n|---|" + strings.Repeat("---:|", len(ways)))
	for _, r := range results {
		fmt.Printf("| %s |", r.title())
		for i, t := range r.times {
			if i == 0 {
				fmt.Printf(" **%.1f** |", milliseconds(t))
			} else {
				fmt.Printf(" %.1f (%.1fx) |", milliseconds(t), float64(t)/float64(r.times[0]))
			}
		}
		fmt.Println()
	}
}

// printMemory measures the memory of each way in a process of its own.
func printMemory() error {
	fmt.Print("| peak memory of a process, 3000 → 256, MiB |")
	for i := range ways {
		out, err := exec.Command(os.Args[0], "-memory", fmt.Sprint(i)).Output()
		if err != nil {
			return err
		}
		fmt.Printf(" %s |", strings.TrimSpace(string(out)))
	}
	fmt.Println()
	return nil
}

// printPeak makes a thumbnail of 256 pixels and prints the peak resident memory of the process in MiB. On systems without /proc it
// prints a dash.
func printPeak(w way, data []byte) error {
	if _, err := w.make(data, 256); err != nil {
		return err
	}
	status, _ := os.ReadFile("/proc/self/status")
	var kib int
	if _, peak, ok := strings.Cut(string(status), "VmHWM:"); !ok {
		fmt.Println("-")
	} else if _, err := fmt.Sscan(peak, &kib); err != nil {
		return err
	} else {
		fmt.Printf("%.0f\n", float64(kib)/1024)
	}
	return nil
}

// chart draws the times as bars.
func chart(results []result) string {
	const left, bar, gap, width = 215, 11, 14, 760
	var longest time.Duration
	for _, r := range results {
		longest = max(longest, slices.Max(r.times))
	}
	colours := []string{"#2a7", "#c84", "#89b"}
	height := 40 + len(results)*(len(ways)*bar+gap)
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="11">`+"\n", width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", width, height)
	x := left
	for i, w := range ways {
		fmt.Fprintf(&b, `<rect x="%d" y="10" width="10" height="10" fill="%s"/><text x="%d" y="19">%s</text>`+"\n", x, colours[i], x+15, w.name)
		x += 160
	}
	y := 34
	for _, r := range results {
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", left-8, y+len(ways)*bar/2+4, r.title())
		for i, t := range r.times {
			w := float64(width-left-70) * float64(t) / float64(longest)
			fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/><text x="%.1f" y="%d" font-size="9">%.1f ms</text>`+"\n",
				left, y, w, bar-1, colours[i], left+w+4, y+bar-3, milliseconds(t))
			y += bar
		}
		y += gap
	}
	b.WriteString("</svg>\n")
	return b.String()
}
