package main

import (
	"runtime"
	"sync/atomic"
	"time"
)

// What the functions below leave behind, swapped as a whole so that requests at once are no race.
var cartCache, holes atomic.Pointer[block]

type block struct {
	memory [][]byte
	before *block
}

func push(list *atomic.Pointer[block], memory [][]byte) {
	for {
		before := list.Load()
		if list.CompareAndSwap(before, &block{memory, before}) {
			return
		}
	}
}

// A heap profile names this function as the one that holds the memory.
//
//go:noinline
func fillCartCache(megabytes int) {
	carts := make([][]byte, megabytes)
	for i := range carts {
		carts[i] = make([]byte, 1<<20)
		// Touched, or it is no memory yet.
		for j := 0; j < len(carts[i]); j += 4096 {
			carts[i][j] = 1
		}
	}
	push(&cartCache, carts)
	// A profile shows the heap as of the last collection.
	runtime.GC()
}

// A goroutine profile names this function as the one where they stand.
//
//go:noinline
func waitForAnswerThatNeverComes() {
	<-make(chan struct{})
}

func leakGoroutines(n int) {
	for range n {
		go waitForAnswerThatNeverComes()
	}
}

func growGoroutines(perSecond int) {
	go func() {
		for range time.Tick(time.Second / 10) {
			leakGoroutines(max(perSecond/10, 1))
		}
	}()
}

// Sixteen objects of 512 bytes lie in a page of 8 KiB, and one of them keeps it.
//
//go:noinline
func fragmentHeap(megabytes int) {
	const size, perPage = 512, 16
	all := make([][]byte, megabytes<<20/size)
	for i := range all {
		all[i] = make([]byte, size)
	}
	kept := make([][]byte, 0, len(all)/perPage+1)
	for i := 0; i < len(all); i += perPage {
		kept = append(kept, all[i])
	}
	push(&holes, kept)
	clear(all)
	runtime.GC()
}

// The runtime stops a goroutine between two instructions of Go, and a copy is one: to begin or to end a collection it has to
// wait for the copy.
func lengthenPauses(megabytes int) {
	go func() {
		from, to := make([]byte, megabytes<<20), make([]byte, megabytes<<20)
		for {
			copy(to, from)
		}
	}()
	go func() {
		for range time.Tick(100 * time.Millisecond) {
			runtime.GC()
		}
	}()
}

func spin(n int) {
	for range n {
		go func() {
			for i := uint64(0); ; i++ {
				spun.Store(i)
			}
		}()
	}
}

var spun atomic.Uint64
