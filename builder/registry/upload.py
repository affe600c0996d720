"""Blobs into a registry (distribution-spec, "Pushing blobs"): mount; or POST and one PUT; or POST, PATCHes and a PUT.

In pieces only where the registry asks for it, refuses the whole as too large, or the user limits it. An upload that
failed is never gone on with: the registry is first asked whether it has the blob after all, then a new upload begins.
Bytes are opened anew for each, so nothing is kept in memory.
"""

from __future__ import annotations

import contextlib
import io
import re
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, cast
from urllib.parse import quote

from builder.image.descriptor import Descriptor
from builder.image.digest import Digest, copy_verified
from builder.image.reference import Reference
from builder.patterns import pattern
from builder.registry.endpoints import blob_path, delete_scope, pull_scope, push_scope, short
from builder.registry.errors import AuthenticationError, RegistryError, TransientRegistryError
from builder.registry.retry import RetryPolicy
from builder.registry.session import Call, Session
from builder.values import dataclass, field

if TYPE_CHECKING:
    import httpx

    from builder.registry.transport import Body

_SESSION_LOST = frozenset({400, 404, 416})
"""What a PUT is answered with when the upload it belongs to is gone, or its bytes were damaged on the way."""

_REFUSED = 400
_TOO_LARGE = 413
_STEPS = (64 << 20, 8 << 20, 1 << 20)
"""Pieces to try, one after the other, where the whole is too large. Servers' limits are often 100 MB or 1 MiB."""

_ASKED = 32 << 20
"""Bytes of a piece when the registry only says how large it must be at least."""

_NUMBER = pattern(r"[0-9]{1,18}", re.ASCII)
_RANGE = pattern(r"(?:bytes=)?0-([0-9]{1,18})", re.ASCII)


class Pieces:
    """How many bytes a request may carry to each registry: what the user says, and what 413 taught. Thread-safe."""

    def __init__(self, limit: int = 0) -> None:
        """``limit`` counts for every registry, 0 for none."""
        self._limit = limit
        self._learned: dict[str, int] = {}
        self._lock = threading.Lock()

    def limit(self, registry: str) -> int:
        """Return the most bytes of one request, 0 for any number."""
        with self._lock:
            return self._learned.get(registry, self._limit)

    def refused(self, registry: str, size: int) -> bool:
        """Learn that ``size`` bytes are too many; return whether fewer can be tried."""
        smaller = next((step for step in _STEPS if step < size), 0)
        with self._lock:
            known = self._learned.get(registry)
            if smaller and (known is None or smaller < known):
                self._learned[registry] = smaller
        return bool(smaller)


@dataclass(frozen=True, slots=True)
class Begun:
    """An upload the registry has begun: where it goes on, empty for none, and the fewest bytes of a piece."""

    location: str = field(default="", repr=False)
    least: int = 0


def mount_or_begin(
    session: Session, retry: RetryPolicy, reference: Reference, digest: Digest, from_repository: str
) -> Begun | None:
    """Try to mount a blob. Return None when it is there now, otherwise an upload to go on with, or none begun."""
    query = f"?mount={quote(digest, safe=':')}&from={quote(from_repository, safe='/')}"
    call = _begin_call(reference, query, push_scope(reference.repository) | pull_scope(from_repository))

    def attempt() -> Begun | None:
        with session.open(call) as response:
            session.expect(call, response, 201, 202)
            return None if response.status_code == 201 else _begun(session, call, response)

    try:
        return retry.run(attempt)
    except TransientRegistryError as error:
        if error.status < 500:
            raise
        # Registries that cannot mount say so in many ways; one that is down shows it again when the upload begins.
        return Begun()
    except RegistryError:
        # No right to read the other repository, a token server that knows one scope only, a registry without mounts.
        # A real problem shows again when the upload begins.
        return Begun()


def check_rights(session: Session, retry: RetryPolicy, reference: Reference) -> None:
    """Begin an upload and cancel it, which only those can who may push. Raises RegistryError, AuthenticationError."""
    begun = retry.run(lambda: begin(session, reference))
    cancel(session, reference, begun.location)


