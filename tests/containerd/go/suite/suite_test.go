// Package suite runs containerd's own snapshotter suite against a proxy snapshotter.
//
// Each of its tests starts the driver that SNAPSHOTTER names, on a root and a socket of its own:
// SNAPSHOTTER ROOT SOCKET, which ends when it gets a SIGTERM.
package suite

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/snapshots"
	"github.com/containerd/containerd/snapshots/proxy"
	"github.com/containerd/containerd/snapshots/testsuite"
	"google.golang.org/grpc"
)

func start(ctx context.Context, root string) (snapshots.Snapshotter, func() error, error) {
	directory, err := os.MkdirTemp("", "sock")
	if err != nil {
		return nil, nil, err
	}
	socket := filepath.Join(directory, "s")
	driver := exec.Command(os.Getenv("SNAPSHOTTER"), root, socket)
	driver.Stderr = os.Stderr
	if err := driver.Start(); err != nil {
		return nil, nil, err
	}
	waiting, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	connection, err := grpc.DialContext(waiting, "unix:"+socket,
		grpc.WithInsecure(), grpc.WithBlock())
	if err != nil {
		return nil, nil, err
	}
	stop := func() error {
		defer os.RemoveAll(directory)
		connection.Close()
		if err := driver.Process.Signal(syscall.SIGTERM); err != nil {
			return err
		}
		killed := time.AfterFunc(20*time.Second, func() { driver.Process.Kill() })
		defer killed.Stop()
		return driver.Wait()
	}
	return proxy.NewSnapshotter(snapshotsapi.NewSnapshotsClient(connection), "snapledger"), stop, nil
}

func TestSnapshotter(t *testing.T) {
	testsuite.SnapshotterSuite(t, os.Getenv("STRATEGY"), start)
}
