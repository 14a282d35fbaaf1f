"""Programs over the library: the command line, benchmarks, demonstrations."""
