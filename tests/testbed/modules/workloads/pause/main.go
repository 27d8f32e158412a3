// Command pause does nothing: as a pod's first process it holds the pod's namespaces, as a node's it reaps
// what others have left behind.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCHLD)
	for {
		reap()
		if got := <-signals; got != syscall.SIGCHLD {
			return
		}
	}
}

// One signal may stand for several children.
func reap() {
	for {
		if child, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); err != nil || child <= 0 {
			return
		}
	}
}
