"""The state in files: checkpoints as bases and deltas, and the chains that they make."""
