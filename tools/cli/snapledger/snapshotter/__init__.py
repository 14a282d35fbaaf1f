"""`snapledger-snapshotter`: a proxy snapshotter for containerd on a metastore.

It serves `containerd.services.snapshots.v1.Snapshots` on a Unix socket. An author of another driver
copies from its parts:

- `strategy`: what a snapshot's directory holds, and how it is mounted: overlay, native;
- `copying`: native's copies; `recorded`: which strategy a root is kept with;
- `directories`: staging, syncing, renaming and removing them; what is on disk;
- `metadata`: the ten operations, each with its order of directory and metadata;
- `repeated`: calls that come again, after their answer was lost;
- `settling`: what a start makes of what a crash left;
- `leftovers`: what goes then, and at a Cleanup;
- `audit`: who asks, as far as containerd says;
- `service`: gRPC, and which error is which code; `proto` has the messages, `streaming` ends idle
  Lists;
- `place`: one driver a root and a socket;
- `serving`: all of it put together; `stopping`: signals;
- `telling`: logs, counts, and the service manager;
- `takeover`: a root of containerd's overlay snapshotter becomes ours, and back; `renaming` gives a
  snapshotter another name in containerd's own metadata; `alone` keeps containerd from the files
  meanwhile, and `replacing` makes theirs;
- `program`: the command.

**Order.** A directory is made under a name of its own (`new-…`), synced, and recorded in the batch
that creates the snapshot; it is renamed to the snapshot's id after the commit. Whatever a crash
leaves, the next start finds the directory of each snapshot: under its id, or under the name in its
batch. A removal is committed before its directory goes. So a directory may be left without a
snapshot, which the next start or Cleanup removes; never the reverse.
"""
