// Tells its clocks as the tests' own program does, while goroutines do nothing but read them and the collector interrupts them.
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"time"
	"unsafe"
)

func main() {
	readers, err := strconv.Atoi(os.Args[1])
	if err != nil {
		os.Exit(2)
	}
	// What time.Now holds besides the wall clock is the monotonic one, since the process began.
	first := time.Now()
	base := monotonic()
	for i := 0; i < readers; i++ {
		go func() {
			before := time.Now()
			for {
				now := time.Now()
				if now.Sub(before) < 0 {
					os.Exit(3)
				}
				before = now
			}
		}()
	}
	for {
		now := time.Now()
		fmt.Println(now.UnixNano(), base+int64(now.Sub(first)))
		runtime.GC()
		time.Sleep(5 * time.Millisecond)
	}
}

// The node's monotonic clock, which package time does not tell.
func monotonic() int64 {
	var now syscall.Timespec
	const clockMonotonic = 1
	_, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clockMonotonic, uintptr(unsafe.Pointer(&now)), 0)
	if errno != 0 {
		os.Exit(4)
	}
	return now.Nano()
}
