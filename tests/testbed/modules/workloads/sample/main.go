// Command sample is a service that misbehaves when it is told to.
//
// On :8080 `/` is the service, `/metrics` what its Go collector and its handler show, `/healthz` says that it serves, and a
// POST to one of the paths of [faults] is a fault. On :6060 is net/http/pprof. What it begins to do it writes to standard
// error, and why it ends.
package main

import (
	"fmt"
	"log"
	"net/http"
	_ "net/http/pprof"
	"os"
	"os/signal"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// The number that a fault is given as its parameter `n`.
var faults = map[string]struct {
	what  string
	begin func(n int)
}{
	"/hold":       {"hold n MB more in a cache that is never emptied", fillCartCache},
	"/release":    {"let go of all memory that is held", func(int) { cartCache.Store(nil); holes.Store(nil) }},
	"/goroutines": {"start n goroutines that never end", leakGoroutines},
	"/grow":       {"start n goroutines that never end, every second", growGoroutines},
	"/fragment":   {"leave a heap of n MB that is holes but for a sixteenth", fragmentHeap},
	"/pauses":     {"copy n MB again and again, which no collection can interrupt, and collect all the time", lengthenPauses},
	"/spin":       {"keep n goroutines computing", spin},
	"/latency":    {"let each request to / take n ms", func(n int) { latency.Store(int64(n)) }},
	"/errors":     {"let n of 100 requests to / fail", func(n int) { failing.Store(int64(n)) }},
	"/exit":       {"exit with code n", exit},
}

var (
	latency, failing, served atomic.Int64

	duration = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "http_request_duration_seconds",
		Help:    "Duration of requests to /.",
		Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
	}, []string{"code"})
)

func main() {
	log.SetFlags(0)
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		duration,
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collectors.NewGoCollector(collectors.WithGoCollectorRuntimeMetrics(collectors.MetricsGC, collectors.MetricsScheduler)),
	)
	service := http.NewServeMux()
	service.HandleFunc("GET /{$}", serve)
	service.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	service.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	for path, fault := range faults {
		service.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			n, err := strconv.Atoi(r.FormValue("n"))
			if err != nil && r.FormValue("n") != "" {
				http.Error(w, "n is not a whole number", http.StatusBadRequest)
				return
			}
			log.Printf("fault: %s, n=%d", fault.what, n)
			fault.begin(n)
			fmt.Fprintln(w, "ok")
		})
	}
	go func() { log.Fatal(http.ListenAndServe(":6060", nil)) }()
	go func() { log.Fatal(http.ListenAndServe(":8080", service)) }()
	log.Printf("sample: serving as %s", os.Getenv("HOSTNAME"))
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	log.Printf("sample: ended by %s", <-signals)
}

func serve(w http.ResponseWriter, _ *http.Request) {
	started := time.Now()
	time.Sleep(time.Duration(latency.Load()) * time.Millisecond)
	code := http.StatusOK
	// Spread over the requests rather than drawn, so that any hundred of them have exactly so many.
	if n := served.Add(1); (n*failing.Load())/100 > ((n-1)*failing.Load())/100 {
		code = http.StatusInternalServerError
	}
	w.WriteHeader(code)
	fmt.Fprintln(w, http.StatusText(code))
	duration.WithLabelValues(strconv.Itoa(code)).Observe(time.Since(started).Seconds())
}

func exit(code int) {
	log.Printf("sample: exiting with code %d, as told", code)
	os.Exit(code)
}
