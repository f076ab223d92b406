// Judges the histories that `harness bench checkers --folder DIR` keeps with Porcupine, for a baseline beside ours.
//
//	go mod init baseline && go get github.com/anishathalye/porcupine@v1.3.1
//	go run . DIR
//
// Time is that of porcupine.CheckEventsTimeout alone, without reading, on the clock and of all threads on processors; memory is VmHWM of the process, which is started anew for
// each row.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/anishathalye/porcupine"
)

const limit = 60 * time.Second

type input struct {
	op, key, value string
	from           string
}

type output struct {
	value string
	// A failed compare-and-set, or an outcome that is not known.
	failed, unknown bool
}

// One object, or the values of all of them, is the state.
func model(row string) porcupine.Model {
	step := func(state string, in input, out output) (bool, string) {
		switch in.op {
		case "read", "get":
			return out.unknown || out.value == state, state
		case "append":
			return true, state + in.value
		case "cas":
			if out.unknown && in.from == state || !out.failed && !out.unknown {
				return in.from == state, in.value
			}
			return out.unknown || in.from != state, state
		}
		return true, in.value
	}
	initial := "null"
	if strings.HasPrefix(row, "kv-") && row != "kv-1m" {
		initial = ""
	}
	if row == "kv-10-whole" {
		return porcupine.Model{
			Init: func() any { return map[string]string{} },
			Step: func(state, in, out any) (bool, any) {
				all, own := state.(map[string]string), in.(input)
				ok, after := step(all[own.key], own, out.(output))
				if !ok || after == all[own.key] {
					return ok, all
				}
				next := map[string]string{own.key: after}
				for key, value := range all {
					if key != own.key {
						next[key] = value
					}
				}
				return true, next
			},
			Equal: func(one, other any) bool {
				a, b := one.(map[string]string), other.(map[string]string)
				if len(a) != len(b) {
					return false
				}
				for key, value := range a {
					if known, there := b[key]; !there || known != value {
						return false
					}
				}
				return true
			},
		}
	}
	return porcupine.Model{
		Init: func() any { return initial },
		PartitionEvent: func(events []porcupine.Event) [][]porcupine.Event {
			places, keys := map[string]int{}, map[int]string{}
			var parts [][]porcupine.Event
			for _, event := range events {
				if event.Kind == porcupine.CallEvent {
					keys[event.Id] = event.Value.(input).key
				}
				key := keys[event.Id]
				place, known := places[key]
				if !known {
					place = len(parts)
					places[key] = place
					parts = append(parts, nil)
				}
				parts[place] = append(parts[place], event)
			}
			return parts
		},
		Step: func(state, in, out any) (bool, any) {
			return step(state.(string), in.(input), out.(output))
		},
	}
}

var etcdLine = regexp.MustCompile(`jepsen\.util - (\d+)\s+:(\w+)\s+:(\w+)\s+(.*)$`)

// Events of a file; operations that never ended end behind everything.
func read(path string) []porcupine.Event {
	file, err := os.Open(path)
	if err != nil {
		panic(err)
	}
	defer file.Close()
	scanner := bufio.NewScanner(file)
	scanner.Buffer(make([]byte, 1<<20), 1<<24)
	var events []porcupine.Event
	open, last := map[string]int{}, 0
	tell := func(process, kind string, in input, out output) {
		client := 0
		fmt.Sscan(process, &client)
		switch {
		case kind == "invoke":
			open[process] = last
			events = append(events, porcupine.Event{ClientId: client, Kind: porcupine.CallEvent, Value: in, Id: last})
			last++
		case kind == "info":
		default:
			if id, known := open[process]; known {
				out.failed = kind == "fail"
				events = append(events, porcupine.Event{ClientId: client, Kind: porcupine.ReturnEvent, Value: out, Id: id})
				delete(open, process)
			}
		}
	}
	for scanner.Scan() {
		line := scanner.Text()
		if found := etcdLine.FindStringSubmatch(line); found != nil {
			process, kind, op, value := found[1], found[2], found[3], strings.TrimSpace(found[4])
			if value == "nil" {
				value = "null"
			}
			in := input{op: op, value: value}
			if op == "cas" && kind == "invoke" {
				parts := strings.Fields(strings.Trim(value, "[]"))
				in.from, in.value = parts[0], parts[1]
			}
			// Of a read that failed nobody saw anything.
			tell(process, kind, in, output{value: value, unknown: kind == "fail" && op == "read"})
			continue
		}
		var event struct {
			Process json.Number       `json:"process"`
			Type    string            `json:"type"`
			F       string            `json:"f"`
			Value   []json.RawMessage `json:"value"`
		}
		if json.Unmarshal([]byte(line), &event) != nil || len(event.Value) != 2 {
			continue
		}
		value := strings.Trim(string(event.Value[1]), `"`)
		in := input{op: event.F, key: string(event.Value[0]), value: value}
		tell(event.Process.String(), event.Type, in, output{value: value})
	}
	for process, id := range open {
		client := 0
		fmt.Sscan(process, &client)
		events = append(events, porcupine.Event{ClientId: client, Kind: porcupine.ReturnEvent, Value: output{unknown: true}, Id: id})
	}
	return events
}

func peak() string {
	status, _ := os.ReadFile("/proc/self/status")
	for _, line := range strings.Split(string(status), "\n") {
		if strings.HasPrefix(line, "VmHWM:") {
			return strings.Join(strings.Fields(line)[1:], " ")
		}
	}
	return "unknown"
}

// What all threads have taken of processors so far.
func processor() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func main() {
	rows := []string{"etcd", "kv-50", "kv-10-whole", "kv-1m", "one-key-100k"}
	if len(os.Args) == 2 {
		for _, row := range rows {
			child := exec.Command(os.Args[0], os.Args[1], row)
			child.Stdout, child.Stderr = os.Stdout, os.Stderr
			if err := child.Run(); err != nil {
				fmt.Printf("%s: %v\n", row, err)
			}
		}
		return
	}
	row := os.Args[2]
	files, _ := filepath.Glob(filepath.Join(os.Args[1], row, "*"))
	results := map[porcupine.CheckResult]int{}
	var taken, processors time.Duration
	for _, file := range files {
		events := read(file)
		began, before := time.Now(), processor()
		result := porcupine.CheckEventsTimeout(model(row), events, limit)
		taken += time.Since(began)
		processors += processor() - before
		results[result]++
	}
	milliseconds := func(time time.Duration) float64 { return float64(time.Microseconds()) / 1e3 }
	fmt.Printf("%s: %v in %.1f ms, %.1f ms of processors, %s\n", row, results, milliseconds(taken), milliseconds(processors), peak())
}
