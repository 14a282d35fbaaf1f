// Overlayd serves containerd's own overlay snapshotter on a Unix socket: overlayd ROOT SOCKET [async].
package main

import (
	"log"
	"net"
	"os"
	"os/signal"
	"syscall"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/contrib/snapshotservice"
	"github.com/containerd/containerd/snapshots/overlay"
	"google.golang.org/grpc"
)

func main() {
	var options []overlay.Opt
	if len(os.Args) > 3 && os.Args[3] == "async" {
		options = append(options, overlay.AsynchronousRemove)
	}
	snapshotter, err := overlay.NewSnapshotter(os.Args[1], options...)
	if err != nil {
		log.Fatal(err)
	}
	os.Remove(os.Args[2])
	listener, err := net.Listen("unix", os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer()
	snapshotsapi.RegisterSnapshotsServer(server, snapshotservice.FromSnapshotter(snapshotter))
	stopped := make(chan os.Signal, 1)
	signal.Notify(stopped, syscall.SIGTERM)
	go func() {
		<-stopped
		server.GracefulStop()
	}()
	if err := server.Serve(listener); err != nil {
		log.Fatal(err)
	}
	if err := snapshotter.Close(); err != nil {
		log.Fatal(err)
	}
}
