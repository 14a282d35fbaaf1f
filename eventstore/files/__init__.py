"""The only file I/O: the seam to a file system, and the machine's own behind it."""
