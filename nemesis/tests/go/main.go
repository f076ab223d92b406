// A small program with closures, generics and C, whose symbol table is the truth for the tests of names.
package main

/*
static int add(int a, int b) { return a + b; }
*/
import "C"

import (
	"fmt"
	"os"
)

type reverter struct{ undo []func() int }

//go:noinline
func (r *reverter) fail() (sum int) {
	for _, undo := range r.undo {
		sum += undo()
	}
	return sum
}

//go:noinline
func twice[T int | string](x T) T { return x + x }

//go:noinline
func join(n int) int {
	r := &reverter{}
	for i := 0; i < n; i++ {
		r.undo = append(r.undo, func() int { return i + func() int { return n * len(os.Args) }() })
	}
	return r.fail()
}

func main() {
	fmt.Println(join(5), twice(3), twice("x"), C.add(1, 2))
}
