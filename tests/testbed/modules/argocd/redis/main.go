// Command redis serves what Argo CD needs of Redis, in memory, at the address that it is given.
package main

import (
	"log"
	"os"
	"time"

	"github.com/alicebob/miniredis/v2"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: redis HOST:PORT")
	}
	server := miniredis.NewMiniRedis()
	if err := server.StartAddr(os.Args[1]); err != nil {
		log.Fatal(err)
	}
	// Its time stands still unless it is told that some has passed, and nothing would ever expire.
	const tick = 100 * time.Millisecond
	for range time.Tick(tick) {
		server.FastForward(tick)
	}
}
