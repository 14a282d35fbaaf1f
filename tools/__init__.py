"""Programs over the library: benchmarks, the certificate, demonstrations."""
