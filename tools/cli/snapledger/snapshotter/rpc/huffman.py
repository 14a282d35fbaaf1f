"""The Huffman code of HPACK (RFC 7541, appendix B), which headers come in."""

from __future__ import annotations

_END = 256
"""The symbol that ends a text; nobody may send it."""

# fmt: off
_CODE_BITS = (
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30,
    28, 28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5,
    7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22,
    22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23,
    22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22,
    21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26,
    26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20,
    24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27,
    27, 28, 27, 27, 27, 27, 27, 26, 30,
)
# fmt: on
"""How long the code of each symbol is. The code is canonical, so that says it all."""

_BYTE_BITS = 8


class HuffmanError(Exception):
    """These bytes are no text in the code."""


def _symbols() -> dict[int, int]:
    """Return the symbol of each code, which is written with a one before its first bit."""
    symbols = {}
    code, bits = 0, 0
    for symbol in sorted(range(len(_CODE_BITS)), key=lambda each: (_CODE_BITS[each], each)):
        code <<= _CODE_BITS[symbol] - bits
        bits = _CODE_BITS[symbol]
        symbols[1 << bits | code] = symbol
        code += 1
    return symbols


_SYMBOLS = _symbols()


def decoded(data: bytes) -> bytes:
    """Return the text that bytes stand for. O(bits).

    Raises:
        HuffmanError: they end within a symbol, are padded with other bits than the first of the
            end symbol, or with too many, or hold that symbol itself.
    """
    text = bytearray()
    code = 1
    for byte in data:
        for shift in range(_BYTE_BITS - 1, -1, -1):
            code = code << 1 | (byte >> shift & 1)
            symbol = _SYMBOLS.get(code)
            if symbol is None:
                continue
            if symbol == _END:
                raise HuffmanError("the end symbol is in the text")
            text.append(symbol)
            code = 1
    padding = code.bit_length() - 1
    if padding >= _BYTE_BITS or code != (2 << padding) - 1:
        raise HuffmanError("the text ends within a symbol")
    return bytes(text)
