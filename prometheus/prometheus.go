// Package prometheus exports the statistics of a [thumbcache.Cache] as Prometheus metrics.
//
//	registry.MustRegister(tcprom.New(cache.Stats))
//
// If a process has several caches, add a label to tell them apart:
//
//	prometheus.WrapRegistererWith(prometheus.Labels{"cache": "covers"}, registry).MustRegister(tcprom.New(covers.Stats))
//	prometheus.WrapRegistererWith(prometheus.Labels{"cache": "posters"}, registry).MustRegister(tcprom.New(posters.Stats))
//
// Each metric is named after the JSON name of its field in [thumbcache.Stats], with the suffix _total for counters. For
// example, Stats.MemoryHits is exported as thumbcache_memory_hits_total.
//
// The folder contrib/grafana of the repository contains a Grafana dashboard for these metrics.
package prometheus

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/thumbcache/thumbcache"
)

// New returns a collector that exports the result of stats, usually the method [thumbcache.Cache.Stats] of one cache. It calls
// stats once per scrape, so all values of a scrape come from the same snapshot.
func New(stats func() thumbcache.Stats) prometheus.Collector {
	c := &collector{stats: stats}
	for _, m := range metrics {
		c.descs = append(c.descs, prometheus.NewDesc(m.name, m.help, nil, nil))
	}
	return c
}

type collector struct {
	stats func() thumbcache.Stats
	descs []*prometheus.Desc // parallel to metrics
}

func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		out <- d
	}
}

func (c *collector) Collect(out chan<- prometheus.Metric) {
	s := c.stats()
	for i, m := range metrics {
		out <- prometheus.MustNewConstMetric(c.descs[i], m.kind, m.value(&s))
	}
}

// A metric is the exported form of one field of [thumbcache.Stats].
type metric struct {
	name  string
	help  string
	kind  prometheus.ValueType
	value func(*thumbcache.Stats) float64
}

func counter(name, help string, field func(*thumbcache.Stats) uint64) metric {
	return metric{"thumbcache_" + name + "_total", help, prometheus.CounterValue, func(s *thumbcache.Stats) float64 { return float64(field(s)) }}
}

func gauge(name, help string, field func(*thumbcache.Stats) int64) metric {
	return metric{"thumbcache_" + name, help, prometheus.GaugeValue, func(s *thumbcache.Stats) float64 { return float64(field(s)) }}
}

// metrics is read-only.
var metrics = []metric{
	counter("memory_hits", "Thumbnails served from memory.", func(s *thumbcache.Stats) uint64 { return s.MemoryHits }),
	counter("disk_hits", "Thumbnails served from disk.", func(s *thumbcache.Stats) uint64 { return s.DiskHits }),
	counter("misses", "Thumbnails that were not cached and had to be made.", func(s *thumbcache.Stats) uint64 { return s.Misses }),
	counter("coalesced", "Requests that joined a running request for the same thumbnail.", func(s *thumbcache.Stats) uint64 { return s.Coalesced }),
	counter("negative_hits", "Requests answered with a remembered failure.", func(s *thumbcache.Stats) uint64 { return s.NegativeHits }),
	counter("stale_served", "Thumbnails served before their source was checked for changes, or while it could not be read.", func(s *thumbcache.Stats) uint64 { return s.StaleServed }),
	counter("extractions", "Calls of the extractor.", func(s *thumbcache.Stats) uint64 { return s.Extractions }),
	counter("processes", "Child processes started.", func(s *thumbcache.Stats) uint64 { return s.Processes }),
	counter("failures", "Thumbnails that could not be made.", func(s *thumbcache.Stats) uint64 { return s.Failures }),
	counter("abandoned", "Thumbnails canceled because all callers had given up.", func(s *thumbcache.Stats) uint64 { return s.Abandoned }),
	counter("evictions", "Files removed to stay within the size limit of the thumbnail folder.", func(s *thumbcache.Stats) uint64 { return s.Evictions }),
	counter("disk_errors", "Failed reads and writes of the thumbnail folder. They do not make requests fail.", func(s *thumbcache.Stats) uint64 { return s.DiskErrors }),
	counter("corrupt", "Stored files that failed verification.", func(s *thumbcache.Stats) uint64 { return s.Corrupt }),
	counter("shared_hits", "Thumbnails served from the tier that several machines share.", func(s *thumbcache.Stats) uint64 { return s.SharedHits }),
	counter("shared_errors", "Calls of the shared tier that failed or took too long. They do not make requests fail.", func(s *thumbcache.Stats) uint64 { return s.SharedErrors }),
	counter("shared_dropped", "Thumbnails and failures that could not be stored in the shared tier.", func(s *thumbcache.Stats) uint64 { return s.SharedDropped }),
	counter("leases_waited", "Thumbnails that another machine was making.", func(s *thumbcache.Stats) uint64 { return s.LeasesWaited }),

	gauge("in_flight", "Thumbnails being looked up or made.", func(s *thumbcache.Stats) int64 { return s.InFlight }),
	gauge("processes_running", "Child processes running.", func(s *thumbcache.Stats) int64 { return s.ProcessesRunning }),
	gauge("memory_entries", "Thumbnails in memory.", func(s *thumbcache.Stats) int64 { return s.MemoryEntries }),
	gauge("memory_bytes", "Total size of the thumbnails in memory.", func(s *thumbcache.Stats) int64 { return s.MemoryBytes }),
	gauge("disk_entries", "Files in the thumbnail folder; exact once the background count after the start has finished.", func(s *thumbcache.Stats) int64 { return s.DiskEntries }),
	gauge("disk_bytes", "Total size of the files in the thumbnail folder; exact once the background count after the start has finished.", func(s *thumbcache.Stats) int64 { return s.DiskBytes }),
}
