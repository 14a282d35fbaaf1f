"""Signed notes and their keys: the public examples, and what is no note."""

from __future__ import annotations

import pytest
from support.proofs import KEY, OTHER_KEY

from eventstore import ProofError
from eventstore.proofs import SigningKey, VerifierKey, open_note, sign_note

# The examples of Go's golang.org/x/mod/sumdb/note.
TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
NEUMANN = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
NEUMANN_VERIFIER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
NEUMANN_LINE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6"
    "KE6RyyBwJnAM=\n"
)
ENOCH_LINE = (
    "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33W"
    "Wd1RvMc+QQ=\n"
)


def test_the_public_examples_are_made_and_opened() -> None:
    neumann = SigningKey.parse(NEUMANN)
    enoch = SigningKey("EnochRoot", bytes(32))
    assert str(neumann) == NEUMANN
    assert str(neumann.verifier_key) == NEUMANN_VERIFIER
    note = sign_note(TEXT, neumann, enoch)
    assert note.decode() == TEXT + "\n" + NEUMANN_LINE + ENOCH_LINE
    assert open_note(note, [VerifierKey.parse(NEUMANN_VERIFIER)]) == TEXT
    assert open_note(note, [enoch.verifier_key]) == TEXT


def test_a_note_of_unknown_keys_only_is_refused() -> None:
    note = sign_note(TEXT, KEY)
    with pytest.raises(ProofError, match=r"not signed by the key of example\.com/node-7"):
        open_note(note, [OTHER_KEY.verifier_key])
    with pytest.raises(ProofError, match="not signed by the key of any known key"):
        open_note(note, [])


def test_a_known_keys_bad_signature_refuses_the_note_whoever_else_has_signed() -> None:
    good, other = sign_note(TEXT, KEY), sign_note("another text\n", SigningKey.parse(NEUMANN))
    line = other.decode().split("\n\n")[1]
    keys = [KEY.verifier_key, VerifierKey.parse(NEUMANN_VERIFIER)]
    with pytest.raises(ProofError, match="the signature of PeterNeumann does not hold"):
        open_note(good + line.encode(), keys)
    assert open_note(good + line.encode(), [KEY.verifier_key]) == TEXT


def test_a_text_may_hold_empty_lines() -> None:
    text = "one\n\n\ntwo\n\n"
    assert open_note(sign_note(text, KEY), [KEY.verifier_key]) == text


@pytest.mark.parametrize(
    "note",
    [
        b"",
        b"text\n",
        b"text\n\n",
        b"text\n\nno dash\n",
        "text\n\n— name\n".encode(),
        "text\n\n— na+me AAAAAAA=\n".encode(),
        "text\n\n— name AAAA\n".encode(),
        "text\n\n— name AAAAAAA\n".encode(),
        "text\n\n— name AAAAAAB=\n".encode(),
        "text\n\n— name AAAAAAAA".encode(),
        "te\txt\n\n— name AAAAAAAA\n".encode(),
        b"te\xffxt\n\n" + "— name AAAAAAAA\n".encode(),
        b"text\n\n" + "— name AAAAAAAA\n".encode() * 101,
        b"t" * 70_000 + "\n\n— name AAAAAAAA\n".encode(),
    ],
)
def test_what_is_no_note_is_refused(note: bytes) -> None:
    with pytest.raises(ProofError):
        open_note(note, [KEY.verifier_key])


def test_a_note_with_the_line_ends_of_windows_is_told_so() -> None:
    note = sign_note(TEXT, KEY).replace(b"\n", b"\r\n")
    with pytest.raises(ProofError, match="carriage returns"):
        open_note(note, [KEY.verifier_key])


@pytest.mark.parametrize("text", ["", "no end", "a\rb\n", "a\x00\n"])
def test_what_is_no_text_of_a_note_is_not_signed(text: str) -> None:
    with pytest.raises(ValueError, match="a note's text"):
        sign_note(text, KEY)


def test_a_note_without_a_key_is_not_made() -> None:
    with pytest.raises(ValueError, match="at least one key"):
        sign_note(TEXT)


def test_every_flip_in_a_verifier_key_is_refused() -> None:
    text = str(KEY.verifier_key).encode()
    for at in range(len(text)):
        for bit in range(8):
            changed = bytearray(text)
            changed[at] ^= 1 << bit
            with pytest.raises(ProofError):
                VerifierKey.parse(changed.decode("latin-1"))


def test_every_flip_in_a_signing_key_is_refused_without_showing_it() -> None:
    text = str(KEY).encode()
    secret = text.decode().rpartition("+")[2]
    for at in range(len(text)):
        changed = bytearray(text)
        changed[at] ^= 1
        with pytest.raises(ProofError) as refused:
            SigningKey.parse(changed.decode("latin-1"))
        assert secret[8:20] not in str(refused.value)


def test_a_signing_key_is_not_shown_by_accident() -> None:
    assert str(KEY.seed) not in repr(KEY)
    assert KEY.seed.hex() not in repr(KEY)


def test_new_keys_differ_and_parse_again() -> None:
    first, second = SigningKey.generate("a/b"), SigningKey.generate("a/b")
    assert first != second
    assert SigningKey.parse(str(first)) == first
    assert VerifierKey.parse(str(first.verifier_key)) == first.verifier_key


@pytest.mark.parametrize(
    "name", ["", "a b", "a+b", "a\u00a0b", "a\nb", "\x01", "\ud800", "x" * 257]
)
def test_a_name_that_no_key_may_have_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="can't name a key"):
        SigningKey.generate(name)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name",
        "name+00000000",
        NEUMANN_VERIFIER.replace("c74f20a3", "C74F20A3"),
        NEUMANN_VERIFIER.replace("c74f20a3", "c74f20a4"),
        NEUMANN_VERIFIER + "=",
        NEUMANN_VERIFIER + "\n",
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10T=",
        "PeterNeumann+c74f20a3+BBpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        NEUMANN,
    ],
)
def test_what_is_no_verifier_key_is_refused(text: str) -> None:
    with pytest.raises(ProofError):
        VerifierKey.parse(text)
