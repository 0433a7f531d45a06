//go:build unix

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/thumbcache/thumbcache"
	"github.com/thumbcache/thumbcache/bench/internal/daemon"
)

// Sizes of thumbnails.
const (
	hotSize          = 300
	minCold, maxCold = 100, 299 // of those that are requested once
)

// A node is a process of "thumbcache serve" without a disk: it has its memory, and what all nodes share.
type node struct {
	*daemon.Process
	client *http.Client
}

// startNode starts a server with flags that say where its thumbnails are, and environment variables.
func startNode(program, library string, flags []string, env ...string) (*node, error) {
	addr, err := daemon.FreeAddr()
	if err != nil {
		return nil, err
	}
	sizes := make([]string, 0, maxCold-minCold+2)
	for size := minCold; size <= maxCold; size++ {
		sizes = append(sizes, strconv.Itoa(size))
	}
	args := append([]string{"serve", "--addr", addr, "--sizes", strings.Join(append(sizes, strconv.Itoa(hotSize)), ",")}, flags...)
	n := &node{
		Process: &daemon.Process{Name: program, Args: append(args, library), Addr: addr, Env: append(credentialsEnv, env...)},
		client:  &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 1000}},
	}
	return n, n.Start()
}

var errNoPicture = errors.New("the answer is no picture")

// get requests a thumbnail, and returns how long that took.
func (n *node) get(path string, size int) (time.Duration, error) {
	start := time.Now()
	resp, err := n.client.Get(fmt.Sprintf("http://%s/thumb/library/%s?size=%d", n.Addr, path, size))
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return 0, err
	case resp.StatusCode != http.StatusOK:
		return 0, fmt.Errorf("%s: %.200s", resp.Status, data)
	case resp.Header.Get("Content-Type") != "image/jpeg" || len(data) < 500:
		return 0, fmt.Errorf("%w: %.200s", errNoPicture, data)
	}
	return time.Since(start), nil
}

// ping requests something that has nothing to do with thumbnails, and returns how long that took.
func (n *node) ping() (time.Duration, error) {
	start := time.Now()
	resp, err := n.client.Get("http://" + n.Addr + "/version.json")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return time.Since(start), err
}

// stats returns what the node has done since its start, and what its clock shows.
func (n *node) stats() (s thumbcache.Stats, clock time.Time, err error) {
	resp, err := n.client.Get("http://" + n.Addr + "/debug/vars")
	if err != nil {
		return s, clock, err
	}
	defer resp.Body.Close()
	vars := struct {
		Cache *thumbcache.Stats `json:"thumbcache"`
	}{&s}
	if err := json.NewDecoder(resp.Body).Decode(&vars); err != nil {
		return s, clock, err
	}
	clock, err = http.ParseTime(resp.Header.Get("Date"))
	return s, clock, err
}
