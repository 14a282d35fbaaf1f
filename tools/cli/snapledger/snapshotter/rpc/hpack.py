"""Header blocks of HTTP/2 (RFC 7541): what clients send is decoded; our own are plain.

Ours need no decoder's table, so a block of ours is always the same bytes.
"""

from __future__ import annotations

from collections import deque

from snapledger.snapshotter.rpc.huffman import HuffmanError, decoded

Header = tuple[bytes, bytes]

TABLE_BYTES_MAX = 4096
"""What a client's dynamic table may take; the default, so nothing has to be negotiated."""

LIST_BYTES_MAX = 1 << 16
"""What one block may come to: a few bytes can stand for very many."""

_ENTRY_BYTES = 32
_INTEGER_SHIFT_MAX = 28
_CACHED_MAX = 256

_STATIC: tuple[Header, ...] = (
    (b":authority", b""),
    (b":method", b"GET"),
    (b":method", b"POST"),
    (b":path", b"/"),
    (b":path", b"/index.html"),
    (b":scheme", b"http"),
    (b":scheme", b"https"),
    (b":status", b"200"),
    (b":status", b"204"),
    (b":status", b"206"),
    (b":status", b"304"),
    (b":status", b"400"),
    (b":status", b"404"),
    (b":status", b"500"),
    (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"),
    (b"accept-language", b""),
    (b"accept-ranges", b""),
    (b"accept", b""),
    (b"access-control-allow-origin", b""),
    (b"age", b""),
    (b"allow", b""),
    (b"authorization", b""),
    (b"cache-control", b""),
    (b"content-disposition", b""),
    (b"content-encoding", b""),
    (b"content-language", b""),
    (b"content-length", b""),
    (b"content-location", b""),
    (b"content-range", b""),
    (b"content-type", b""),
    (b"cookie", b""),
    (b"date", b""),
    (b"etag", b""),
    (b"expect", b""),
    (b"expires", b""),
    (b"from", b""),
    (b"host", b""),
    (b"if-match", b""),
    (b"if-modified-since", b""),
    (b"if-none-match", b""),
    (b"if-range", b""),
    (b"if-unmodified-since", b""),
    (b"last-modified", b""),
    (b"link", b""),
    (b"location", b""),
    (b"max-forwards", b""),
    (b"proxy-authenticate", b""),
    (b"proxy-authorization", b""),
    (b"range", b""),
    (b"referer", b""),
    (b"refresh", b""),
    (b"retry-after", b""),
    (b"server", b""),
    (b"set-cookie", b""),
    (b"strict-transport-security", b""),
    (b"transfer-encoding", b""),
    (b"user-agent", b""),
    (b"vary", b""),
    (b"via", b""),
    (b"www-authenticate", b""),
)


class HeaderError(Exception):
    """A block is not what RFC 7541 allows; what follows on the connection can't be read."""


class Decoder:
    """Decodes the blocks of one connection, in their order."""

    def __init__(self) -> None:
        self._table: deque[Header] = deque()
        self._table_bytes = 0
        self._table_bytes_max = TABLE_BYTES_MAX
        # Blocks that only name what the tables hold: they mean the same until a table changes.
        self._cached: dict[bytes, list[Header]] = {}

    def decode(self, block: bytes) -> list[Header]:
        """Return the headers of a block.

        Raises:
            HeaderError: it is no block, or comes to more than `LIST_BYTES_MAX`.
        """
        known = self._cached.get(block)
        if known is not None:
            return known
        try:
            headers, is_stable = self._decoded(block)
        except IndexError:
            raise HeaderError("a header block ends too early") from None
        except HuffmanError as error:
            raise HeaderError(str(error)) from None
        if is_stable and len(self._cached) < _CACHED_MAX:
            self._cached[block] = headers
        return headers

    def _decoded(self, block: bytes) -> tuple[list[Header], bool]:
        headers: list[Header] = []
        position, size, is_stable = 0, 0, True
        while position < len(block):
            first = block[position]
            if first & 0x80:
                index, position = _integer(block, position, 7)
                header = self._at(index)
            elif first & 0x40:
                header, position = self._literal(block, position, 6)
                self._add(header)
                is_stable = False
            elif first & 0x20:
                limit, position = _integer(block, position, 5)
                if headers or limit > TABLE_BYTES_MAX:
                    raise HeaderError("a change of the table's size where there can be none")
                self._resize(limit)
                is_stable = False
                continue
            else:
                header, position = self._literal(block, position, 4)
            size += len(header[0]) + len(header[1]) + _ENTRY_BYTES
            if size > LIST_BYTES_MAX:
                raise HeaderError(f"headers of more than {LIST_BYTES_MAX} bytes")
            headers.append(header)
        return headers, is_stable

    def _literal(self, block: bytes, position: int, bits: int) -> tuple[Header, int]:
        index, position = _integer(block, position, bits)
        if index:
            name = self._at(index)[0]
        else:
            name, position = _text(block, position)
        value, position = _text(block, position)
        return (name, value), position

    def _at(self, index: int) -> Header:
        if 0 < index <= len(_STATIC):
            return _STATIC[index - 1]
        place = index - len(_STATIC) - 1
        if not 0 <= place < len(self._table):
            raise HeaderError(f"no header has the number {index}")
        return self._table[place]

    def _add(self, header: Header) -> None:
        self._table.appendleft(header)
        self._table_bytes += len(header[0]) + len(header[1]) + _ENTRY_BYTES
        self._resize(self._table_bytes_max)

    def _resize(self, limit: int) -> None:
        self._cached.clear()
        self._table_bytes_max = limit
        while self._table_bytes > limit:
            name, value = self._table.pop()
            self._table_bytes -= len(name) + len(value) + _ENTRY_BYTES


def encoded(*headers: Header) -> bytes:
    """Return a block of headers, each spelled out."""
    block = bytearray()
    for name, value in headers:
        block += b"\0" + _spelled(name) + _spelled(value)
    return bytes(block)


def _spelled(text: bytes) -> bytes:
    length = len(text)
    if length < 0x7F:
        return bytes((length,)) + text
    spelled = bytearray(b"\x7f")
    length -= 0x7F
    while length >= 0x80:
        spelled.append(length & 0x7F | 0x80)
        length >>= 7
    spelled.append(length)
    return bytes(spelled) + text


def _integer(block: bytes, position: int, bits: int) -> tuple[int, int]:
    mask = (1 << bits) - 1
    value = block[position] & mask
    position += 1
    if value < mask:
        return value, position
    shift = 0
    while True:
        byte = block[position]
        position += 1
        value += (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, position
        shift += 7
        if shift > _INTEGER_SHIFT_MAX:
            raise HeaderError("a number that is too long")


def _text(block: bytes, position: int) -> tuple[bytes, int]:
    is_huffman = block[position] & 0x80
    length, position = _integer(block, position, 7)
    end = position + length
    if end > len(block):
        raise HeaderError("a header block ends too early")
    text = block[position:end]
    return (decoded(text) if is_huffman else text), end
