// Boltcheck opens a metadata.db as bbolt and containerd do, checks every page of it, writes to it, and
// prints what containerd reads: one JSON object a line.
package main

import (
	"context"
	"encoding/json"
	"log"
	"os"

	"github.com/containerd/containerd/snapshots"
	"github.com/containerd/containerd/snapshots/storage"
	bolt "go.etcd.io/bbolt"
)

type line struct {
	ID, Name, Parent, Kind string
	Created, Updated       int64
	Labels                 map[string]string
	Inodes, Size           int64
}

func fail(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func check(path string) {
	database, err := bolt.Open(path, 0600, nil)
	fail(err)
	fail(database.View(func(transaction *bolt.Tx) error {
		for err := range transaction.Check() {
			log.Fatal(err)
		}
		return nil
	}))
	fail(database.Close())
}

func main() {
	path := os.Args[1]
	check(path)
	store, err := storage.NewMetaStore(path)
	fail(err)
	ctx, transaction, err := store.TransactionContext(context.Background(), false)
	fail(err)
	output := json.NewEncoder(os.Stdout)
	fail(storage.WalkInfo(ctx, func(ctx context.Context, info snapshots.Info) error {
		id, _, usage, err := storage.GetInfo(ctx, info.Name)
		fail(err)
		return output.Encode(line{id, info.Name, info.Parent, info.Kind.String(),
			info.Created.UnixNano(), info.Updated.UnixNano(), info.Labels, usage.Inodes, usage.Size})
	}))
	fail(transaction.Rollback())
	// Many writes, so that every page is split, merged and freed.
	for round := 0; round < 3; round++ {
		ctx, transaction, err = store.TransactionContext(context.Background(), true)
		fail(err)
		parent := ""
		for _, key := range []string{"boltcheck/1/a", "boltcheck/2/b"} {
			_, err = storage.CreateSnapshot(ctx, snapshots.KindActive, key, parent)
			fail(err)
			parent = key + "-committed"
			_, err = storage.CommitActive(ctx, key, parent, snapshots.Usage{})
			fail(err)
		}
		for _, name := range []string{"boltcheck/2/b-committed", "boltcheck/1/a-committed"} {
			_, _, err = storage.Remove(ctx, name)
			fail(err)
		}
		fail(transaction.Commit())
	}
	fail(store.Close())
	check(path)
}
