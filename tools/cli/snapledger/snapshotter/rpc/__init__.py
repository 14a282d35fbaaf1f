"""A gRPC server on a Unix socket: as much of HTTP/2 and gRPC as containerd speaks.

gRPC for Python takes four hand-overs between threads for a call, more than all that the driver does
in it. Here a connection has one thread, which reads: it answers what needs no waiting itself, and
hands the rest to a thread that writes the answer itself.

- `huffman`, `hpack`: header blocks (RFC 7541);
- `frames`: what is on the wire, as values (RFC 9113);
- `flow`: how much a peer takes;
- `requests`: streams of frames to whole requests;
- `connection`: the two sides of one connection;
- `status`: gRPC's codes, and its frames around messages;
- `server`: the socket, its connections, and the threads.

Unary requests only, answered by one message or by several. No TLS, no compression, no priorities,
no push; a client that asks for what is not here is refused as the protocols say.
"""
