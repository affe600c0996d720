"""Digests, chain identities and verified copies."""

from __future__ import annotations

import hashlib
import io

import pytest

from builder.errors import ImageError
from builder.image.digest import EMPTY_CHAIN, DiffID, Digest, DigestMismatchError, chain_id, copy_verified


@pytest.mark.parametrize(
    "value",
    [
        "",
        "sha256:",
        "sha256:" + "a" * 63,
        "sha256:" + "a" * 65,
        "sha256:" + "A" * 64,
        "sha256:" + "g" * 64,
        "sha256:" + "a" * 64 + "\n",
        "SHA256:" + "a" * 64,
        "sha512:" + "a" * 128,
        "a" * 64,
        "sha256:../../../../../../etc/passwd",
        "sha256:" + "\u0661" * 64,
        None,
        7,
        ["sha256:" + "a" * 64],
    ],
)
def test_only_sha256_digests_are_digests(value: object) -> None:
    with pytest.raises(ImageError):
        Digest.parse(value)


def test_digest_of_bytes() -> None:
    digest = Digest.of(b"hello")
    assert digest == "sha256:" + hashlib.sha256(b"hello").hexdigest()
    assert digest.hex == hashlib.sha256(b"hello").hexdigest()
    assert Digest.from_hex(digest.hex) == digest == Digest.parse(str(digest))


def test_chain_ids_follow_the_specification() -> None:
    a, b, c = (DiffID(Digest.of(one)) for one in (b"a", b"b", b"c"))
    second = Digest.of(f"{a} {b}".encode())
    assert chain_id([]) == EMPTY_CHAIN
    assert str(chain_id([a])) == a
    assert chain_id([a, b]) == second
    assert chain_id([a, b, c]) == Digest.of(f"{second} {c}".encode())
    assert chain_id([a, b]) != chain_id([b, a])


@pytest.mark.parametrize(
    ("data", "promised", "size", "problem"),
    [
        (b"abc", b"abc", 3, None),
        (b"", b"", 0, None),
        (b"abcd", b"abc", 3, "is longer than"),
        (b"ab", b"abc", 3, "1 bytes short"),
        (b"abd", b"abc", 3, "expected sha256"),
        (b"a", b"", 0, "is longer than"),
    ],
)
def test_copies_are_verified(data: bytes, promised: bytes, size: int, problem: str | None) -> None:
    target = io.BytesIO()
    if problem is None:
        copy_verified(io.BytesIO(data), target, Digest.of(promised), size, "blob")
        assert target.getvalue() == data
        return
    with pytest.raises(DigestMismatchError, match=problem):
        copy_verified(io.BytesIO(data), target, Digest.of(promised), size, "blob")
    assert len(target.getvalue()) <= size + 1
