"""Every byte on disk, and only bytes: names, blocks, segments, checkpoints, and the codec."""
