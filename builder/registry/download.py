"""Blobs from a registry into a store: streamed, verified, and taken up again where a connection broke."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from builder.image.blobs import BlobStore, BlobWriter
from builder.image.descriptor import Descriptor
from builder.image.digest import DigestMismatchError
from builder.image.reference import Reference
from builder.patterns import pattern
from builder.registry.endpoints import blob_path, pull_scope, short
from builder.registry.errors import RegistryError, TransientRegistryError
from builder.registry.hosts import is_loopback, origin
from builder.registry.retry import RetryPolicy
from builder.registry.session import Call, Session
from builder.values import replace

if TYPE_CHECKING:
    import httpx

_CORRUPT_LIMIT = 2
_PIECE = 1 << 18
_CONTENT_RANGE = pattern(r"bytes ([0-9]{1,18})-", re.ASCII)


def fetch(
    session: Session,
    retry: RetryPolicy,
    reference: Reference,
    descriptor: Descriptor,
    blobs: BlobStore,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Bring a blob into ``blobs``; see ``Registry.fetch_blob``."""
    if blobs.contains(descriptor.digest):
        return
    call = Call(
        action=f"cannot pull blob {short(descriptor.digest)} of {reference.name}",
        method="GET",
        registry=reference.registry,
        repository=reference.repository,
        target=blob_path(reference, descriptor.digest),
        scopes=pull_scope(reference.repository),
    )
    with _Download(session, descriptor, blobs, progress) as download:
        try:
            retry.run(lambda: download.attempt(call), lambda: download.received)
        except RegistryError as error:
            if error.status != 404 or not descriptor.urls:
                raise
            _fetch_foreign(download, call, descriptor, retry)


def _fetch_foreign(download: _Download, call: Call, descriptor: Descriptor, retry: RetryPolicy) -> None:
    """Try the descriptor's own URLs, anonymously; they come from a stranger's manifest, so https or nothing."""
    failed: RegistryError | DigestMismatchError | None = None
    for url in descriptor.urls:
        if not _is_fetchable(url):
            continue
        foreign = Call(
            action=f"cannot fetch foreign layer {short(descriptor.digest)}",
            method="GET",
            registry=urlsplit(url).netloc.rpartition("@")[2],
            repository=call.repository,
            target=url,
            anonymous=True,
        )
        try:
            retry.run(lambda foreign=foreign: download.attempt(foreign), lambda: download.received)  # type: ignore[misc]
        except (RegistryError, DigestMismatchError) as error:
            failed = error
        else:
            return
    if failed is not None:
        raise failed
    raise RegistryError(
        f"{call.action}: {call.registry} does not have it, and none of its own URLs can be used",
        host=call.registry,
        repository=call.repository,
        status=404,
        hint="layers that are not for redistribution are fetched with https, or from this machine",
    )


def _is_fetchable(url: str) -> bool:
    try:
        scheme, host, _ = origin(url)
    except ValueError:
        return False
    return scheme == "https" or is_loopback(f"[{host}]" if ":" in host else host)


class _Download:
    """The state of one blob on its way: what has arrived survives a broken connection."""

    def __init__(
        self,
        session: Session,
        descriptor: Descriptor,
        blobs: BlobStore,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self._session = session
        self._descriptor = descriptor
        self._blobs = blobs
        self._progress = progress
        self._corrupt = 0
        self._writer: BlobWriter | None = None
        self.received = 0

    def __enter__(self) -> _Download:
        return self

    def __exit__(self, *exc: object) -> None:
        self._drop()

    def attempt(self, call: Call) -> None:
        """Fetch what is missing and commit the whole."""
        if self._writer is not None and self.received == self._descriptor.size:
            # It broke after the last byte: there is no range left to ask for.
            self._commit(call, self._writer)
            return
        if self._corrupt:
            # A mirror may have been it.
            call = replace(call, direct=True)
        if self.received:
            call = _with_range(call, self.received)
        with self._session.open(call) as response:
            if response.status_code == 416:
                self._drop()
                raise TransientRegistryError(f"{call.action}: it cannot be resumed", host=call.registry, status=416)
            self._session.expect(call, response, 200, 206)
            writer = self._continue(call, response)
            self._receive(writer, response)
        if self.received < self._descriptor.size:
            raise TransientRegistryError(
                f"{call.action}: it ended after {self.received} of {self._descriptor.size} bytes", host=call.registry
            )
        self._commit(call, writer)

    def _continue(self, call: Call, response: httpx.Response) -> BlobWriter:
        if response.status_code == 206:
            found = _CONTENT_RANGE.match(response.headers.get("content-range", ""))
            if self._writer is None or found is None or int(found[1]) != self.received:
                self._drop()
                raise TransientRegistryError(
                    f"{call.action}: another range was sent than asked for", host=call.registry
                )
            return self._writer
        self._drop()
        self._writer = self._blobs.writer()
        self._writer.__enter__()
        return self._writer

    def _receive(self, writer: BlobWriter, response: httpx.Response) -> None:
        """Take a body in large pieces: each waits for its turn in Python three times, to be read, hashed and written.

        What has come is kept, also if nothing else does.
        """
        waiting: list[bytes] = []
        size = 0
        try:
            for chunk in response.iter_raw():
                waiting.append(chunk)
                size += len(chunk)
                if size >= _PIECE or self.received + size > self._descriptor.size:
                    piece, waiting, size = b"".join(waiting), [], 0
                    self._take(writer, piece)
        finally:
            if waiting:
                self._take(writer, b"".join(waiting))

    def _take(self, writer: BlobWriter, chunk: bytes) -> None:
        self._session.go_on()
        size = self._descriptor.size
        if self.received + len(chunk) > size:
            raise DigestMismatchError(f"blob {self._descriptor.digest} is longer than the {size} bytes it should have")
        writer.write(chunk)
        self.received += len(chunk)
        if self._progress is not None:
            self._progress(self.received, size)

    def _commit(self, call: Call, writer: BlobWriter) -> None:
        try:
            writer.commit(self._descriptor.digest)
        except DigestMismatchError as error:
            self._drop()
            self._corrupt += 1
            if self._corrupt >= _CORRUPT_LIMIT:
                raise
            # Most often a cache or disk between us and the registry: worth a second look, from the start.
            raise TransientRegistryError(f"{call.action}: {error.message}", host=call.registry) from error

    def _drop(self) -> None:
        writer, self._writer, self.received = self._writer, None, 0
        if writer is not None:
            writer.__exit__(None, None, None)


def _with_range(call: Call, start: int) -> Call:
    return replace(call, headers={**call.headers, "Range": f"bytes={start}-"})
