"""Blobs into a registry (distribution-spec, "Pushing blobs"): mount, or POST and one PUT.

An upload that failed is never gone on with: the registry is first asked whether it has the blob after all, then a new
upload begins. Bytes are opened anew for each, so nothing is kept in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO
from urllib.parse import quote

from builder.image.descriptor import Descriptor
from builder.image.digest import Digest
from builder.image.reference import Reference
from builder.registry.endpoints import blob_path, pull_scope, push_scope, short
from builder.registry.errors import AuthenticationError, RegistryError, TransientRegistryError
from builder.registry.retry import RetryPolicy
from builder.registry.session import Call, Session

_SESSION_LOST = frozenset({400, 404, 416})
"""What a PUT is answered with when the upload it belongs to is gone, or its bytes were damaged on the way."""


def mount_or_begin(
    session: Session, retry: RetryPolicy, reference: Reference, digest: Digest, from_repository: str
) -> str | None:
    """Try to mount a blob. Return None when it is there now, the URL of an upload to go on with, or "" for neither."""
    query = f"?mount={quote(digest, safe=':')}&from={quote(from_repository, safe='/')}"
    call = _begin_call(reference, query, push_scope(reference.repository) | pull_scope(from_repository))

    def attempt() -> str | None:
        with session.open(call) as response:
            session.expect(call, response, 201, 202)
            return None if response.status_code == 201 else session.location(call, response)

    try:
        return retry.run(attempt)
    except TransientRegistryError:
        raise
    except RegistryError:
        # No right to read the other repository, a token server that knows one scope only, a registry without mounts.
        # A real problem shows again when the upload begins.
        return ""


def upload(
    session: Session,
    retry: RetryPolicy,
    reference: Reference,
    descriptor: Descriptor,
    open_blob: Callable[[], BinaryIO],
    progress: Callable[[int, int], None] | None = None,
    location: str = "",
) -> None:
    """Upload a blob; ``location`` is an upload that the registry has already begun."""
    task = _Upload(session, reference, descriptor, open_blob, progress, location)
    retry.run(task.attempt)


class _Upload:
    def __init__(
        self,
        session: Session,
        reference: Reference,
        descriptor: Descriptor,
        open_blob: Callable[[], BinaryIO],
        progress: Callable[[int, int], None] | None,
        location: str,
    ) -> None:
        self._session = session
        self._reference = reference
        self._descriptor = descriptor
        self._open_blob = open_blob
        self._progress = progress
        self._location = location
        self._failed = False

    def attempt(self) -> None:
        """Make the blob be there."""
        if self._failed and self._exists():
            return
        location, self._location = self._location or self._begin(), ""
        try:
            self._put(location)
        except AuthenticationError:
            raise
        except RegistryError as error:
            self._failed = True
            if error.retryable or error.status not in _SESSION_LOST:
                raise
            raise TransientRegistryError(
                error.message,
                host=error.host,
                repository=error.repository,
                status=error.status,
                codes=error.codes,
            ) from error

    def _begin(self) -> str:
        call = _begin_call(self._reference, "", push_scope(self._reference.repository))
        with self._session.open(call) as response:
            self._session.expect(call, response, 202)
            return self._session.location(call, response)

    def _put(self, location: str) -> None:
        from builder.registry.transport import Body

        digest, size = self._descriptor.digest, self._descriptor.size

        def report(sent: int) -> None:
            self._session.go_on()
            if self._progress is not None:
                self._progress(sent, size)

        call = self._call(
            f"cannot push blob {short(digest)} to {self._reference.name}",
            "PUT",
            # The location is opaque and may have a query of its own.
            f"{location}{'&' if '?' in location else '?'}digest={quote(digest, safe=':')}",
            headers={"Content-Type": "application/octet-stream"},
            body=Body(size, self._open_blob, report),
            replayable=False,
        )
        with self._session.open(call) as response:
            self._session.expect(call, response, 200, 201, 204)

    def _exists(self) -> bool:
        digest = self._descriptor.digest
        call = self._call(
            f"cannot look for blob {short(digest)} in {self._reference.name}",
            "HEAD",
            blob_path(self._reference, digest),
        )
        with self._session.open(call) as response:
            self._session.expect(call, response, 200, 404)
            return response.status_code == 200

    def _call(self, action: str, method: str, target: str, **fields: object) -> Call:
        return Call(
            action=action,
            method=method,
            registry=self._reference.registry,
            repository=self._reference.repository,
            target=target,
            scopes=push_scope(self._reference.repository),
            **fields,  # type: ignore[arg-type]  # forwarded as they are
        )


def _begin_call(reference: Reference, query: str, scopes: frozenset[str]) -> Call:
    return Call(
        action=f"cannot push to {reference.name}",
        method="POST",
        registry=reference.registry,
        repository=reference.repository,
        target=f"/v2/{reference.repository}/blobs/uploads/{query}",
        scopes=scopes,
    )
