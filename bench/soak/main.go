//go:build linux && (amd64 || arm64)

// Command soak lets 1,000 clients use a library of 100,000 songs, lets everything around the cache fail, and checks every answer.
//
//	go run ./soak                                  # a minute
//	go run ./soak --duration 1h --out /tmp/report  # a report with charts
//
// It prints a report and exits with 1 if a promise was broken. It needs root, because it mounts two file systems: one that shows the
// library, which exists nowhere, and a small one for thumbnails. With redis-server there is a shared tier, with ffmpeg there are films.
// It is built for the systems for which go-fuse can be built.
package main

import (
	"flag"
	"log"
	"os"
	"time"
)

// nodeEnv is the environment variable with the configuration of a node. If it is set, the program is a node.
const nodeEnv = "SOAK_NODE"

func main() {
	log.SetFlags(log.Ltime)
	if config := os.Getenv(nodeEnv); config != "" {
		if err := runNode(config); err != nil {
			log.Fatal(err)
		}
		return
	}
	var o options
	flag.DurationVar(&o.duration, "duration", time.Minute, "how long it takes")
	flag.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "chooses what happens")
	flag.IntVar(&o.clients, "clients", 1000, "clients")
	flag.IntVar(&o.songs, "songs", 100_000, "songs of the library; it has 9 albums for each 100")
	flag.IntVar(&o.cold, "cold", 10_000, "requests at once with which it begins; 0: none")
	flag.BoolVar(&o.small, "small", false, "one processor and GOMEMLIMIT=128MiB for the cache")
	flag.BoolVar(&o.alone, "alone", false, "no shared tier")
	flag.BoolVar(&o.clocks, "clocks", true, "set the clock of the cache's process, which is built for that")
	flag.DurationVar(&o.think, "think", 20*time.Second, "pause of a client between two pages")
	flag.StringVar(&o.out, "out", "", "folder for the report and its charts")
	flag.StringVar(&o.lie, "lie", "", "change answers, which must be noticed")
	flag.Parse()
	dir, err := os.MkdirTemp("", "soak")
	if err != nil {
		log.Fatal(err)
	}
	r, err := soak(o, dir)
	os.RemoveAll(dir)
	if err != nil {
		log.Fatal(err)
	}
	if !r.print(os.Stdout) {
		os.Exit(1)
	}
}

// options are what a run is about.
type options struct {
	duration     time.Duration
	seed         uint64
	clients      int
	songs, cold  int
	think        time.Duration
	small, alone bool
	clocks       bool
	out, lie     string
}
