"""From disk to state: scan, decide, execute, replay."""
