"""Policy and retention: checkpoints in the background, and the compaction that follows."""
