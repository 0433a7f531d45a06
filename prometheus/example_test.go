package prometheus_test

import (
	"fmt"
	"log"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/thumbcache/thumbcache"
	tcprom "github.com/thumbcache/thumbcache/prometheus"
)

// To serve the metrics over HTTP, use promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).
func ExampleNew() {
	cache, err := thumbcache.New(thumbcache.Config{
		Providers: map[string]thumbcache.Provider{"music": thumbcache.Files("/srv/music")},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer cache.Close()
	registry := prometheus.NewRegistry()
	registry.MustRegister(tcprom.New(cache.Stats))

	families, err := registry.Gather()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(families[0].GetName())
	// Output: thumbcache_abandoned_total
}
