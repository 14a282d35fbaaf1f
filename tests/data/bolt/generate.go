// Command generate writes the bbolt databases of this directory and what they hold.
//
// The databases are written by bbolt, and the snapshotter's one by containerd's own storage
// package, so that the readers are tested against the originals. Every time in them is fixed;
// page numbers may differ from run to run, as bbolt walks maps when it writes. On Debian 12:
//
//	apt-get install golang-go golang-github-coreos-bbolt-dev golang-github-containerd-containerd-dev
//	GO111MODULE=off GOPATH=/usr/share/gocode go run generate.go .
package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/containerd/snapshots"
	"github.com/containerd/containerd/snapshots/storage"
	bolt "go.etcd.io/bbolt"
)

// longValue is the length above which a value is listed by its length and SHA-256 only.
const longValue = 32

// bucketContent is what a bucket holds; entries are [key, entry] pairs in key order.
type bucketContent struct {
	Sequence uint64  `json:"sequence"`
	Entries  [][]any `json:"entries"`
}

type entry struct {
	Value  *string        `json:"value,omitempty"`
	Bytes  int            `json:"bytes,omitempty"`
	SHA256 string         `json:"sha256,omitempty"`
	Bucket *bucketContent `json:"bucket,omitempty"`
}

// fixtureContent describes one database; Previous is its state one transaction earlier, which
// the older of the two meta pages still leads to.
type fixtureContent struct {
	PageSize      int            `json:"page_size"`
	TransactionID int            `json:"transaction_id"`
	Root          *bucketContent `json:"root"`
	Previous      *bucketContent `json:"previous"`
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// text maps each byte to the character of that number, so that JSON keeps any bytes.
func text(data []byte) string {
	var out strings.Builder
	for _, b := range data {
		out.WriteRune(rune(b))
	}
	return out.String()
}

func describeValue(value []byte) entry {
	if len(value) > longValue {
		sum := sha256.Sum256(value)
		return entry{Bytes: len(value), SHA256: hex.EncodeToString(sum[:])}
	}
	shown := text(value)
	return entry{Value: &shown}
}

func describeBucket(b *bolt.Bucket) *bucketContent {
	content := &bucketContent{Sequence: b.Sequence(), Entries: [][]any{}}
	must(b.ForEach(func(k, v []byte) error {
		described := entry{}
		if child := b.Bucket(k); child != nil {
			described.Bucket = describeBucket(child)
		} else {
			described = describeValue(v)
		}
		content.Entries = append(content.Entries, []any{text(k), described})
		return nil
	}))
	return content
}

func describe(db *bolt.DB) (root *bucketContent, id int) {
	must(db.View(func(tx *bolt.Tx) error {
		root, id = describeBucket(tx.Cursor().Bucket()), tx.ID()
		return nil
	}))
	return root, id
}

func child(parent *bolt.Bucket, name string) *bolt.Bucket {
	b, err := parent.CreateBucketIfNotExists([]byte(name))
	must(err)
	return b
}

// pattern returns bytes that differ between lengths and compress well.
func pattern(length int) []byte {
	return bytes.Repeat([]byte(fmt.Sprintf("%07d|", length)), length/8+1)[:length]
}

type step func(root *bolt.Bucket)

type fixture struct {
	name    string
	options bolt.Options
	steps   []step
}

func nested() fixture {
	return fixture{name: "nested", options: bolt.Options{PageSize: 4096}, steps: []step{
		func(root *bolt.Bucket) {
			at := root
			for _, name := range []string{"one", "two", "three", "four", "five"} {
				at = child(at, name)
				must(at.SetSequence(uint64(len(name))))
				must(at.Put([]byte("depth"), []byte(name)))
			}
			must(at.SetSequence(1<<64 - 1))
			child(root, "empty")
			child(child(root, "one"), "empty inside")
			inline := child(child(root, "holder"), "inline")
			for i := 0; i < 20; i++ {
				must(inline.Put([]byte{byte(i*13 + 1)}, []byte{byte(i)}))
			}
			must(inline.Put([]byte("no value"), nil))
			must(inline.SetSequence(77))
		},
		func(root *bolt.Bucket) {
			doomed := child(root, "doomed")
			for i := 0; i < 300; i++ {
				must(doomed.Put([]byte(fmt.Sprintf("key %04d", i)), pattern(40)))
			}
			kept := child(root, "kept")
			for i := 0; i < 400; i++ {
				must(kept.Put([]byte(fmt.Sprintf("key %04d", i)), pattern(i%50)))
			}
		},
		func(root *bolt.Bucket) {
			must(root.DeleteBucket([]byte("doomed")))
			kept := child(root, "kept")
			for i := 0; i < 400; i++ {
				if i%20 != 7 {
					must(kept.Delete([]byte(fmt.Sprintf("key %04d", i))))
				}
			}
		},
		func(root *bolt.Bucket) {
			must(child(root, "kept").Put([]byte("key 0000"), []byte("written last")))
			must(child(root, "holder").DeleteBucket([]byte("inline")))
			child(child(root, "holder"), "afterwards")
		},
	}}
}

func branches() fixture {
	key := func(i int) []byte {
		return []byte(fmt.Sprintf("%03d%s", i*7%200, strings.Repeat("branch", 14)))
	}
	return fixture{name: "branches", options: bolt.Options{PageSize: 1024}, steps: []step{
		func(root *bolt.Bucket) {
			deep := child(root, "deep")
			for i := 0; i < 200; i++ {
				must(deep.Put(key(i), []byte{byte(i)}))
			}
		},
		func(root *bolt.Bucket) {
			deep := child(root, "deep")
			for i := 0; i < 200; i += 3 {
				must(deep.Delete(key(i)))
			}
			many := child(root, "many buckets")
			for i := 0; i < 60; i++ {
				must(child(many, fmt.Sprintf("bucket %02d", i)).Put([]byte("number"), []byte{byte(i)}))
			}
		},
	}}
}

func overflow() fixture {
	return fixture{
		name:    "overflow",
		options: bolt.Options{PageSize: 4096, NoFreelistSync: true},
		steps: []step{
			func(root *bolt.Bucket) {
				values := child(root, "values")
				for _, length := range []int{0, 1, 4000, 4096, 5000, 12288, 20000} {
					must(values.Put([]byte(fmt.Sprintf("%05d bytes", length)), pattern(length)))
				}
				must(values.Put(pattern(9000), []byte("a key over several pages")))
			},
			func(root *bolt.Bucket) {
				must(child(root, "values").Put([]byte("04096 bytes"), pattern(9000)))
			},
		},
	}
}

func largePages() fixture {
	return fixture{name: "large-pages", options: bolt.Options{PageSize: 16384}, steps: []step{
		func(root *bolt.Bucket) {
			plain := child(root, "plain")
			for i := 0; i < 700; i++ {
				must(plain.Put([]byte(fmt.Sprintf("%06d", i*i)), pattern(i%30)))
			}
			inline := child(plain, "inline")
			for i := 0; i < 40; i++ {
				must(inline.Put([]byte(fmt.Sprintf("%02d", i)), pattern(64-i)))
			}
		},
		func(root *bolt.Bucket) {
			must(child(root, "plain").SetSequence(1 << 40))
		},
	}}
}

func generate(directory string, f fixture) {
	path := filepath.Join(directory, f.name+".db")
	must(os.RemoveAll(path))
	db, err := bolt.Open(path, 0o600, &f.options)
	must(err)
	content := fixtureContent{PageSize: f.options.PageSize}
	content.Root, content.TransactionID = describe(db)
	content.Previous = content.Root // the meta pages of a new file lead to the same state
	for _, write := range f.steps {
		content.Previous = content.Root
		must(db.Update(func(tx *bolt.Tx) error {
			write(tx.Cursor().Bucket())
			return nil
		}))
		content.Root, content.TransactionID = describe(db)
	}
	must(db.Close())
	compress(path)
	writeJSON(filepath.Join(directory, f.name+".json"), content)
}

func compress(path string) {
	data, err := os.ReadFile(path)
	must(err)
	must(os.Remove(path))
	var out bytes.Buffer
	writer, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	must(err)
	_, err = writer.Write(data)
	must(err)
	must(writer.Close())
	must(os.WriteFile(path+".gz", out.Bytes(), 0o644))
}

func writeJSON(path string, value any) {
	data, err := json.Marshal(value)
	must(err)
	must(os.WriteFile(path, append(data, '\n'), 0o644))
}

// snapshotContent is one snapshot as containerd itself reads it.
type snapshotContent struct {
	ID      string            `json:"id"`
	Name    string            `json:"name"`
	Parent  string            `json:"parent"`
	Kind    string            `json:"kind"`
	Labels  map[string]string `json:"labels"`
	Created string            `json:"created"`
	Updated string            `json:"updated"`
	Usage   map[string]int64  `json:"usage"`
}

func transaction(ms *storage.MetaStore, writable bool, do func(ctx context.Context)) {
	ctx, tx, err := ms.TransactionContext(context.Background(), writable)
	must(err)
	do(ctx)
	if writable {
		must(tx.Commit())
	} else {
		must(tx.Rollback())
	}
}

func create(ctx context.Context, kind snapshots.Kind, key, parent string, labels map[string]string) {
	_, err := storage.CreateSnapshot(ctx, kind, key, parent, snapshots.WithLabels(labels))
	must(err)
}

func commit(ctx context.Context, key, name string, usage snapshots.Usage) {
	_, err := storage.CommitActive(ctx, key, name, usage)
	must(err)
}

// populate makes enough snapshots for ids of two bytes and for buckets of several pages.
func populate(ms *storage.MetaStore) {
	parent := ""
	for i := 0; i < 140; i++ {
		name := fmt.Sprintf("default/%d/sha256:%x", i, sha256.Sum256([]byte{byte(i)}))
		transaction(ms, true, func(ctx context.Context) {
			create(ctx, snapshots.KindActive, "extract", parent, map[string]string{"dropped": "x"})
			commit(ctx, "extract", name, snapshots.Usage{Inodes: int64(i), Size: 1 << (i % 63)})
			if i%2 == 1 {
				_, _, err := storage.Remove(ctx, name)
				must(err)
			} else if i%10 != 4 {
				parent = name
			}
		})
	}
	transaction(ms, true, func(ctx context.Context) {
		create(ctx, snapshots.KindView, "view", parent, map[string]string{"a": "1", "тест": "ünï"})
		create(ctx, snapshots.KindActive, "work", parent, map[string]string{
			"containerd.io/snapshot.ref": "sha256:abc", "long": strings.Repeat("x", 3000),
		})
		create(ctx, snapshots.KindActive, "ключ 日本", "", nil)
		info := snapshots.Info{Name: "view", Labels: map[string]string{"a": "", "b": "2"}}
		_, err := storage.UpdateInfo(ctx, info, "labels.a", "labels.b")
		must(err)
		create(ctx, snapshots.KindActive, "removed last", "", nil)
		_, _, err = storage.Remove(ctx, "removed last")
		must(err)
	})
}

// fixTimes replaces the clock's times by fixed ones, in zones that need either encoding.
func fixTimes(path string) {
	zones := []*time.Location{
		time.UTC,
		time.FixedZone("east", 5*3600+30*60),
		time.FixedZone("west", -8*3600),
		time.FixedZone("local mean time, version 2", 19*60+32),
		time.FixedZone("negative seconds, version 2", -(4*3600 + 56*60 + 2)),
	}
	db, err := bolt.Open(path, 0o600, nil)
	must(err)
	must(db.Update(func(tx *bolt.Tx) error {
		all := tx.Bucket([]byte("v1")).Bucket([]byte("snapshots"))
		number := 0
		return all.ForEach(func(name, _ []byte) error {
			for i, key := range []string{"createdat", "updatedat"} {
				at := time.Unix(int64(number-3)*86_400_001, int64(number)*987_653+int64(i))
				encoded, err := at.In(zones[number%len(zones)]).MarshalBinary()
				must(err)
				must(all.Bucket(name).Put([]byte(key), encoded))
			}
			number++
			return nil
		})
	}))
	must(db.Close())
}

func describeSnapshots(path string) []snapshotContent {
	ms, err := storage.NewMetaStore(path)
	must(err)
	var all []snapshotContent
	transaction(ms, false, func(ctx context.Context) {
		must(storage.WalkInfo(ctx, func(_ context.Context, info snapshots.Info) error {
			id, _, usage, err := storage.GetInfo(ctx, info.Name)
			must(err)
			if info.Labels == nil {
				info.Labels = map[string]string{}
			}
			all = append(all, snapshotContent{
				ID: id, Name: info.Name, Parent: info.Parent,
				Kind: strings.ToLower(info.Kind.String()), Labels: info.Labels,
				Created: info.Created.UTC().Format(time.RFC3339Nano),
				Updated: info.Updated.UTC().Format(time.RFC3339Nano),
				Usage:   map[string]int64{"inodes": usage.Inodes, "size": usage.Size},
			})
			return nil
		}))
	})
	must(ms.Close())
	return all
}

func generateSnapshots(directory string) {
	path := filepath.Join(directory, "snapshots.db")
	must(os.RemoveAll(path))
	ms, err := storage.NewMetaStore(path)
	must(err)
	populate(ms)
	must(ms.Close())
	fixTimes(path)
	writeJSON(filepath.Join(directory, "snapshots.json"), describeSnapshots(path))
	compress(path)
}

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: generate DIRECTORY")
	}
	empty := fixture{name: "empty", options: bolt.Options{PageSize: 4096}}
	for _, f := range []fixture{empty, nested(), branches(), overflow(), largePages()} {
		generate(os.Args[1], f)
	}
	generateSnapshots(os.Args[1])
}
