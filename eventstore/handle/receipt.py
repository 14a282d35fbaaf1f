"""Receipts: what a commit gives to be kept and checked later."""

from __future__ import annotations

import re
from typing import NamedTuple

from eventstore.arguments import excerpt
from eventstore.errors import ReceiptError

_RECEIPT = re.compile(r"([0-9a-fA-F]{32}):([1-9][0-9]{0,19}):([0-9a-fA-F]{64})")


class Receipt(NamedTuple):
    """Proof of a commit, to be kept and checked later (`EventStore.check_receipt`).

    Attributes:
        store_id: 16 bytes.
        revision: of the batch.
        digest: chain digest of the batch: it binds all of the history up to it.
    """

    store_id: bytes
    revision: int
    digest: bytes

    def __str__(self) -> str:
        return f"{self.store_id.hex()}:{self.revision}:{self.digest.hex()}"

    @classmethod
    def parse(cls, text: str) -> Receipt:
        """Return the receipt that `str` of it gives.

        Raises:
            ValueError: the text is no receipt.
        """
        parts = _RECEIPT.fullmatch(text)
        if parts is None:
            raise ValueError(
                f"not a receipt: {text[:200]!r}; one is STORE-ID:REVISION:DIGEST, which are 32 "
                "hexadecimal digits, a decimal number from 1 on, and 64 hexadecimal digits"
            )
        store_id, revision, digest = parts.groups()
        return cls(bytes.fromhex(store_id), int(revision), bytes.fromhex(digest))


def require_own(receipt: Receipt, store_id: bytes, shown: int) -> None:
    """Refuse a receipt that a store can't have given.

    Args:
        receipt: what somebody shows.
        store_id: of the store.
        shown: the newest revision that its readers are shown.

    Raises:
        ReceiptError: it is of another store, or of a revision that is not there.
    """
    if receipt.store_id != store_id:
        raise ReceiptError("the receipt was given by another store")
    if not isinstance(receipt.revision, int) or not 1 <= receipt.revision <= shown:
        raise ReceiptError(
            f"revision {excerpt(receipt.revision)} is not there: the store is at {shown}"
        )