def cancel(session: Session, reference: Reference, location: str) -> None:
    """Let the registry forget an upload. One that cannot cancel forgets it some day: nothing of that is raised."""
    call = Call(
        action=f"cannot cancel an upload to {reference.name}",
        method="DELETE",
        registry=reference.registry,
        repository=reference.repository,
        target=location,
        # Some want the right to delete for it, in a token of its own: the one for pushing stays good.
        scopes=push_scope(reference.repository) | delete_scope(reference.repository),
    )
    with contextlib.suppress(RegistryError), session.open(call):
        pass


def upload(
    session: Session,
    retry: RetryPolicy,
    reference: Reference,
    descriptor: Descriptor,
    open_blob: Callable[[], BinaryIO],
    progress: Callable[[int, int], None] | None = None,
    begun: Begun | None = None,
    pieces: Pieces | None = None,
) -> None:
    """Upload a blob; ``begun`` is an upload that the registry has already begun.

    Raises RegistryError, AuthenticationError, TransientRegistryError, and what opening and reading the blob raises.
    """
    task = _Upload(session, reference, descriptor, open_blob, progress, begun or Begun(), pieces or Pieces())
    retry.run(task.attempt)


class _Nowhere:
    def write(self, data: bytes, /) -> int:
        return len(data)


class _Upload:
    def __init__(
        self,
        session: Session,
        reference: Reference,
        descriptor: Descriptor,
        open_blob: Callable[[], BinaryIO],
        progress: Callable[[int, int], None] | None,
        begun: Begun,
        pieces: Pieces,
    ) -> None:
        self._session = session
        self._reference = reference
        self._descriptor = descriptor
        self._open_blob = open_blob
        self._progress = progress
        self._begun = begun
        self._pieces = pieces
        self._failed = False

    def attempt(self) -> None:
        """Make the blob be there."""
        while not (self._failed and exists(self._session, self._reference, self._descriptor.digest)):
            begun, self._begun = self._begun, Begun()
            if not begun.location:
                begun = begin(self._session, self._reference)
            size = self._piece(begun)
            try:
                self._send(begun.location, size)
            except AuthenticationError:
                raise
            except RegistryError as error:
                self._failed = True
                if error.status == _TOO_LARGE and self._has_smaller(begun, size):
                    continue
                if error.status == _REFUSED:
                    self._verify()
                raise _as_transient(error) from error
            break
        if self._progress is not None:
            # Not before: what has been sent may still be refused.
            self._progress(self._descriptor.size, self._descriptor.size)

    def _verify(self) -> None:
        """Read the blob again: a registry that found another digest may be right. Raises DigestMismatchError."""
        with self._open_blob() as source:
            blob = self._descriptor
            copy_verified(source, _Nowhere(), blob.digest, blob.size, f"blob {blob.digest}")

    def _has_smaller(self, begun: Begun, size: int) -> bool:
        """Learn that ``size`` bytes were too many; a registry may ask for pieces that something before it refuses."""
        return self._pieces.refused(self._reference.registry, size) and self._piece(begun) < size

    def _piece(self, begun: Begun) -> int:
        """Return how many bytes to send in one request; all of them in most cases."""
        limit = self._pieces.limit(self._reference.registry)
        if begun.least and not limit:
            limit = _ASKED
        return min(self._descriptor.size, max(limit, begun.least)) if limit else self._descriptor.size

    def _send(self, location: str, piece: int) -> None:
        size, start = self._descriptor.size, 0
        while piece < size and start < size:
            location = self._patch(location, start, min(piece, size - start))
            start += piece
        self._put(location, 0 if start else size)

    def _patch(self, location: str, start: int, size: int) -> str:
        """Send a piece and return where the next one goes."""
        action = f"cannot push a part of blob {short(self._descriptor.digest)} to {self._reference.name}"
        report = partial(self._report, start)
        return send_piece(self._session, self._reference, action, location, self._open_blob, start, size, report)

    def _put(self, location: str, size: int) -> None:
        """End an upload, with all bytes or after the last piece."""
        finish(self._session, self._reference, self._descriptor.digest, location, self._body(size))

    def _body(self, size: int) -> Body | bytes:
        from builder.registry.transport import Body

        return Body(size, self._open_blob, partial(self._report, 0)) if size else b""

    def _report(self, start: int, sent: int) -> None:
        self._session.go_on()
        total = self._descriptor.size
        if self._progress is not None and start + sent < total:
            self._progress(start + sent, total)


