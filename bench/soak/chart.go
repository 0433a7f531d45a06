//go:build linux && (amd64 || arm64)

package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A curve is one line of a chart. A value that is not a number is a gap.
type curve struct {
	name   string
	values []float64
}

// writeCharts draws what was measured over time.
func (r *report) writeCharts(dir string) error {
	if len(r.points) == 0 {
		return nil
	}
	const most = 240 // values of a curve
	begin := r.points[0].at
	width := max(1, (len(r.points)+most-1)/most)
	var groups [][]point
	for i := 0; i < len(r.points); i += width {
		groups = append(groups, r.points[i:min(i+width, len(r.points))])
	}
	per := func(of func(g []point) float64) (values []float64) {
		for _, g := range groups {
			values = append(values, of(g))
		}
		return values
	}
	last := func(of func(p point) float64) []float64 {
		return per(func(g []point) float64 {
			highest := 0.0
			for _, p := range g {
				highest = max(highest, of(p))
			}
			return highest
		})
	}
	charts := map[string]chart{
		"throughput": {"answers per second", false, nil},
		"memory":     {"MiB", false, []curve{{"RSS", last(func(p point) float64 { return float64(p.rss >> 20) })}, {"heap", last(func(p point) float64 { return float64(p.Heap) / (1 << 20) })}}},
		"counts": {"number", true, []curve{
			{"goroutines", last(func(p point) float64 { return float64(p.Goroutines) })},
			{"threads", last(func(p point) float64 { return float64(p.threads) })},
			{"descriptors", last(func(p point) float64 { return float64(p.descriptors) })},
			{"processes", last(func(p point) float64 { return float64(p.children) })}}},
		"disk": {"MiB on disk", false, []curve{{"thumbnails", last(func(p point) float64 { return float64(p.Stats.DiskBytes) / (1 << 20) })}}},
	}
	throughput := charts["throughput"]
	for _, from := range []string{"memory", "disk", "shared", "made", "joined", "failure"} {
		merged := func(g []point) histogram {
			h := make(histogram)
			for _, p := range g {
				h.merge(p.Times[from])
			}
			return h
		}
		throughput.curves = append(throughput.curves, curve{from, per(func(g []point) float64 { return float64(merged(g).count()) / float64(len(g)) })})
		times := chart{unit: "seconds, " + from, log: true}
		for _, q := range []float64{0.5, 0.99, 0.999} {
			times.curves = append(times.curves, curve{fmt.Sprintf("p%g", 100*q), per(func(g []point) float64 {
				if h := merged(g); h.count() > 0 {
					return h.quantile(q).Seconds()
				}
				return math.NaN()
			})})
		}
		charts["times-"+from] = times
	}
	charts["throughput"] = throughput
	for name, c := range charts {
		var bands []band
		for _, s := range r.spans {
			bands = append(bands, band{s.name, time.Duration(s.begin - begin), time.Duration(s.end - begin)})
		}
		svg := c.draw(time.Duration(r.points[len(r.points)-1].at-begin), bands)
		if err := os.WriteFile(filepath.Join(dir, name+".svg"), []byte(svg), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// A chart draws curves over time.
type chart struct {
	unit   string
	log    bool
	curves []curve
}

// A band is a time in which something was wrong.
type band struct {
	name       string
	begin, end time.Duration
}

// draw returns the chart as SVG.
func (c chart) draw(length time.Duration, bands []band) string {
	const (
		width, height                = 760, 240
		left, right, top, bottom     = 64, 96, 12, 28
		plotWidth, plotHeight    int = width - left - right, height - top - bottom
	)
	colors := []string{"#0f9d8a", "#3f7bf2", "#8a5cf0", "#ee9b0f", "#d84a5b", "#777777"}
	low, high := math.Inf(1), 0.0
	for _, curve := range c.curves {
		for _, v := range curve.values {
			if high = max(high, nanTo(v, 0)); v > 0 {
				low = min(low, v)
			}
		}
	}
	if high == 0 {
		high = 1
	}
	low, high = c.round(low, high)
	y := func(v float64) float64 {
		part := v / high
		if c.log {
			part = math.Log(max(v, low)/low) / math.Log(high/low)
		}
		return float64(top+plotHeight) - part*float64(plotHeight)
	}
	x := func(part float64) float64 { return left + part*float64(plotWidth) }
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="11">`+"\n", width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", width, height)
	for _, band := range bands {
		from, to := x(band.begin.Seconds()/length.Seconds()), x(min(1, band.end.Seconds()/length.Seconds()))
		if strings.Contains(band.name, "share") && to > from {
			fmt.Fprintf(&b, `<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="#f6e5e7"><title>%s</title></rect>`+"\n", from, top, to-from, plotHeight, band.name)
		}
	}
	for _, tick := range c.ticks(low, high) {
		fmt.Fprintf(&b, `<path d="M%d %.1fh%d" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n", left, y(tick), plotWidth, left-6, y(tick)+4, c.label(tick))
	}
	for i := range 7 {
		at := length * time.Duration(i) / 6
		text := fmt.Sprintf("%.0f s", at.Seconds())
		if length > 5*time.Minute {
			text = fmt.Sprintf("%.0f min", at.Minutes())
		}
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n", x(float64(i)/6), height-10, text)
	}
	for i, curve := range c.curves {
		color := colors[i%len(colors)]
		var path strings.Builder
		pen := "M"
		for j, v := range curve.values {
			if math.IsNaN(v) {
				pen = "M"
				continue
			}
			fmt.Fprintf(&path, "%s%.1f %.1f", pen, x(float64(j)/float64(max(1, len(curve.values)-1))), y(v))
			pen = "L"
		}
		fmt.Fprintf(&b, `<path d="%s" fill="none" stroke="%s" stroke-width="1.5"/><text x="%d" y="%d" fill="%s">%s</text>`+"\n",
			path.String(), color, width-right+8, top+12+16*i, color, curve.name)
	}
	fmt.Fprintf(&b, `<text transform="translate(12 %d) rotate(-90)" text-anchor="middle">%s</text>`+"\n</svg>\n", top+plotHeight/2, c.unit)
	return b.String()
}

func nanTo(v, instead float64) float64 {
	if math.IsNaN(v) {
		return instead
	}
	return v
}

// round returns limits for an axis.
func (c chart) round(low, high float64) (float64, float64) {
	if c.log {
		return math.Pow(10, math.Floor(math.Log10(min(low, high)))), math.Pow(10, math.Ceil(math.Log10(high)+1e-9))
	}
	step := math.Pow(10, math.Floor(math.Log10(high)))
	for _, factor := range []float64{1, 2, 2.5, 5, 10} {
		if factor*step >= high {
			return 0, factor * step
		}
	}
	return 0, 10 * step
}

// ticks returns the values that the axis names.
func (c chart) ticks(low, high float64) (ticks []float64) {
	if !c.log {
		for i := range 5 {
			ticks = append(ticks, high*float64(i)/4)
		}
		return ticks
	}
	for v := low; v <= high*1.01; v *= 10 {
		ticks = append(ticks, v)
	}
	return ticks
}

func (c chart) label(v float64) string {
	if strings.HasPrefix(c.unit, "seconds") {
		return time.Duration(math.Round(v * 1e9)).String()
	}
	return fmt.Sprintf("%g", v)
}
