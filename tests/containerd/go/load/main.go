// Load calls a proxy snapshotter from many clients on one connection and prints what it measured as JSON.
//
// load SOCKET CLIENTS SECONDS PREFIX: each client prepares, commits and removes a snapshot, again and
// again, then one client asks for one snapshot's Stat.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"sort"
	"strconv"
	"sync"
	"time"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/snapshots"
	"github.com/containerd/containerd/snapshots/proxy"
	"google.golang.org/grpc"
)

const stats = 500

type measured struct {
	CyclesPerSecond float64 `json:"cycles_per_second"`
	P50, P99        float64
	StatP50         float64 `json:"stat_p50"`
}

func fail(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func share(times []time.Duration, part float64) float64 {
	sort.Slice(times, func(i, j int) bool { return times[i] < times[j] })
	return times[int(part*float64(len(times)-1))].Seconds() * 1000
}

func cycle(ctx context.Context, snapshotter snapshots.Snapshotter, key string) {
	_, err := snapshotter.Prepare(ctx, key, "load-base")
	fail(err)
	fail(snapshotter.Commit(ctx, key+"-committed", key))
	fail(snapshotter.Remove(ctx, key+"-committed"))
}

func main() {
	clients, err := strconv.Atoi(os.Args[2])
	fail(err)
	seconds, err := strconv.ParseFloat(os.Args[3], 64)
	fail(err)
	ctx := context.Background()
	connection, err := grpc.DialContext(ctx, "unix:"+os.Args[1], grpc.WithInsecure(), grpc.WithBlock())
	fail(err)
	snapshotter := proxy.NewSnapshotter(snapshotsapi.NewSnapshotsClient(connection), "load")
	if _, err := snapshotter.Stat(ctx, "load-base"); err != nil {
		_, err = snapshotter.Prepare(ctx, "load-base-active", "")
		fail(err)
		fail(snapshotter.Commit(ctx, "load-base", "load-base-active"))
	}
	var (
		lock  sync.Mutex
		group sync.WaitGroup
		times []time.Duration
	)
	began := time.Now()
	until := began.Add(time.Duration(seconds * float64(time.Second)))
	for client := 0; client < clients; client++ {
		group.Add(1)
		go func(client int) {
			defer group.Done()
			var mine []time.Duration
			for number := 0; time.Now().Before(until); number++ {
				start := time.Now()
				cycle(ctx, snapshotter, fmt.Sprintf("%s/%d/%d", os.Args[4], client, number))
				mine = append(mine, time.Since(start))
			}
			lock.Lock()
			times = append(times, mine...)
			lock.Unlock()
		}(client)
	}
	group.Wait()
	result := measured{CyclesPerSecond: float64(len(times)) / time.Since(began).Seconds()}
	result.P50, result.P99 = share(times, 0.5), share(times, 0.99)
	var asked []time.Duration
	for number := 0; number < stats; number++ {
		start := time.Now()
		_, err := snapshotter.Stat(ctx, "load-base")
		fail(err)
		asked = append(asked, time.Since(start))
	}
	result.StatP50 = share(asked, 0.5)
	if cleaner, ok := snapshotter.(snapshots.Cleaner); ok {
		fail(cleaner.Cleanup(ctx))
	}
	fail(json.NewEncoder(os.Stdout).Encode(result))
}
