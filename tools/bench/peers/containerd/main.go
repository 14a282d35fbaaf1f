// The peer that is the original: containerd's own storage package, on bbolt.
//
// It takes part as the adapters in Python do (children.py): a line of JSON for each request comes on
// standard input, and its answer, a line of JSON, goes to standard output. The transaction is that of
// workload.py, by containerd's own functions; since the package keeps no audit event, one is put into
// a bucket beside its own, in the same transaction.
package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/bits"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/containerd/snapshots"
	"github.com/containerd/containerd/snapshots/storage"
	bolt "go.etcd.io/bbolt"
)

const (
	actor       = "puller"
	reason      = "unpack web:1.4"
	createdFrom = 1_000_000_000
	keysAThread = 100_000 // as the adapters in Python
)

var (
	parent      = "sha256:" + strings.Repeat("f", 64)
	auditBucket = []byte("audit")
)

type request struct {
	Do      string  `json:"do"`
	First   int     `json:"first"`
	Threads int     `json:"threads"`
	Seconds float64 `json:"seconds"`
	Count   int     `json:"count"`
}

type answer struct {
	Ns     []int64 `json:"ns"`
	WallNs int64   `json:"wall_ns"`
	CPUNs  int64   `json:"cpu_ns"`
}

type event struct {
	TimeNs int64             `json:"time_ns"`
	Actor  string            `json:"actor"`
	Reason string            `json:"reason"`
	Type   string            `json:"type"`
	ID     string            `json:"id"`
	Key    string            `json:"key"`
	Parent string            `json:"parent"`
	Name   string            `json:"name,omitempty"`
	Labels map[string]string `json:"labels"`
}

func layerName(number int) string {
	return fmt.Sprintf("sha256:%064x", uint64(number)*0x9E3779B97F4A7C15)
}

func labelsOf(number int) map[string]string {
	group := 0
	if number != 0 {
		group = bits.TrailingZeros64(uint64(number)) + 1
	}
	return map[string]string{
		"containerd.io/snapshot.ref": layerName(number)[59:],
		"containerd.io/gc.group":     fmt.Sprintf("group-%d", group),
	}
}

// write runs a function in a transaction of its own, which is durable when write returns.
func write(store *storage.MetaStore, work func(context.Context, *bolt.Tx) error) error {
	ctx, transactor, err := store.TransactionContext(context.Background(), true)
	if err != nil {
		return err
	}
	if err := work(ctx, transactor.(*bolt.Tx)); err != nil {
		transactor.Rollback()
		return err
	}
	return transactor.Commit()
}

func audit(tx *bolt.Tx, what event) error {
	bucket, err := tx.CreateBucketIfNotExists(auditBucket)
	if err != nil {
		return err
	}
	revision, err := bucket.NextSequence()
	if err != nil {
		return err
	}
	what.TimeNs, what.Actor, what.Reason = time.Now().UnixNano(), actor, reason
	value, err := json.Marshal(what)
	if err != nil {
		return err
	}
	var key [8]byte
	binary.BigEndian.PutUint64(key[:], revision)
	return bucket.Put(key[:], value)
}

func create(ctx context.Context, tx *bolt.Tx, number int, key, parent string) error {
	labels := labelsOf(number)
	option := snapshots.WithLabels(labels)
	made, err := storage.CreateSnapshot(ctx, snapshots.KindActive, key, parent, option)
	if err != nil {
		return err
	}
	return audit(tx, event{Type: "created", ID: made.ID, Key: key, Parent: parent, Labels: labels})
}

func commit(ctx context.Context, tx *bolt.Tx, number int, key, name string) error {
	labels := labelsOf(number)
	usage := snapshots.Usage{Inodes: 12, Size: 688128}
	id, err := storage.CommitActive(ctx, key, name, usage, snapshots.WithLabels(labels))
	if err != nil {
		return err
	}
	return audit(tx, event{Type: "committed", ID: id, Key: key, Name: name, Labels: labels})
}

func createOne(store *storage.MetaStore, number int) error {
	return write(store, func(ctx context.Context, tx *bolt.Tx) error {
		return create(ctx, tx, number, layerName(createdFrom+number), parent)
	})
}

func createAndCommit(store *storage.MetaStore, first, count int) error {
	return write(store, func(ctx context.Context, tx *bolt.Tx) error {
		for number := first; number < first+count; number++ {
			key := fmt.Sprintf("extract-%d", number)
			if err := create(ctx, tx, number, key, parent); err != nil {
				return err
			}
			if err := commit(ctx, tx, number, key, layerName(createdFrom+number)); err != nil {
				return err
			}
		}
		return nil
	})
}

// makeParent commits the snapshot that all others stand on.
func makeParent(store *storage.MetaStore) error {
	return write(store, func(ctx context.Context, tx *bolt.Tx) error {
		if err := create(ctx, tx, 0, "extract-parent", ""); err != nil {
			return err
		}
		return commit(ctx, tx, 0, "extract-parent", parent)
	})
}

func creates(store *storage.MetaStore, asked request) []int64 {
	found := make([][]int64, asked.Threads)
	duration := time.Duration(asked.Seconds * float64(time.Second))
	var workers sync.WaitGroup
	for thread := range found {
		workers.Add(1)
		go func(thread int) {
			defer workers.Done()
			number := asked.First + thread*keysAThread
			start := time.Now()
			for end := start.Add(duration); start.Before(end); number++ {
				must(createOne(store, number))
				done := time.Now()
				found[thread] = append(found[thread], done.Sub(start).Nanoseconds())
				start = done
			}
		}(thread)
	}
	workers.Wait()
	var all []int64
	for _, each := range found {
		all = append(all, each...)
	}
	return all
}

func cpuNs() int64 {
	var usage syscall.Rusage
	must(syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return usage.Utime.Nano() + usage.Stime.Nano()
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	store, err := storage.NewMetaStore(filepath.Join(os.Args[1], "metadata.db"))
	must(err)
	must(makeParent(store))
	out := json.NewEncoder(os.Stdout)
	must(out.Encode(map[string]map[string]string{"versions": {"Go": runtime.Version()}}))
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var asked request
		must(json.Unmarshal(lines.Bytes(), &asked))
		var given answer
		wall, cpu := time.Now(), cpuNs()
		switch asked.Do {
		case "creates":
			given.Ns = creates(store, asked)
		case "batch":
			must(createAndCommit(store, asked.First, asked.Count))
		default:
			must(fmt.Errorf("unknown request %q", asked.Do))
		}
		given.WallNs, given.CPUNs = time.Since(wall).Nanoseconds(), cpuNs()-cpu
		must(out.Encode(given))
	}
	must(store.Close())
}