def send_piece(
    session: Session,
    reference: Reference,
    action: str,
    location: str,
    open_blob: Callable[[], BinaryIO],
    start: int,
    size: int,
    report: Callable[[int], None],
) -> str:
    """Send ``size`` bytes of a blob from ``start`` on, and return where the next ones go.

    ``report`` is told how many have gone, and may raise. Raises RegistryError, TransientRegistryError.
    """
    from builder.registry.transport import Body

    end = start + size - 1
    call = _call(
        action,
        "PATCH",
        reference,
        location,
        headers={"Content-Type": "application/octet-stream", "Content-Range": f"{start}-{end}"},
        body=Body(size, lambda: cast("BinaryIO", _Part(open_blob(), start, size)), report),
        replayable=False,
    )
    with session.open(call) as response:
        session.expect(call, response, 202, 201, 204)
        taken = _RANGE.fullmatch(response.headers.get("range", "").strip())
        if taken is not None and int(taken[1]) != end:
            raise TransientRegistryError(
                f"{call.action}: the registry has {int(taken[1]) + 1} bytes of {end + 1}", host=call.registry
            )
        return session.location(call, response)


def finish(session: Session, reference: Reference, digest: Digest, location: str, body: Body | bytes = b"") -> None:
    """End an upload: make a blob of what has been sent and of ``body``. Raises RegistryError and its like."""
    call = _call(
        f"cannot push blob {short(digest)} to {reference.name}",
        "PUT",
        reference,
        # The location is opaque and may have a query of its own.
        f"{location}{'&' if '?' in location else '?'}digest={quote(digest, safe=':')}",
        headers={"Content-Type": "application/octet-stream"},
        body=body,
        replayable=False,
    )
    with session.open(call) as response:
        session.expect(call, response, 200, 201, 204)


def exists(session: Session, reference: Reference, digest: Digest) -> bool:
    """Ask once whether the repository that is pushed to has a blob. Raises RegistryError and its like."""
    call = _call(
        f"cannot look for blob {short(digest)} in {reference.name}", "HEAD", reference, blob_path(reference, digest)
    )
    with session.open(call) as response:
        session.expect(call, response, 200, 404)
        return response.status_code == 200


def _call(action: str, method: str, reference: Reference, target: str, **fields: object) -> Call:
    return Call(
        action=action,
        method=method,
        registry=reference.registry,
        repository=reference.repository,
        target=target,
        scopes=push_scope(reference.repository),
        **fields,  # type: ignore[arg-type]  # forwarded as they are
    )


class _Part(io.RawIOBase):
    """``size`` bytes of a stream from ``start`` on; closes the stream."""

    def __init__(self, stream: BinaryIO, start: int, size: int) -> None:
        self._stream = stream
        self._left = size
        stream.seek(start)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        return data

    def close(self) -> None:
        self._stream.close()
        super().close()


def _as_transient(error: RegistryError) -> RegistryError:
    """Return an error that is worth a new upload where the old one may only have been lost."""
    if error.retryable or error.status not in _SESSION_LOST:
        return error
    return TransientRegistryError(
        error.message, host=error.host, repository=error.repository, status=error.status, codes=error.codes
    )


def begin(session: Session, reference: Reference) -> Begun:
    """Begin an upload. Raises RegistryError, AuthenticationError, TransientRegistryError."""
    call = _begin_call(reference, "", push_scope(reference.repository))
    with session.open(call) as response:
        session.expect(call, response, 202)
        return _begun(session, call, response)


def _begun(session: Session, call: Call, response: httpx.Response) -> Begun:
    least = response.headers.get("oci-chunk-min-length", "").strip()
    return Begun(session.location(call, response), int(least) if _NUMBER.fullmatch(least) else 0)


def _begin_call(reference: Reference, query: str, scopes: frozenset[str]) -> Call:
    return Call(
        action=f"cannot push to {reference.name}",
        method="POST",
        registry=reference.registry,
        repository=reference.repository,
        target=f"/v2/{reference.repository}/blobs/uploads/{query}",
        scopes=scopes,
    )
