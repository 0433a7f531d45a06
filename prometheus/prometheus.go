// Package prometheus exports the counters of a [thumbcache.Cache] to Prometheus.
//
//	registry.MustRegister(tcprom.New(cache.Stats))
//
// Several caches are told apart by a label:
//
//	prometheus.WrapRegistererWith(prometheus.Labels{"cache": "covers"}, registry).MustRegister(tcprom.New(covers.Stats))
//	prometheus.WrapRegistererWith(prometheus.Labels{"cache": "posters"}, registry).MustRegister(tcprom.New(posters.Stats))
//
// A metric is named after its field of [thumbcache.Stats] in JSON: Stats.MemoryHits is thumbcache_memory_hits_total. A
// dashboard for Grafana is in contrib/grafana.
package prometheus

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/thumbcache/thumbcache"
)

// New returns a collector of what stats returns, which is [thumbcache.Cache.Stats] of the cache to be watched. It is
// called once for each scrape, so that the numbers of one scrape belong together.
func New(stats func() thumbcache.Stats) prometheus.Collector {
	c := &collector{stats: stats}
	for _, m := range metrics {
		c.descs = append(c.descs, prometheus.NewDesc(m.name, m.help, nil, nil))
	}
	return c
}

type collector struct {
	stats func() thumbcache.Stats
	descs []*prometheus.Desc // of metrics, in their order
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

// A metric is one field of Stats.
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

// metrics is never changed. The texts are those of Stats.
var metrics = []metric{
	counter("memory_hits", "Thumbnails served from memory.", func(s *thumbcache.Stats) uint64 { return s.MemoryHits }),
	counter("disk_hits", "Thumbnails read from disk.", func(s *thumbcache.Stats) uint64 { return s.DiskHits }),
	counter("misses", "Thumbnails that had to be made.", func(s *thumbcache.Stats) uint64 { return s.Misses }),
	counter("coalesced", "Callers that joined a thumbnail's flight under way.", func(s *thumbcache.Stats) uint64 { return s.Coalesced }),
	counter("negative_hits", "Requests answered by a remembered failure.", func(s *thumbcache.Stats) uint64 { return s.NegativeHits }),
	counter("stale_served", "Thumbnails served before or without a new look at their source.", func(s *thumbcache.Stats) uint64 { return s.StaleServed }),
	counter("extractions", "Calls of the extractor.", func(s *thumbcache.Stats) uint64 { return s.Extractions }),
	counter("processes", "Child processes started.", func(s *thumbcache.Stats) uint64 { return s.Processes }),
	counter("failures", "Thumbnails that could not be made.", func(s *thumbcache.Stats) uint64 { return s.Failures }),
	counter("abandoned", "Thumbnails dropped because nobody waited for them any more.", func(s *thumbcache.Stats) uint64 { return s.Abandoned }),
	counter("evictions", "Files removed to keep the limit of the disk.", func(s *thumbcache.Stats) uint64 { return s.Evictions }),
	counter("disk_errors", "Failed reads and writes of the thumbnail folder; none of them failed a request.", func(s *thumbcache.Stats) uint64 { return s.DiskErrors }),
	counter("corrupt", "Stored files that failed their check.", func(s *thumbcache.Stats) uint64 { return s.Corrupt }),

	gauge("in_flight", "Thumbnails being looked up or made.", func(s *thumbcache.Stats) int64 { return s.InFlight }),
	gauge("processes_running", "Child processes that run now.", func(s *thumbcache.Stats) int64 { return s.ProcessesRunning }),
	gauge("memory_entries", "Thumbnails in memory.", func(s *thumbcache.Stats) int64 { return s.MemoryEntries }),
	gauge("memory_bytes", "Bytes of the thumbnails in memory.", func(s *thumbcache.Stats) int64 { return s.MemoryBytes }),
	gauge("disk_entries", "Files in the thumbnail folder, as far as learnt since the start.", func(s *thumbcache.Stats) int64 { return s.DiskEntries }),
	gauge("disk_bytes", "Bytes of the files in the thumbnail folder, as far as learnt since the start.", func(s *thumbcache.Stats) int64 { return s.DiskBytes }),
}
