"""Without the package that signs, the rest works, and signing says what is missing."""

from __future__ import annotations

import sys

import pytest
from support.proofs import KEY, WholeTree, digests_of

from eventstore import EventStoreError
from eventstore.proofs import VerifierKey, head_text


@pytest.fixture(autouse=True)
def missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cryptography", "cryptography.hazmat.primitives.asymmetric"):
        monkeypatch.setitem(sys.modules, name, None)


def test_proofs_are_checked() -> None:
    WholeTree(digests_of(9)).inclusion(3).check()


def test_verifier_keys_are_read() -> None:
    text = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    assert str(VerifierKey.parse(text)) == text


def test_signing_says_what_to_install() -> None:
    with pytest.raises(EventStoreError, match="install snapledger with its extra `proofs`"):
        head_text(WholeTree(digests_of(9)).head(), KEY)
