"""The registry API (OCI distribution-spec, "Endpoints") by reference: manifests and blobs, one method each.

Every answer is checked against its digest and size. Transient failures are retried here; how blobs come and go in
pieces is in ``download`` and ``upload``, what makes up an image in ``repository`` and ``push``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO

from builder.errors import ImageError
from builder.events import Reporter
from builder.image.blobs import BlobStore
from builder.image.descriptor import Descriptor
from builder.image.digest import Digest, DigestMismatchError
from builder.image.manifest import parse_manifest
from builder.image.reference import Reference
from builder.registry.answers import described, is_about_immutability, limited_body
from builder.registry.credentials import CredentialSource, NoCredentials
from builder.registry.endpoints import (
    ACCEPT,
    blob_path,
    delete_scope,
    fallback_tag,
    manifest_path,
    pull_scope,
    push_scope,
    short,
)
from builder.registry.errors import STALLED, UNREACHABLE, AuthenticationError, RegistryError, TransientRegistryError
from builder.registry.referring import note_referrer, subject_of
from builder.registry.retry import RetryPolicy
from builder.registry.session import Call, Session, SessionSettings
from builder.registry.upload import Begun, Pieces, check_rights, upload
from builder.values import replace

if TYPE_CHECKING:
    from pathlib import Path

    from builder.registry.following import Following, Telling

_SCHEMA_1 = frozenset(f"application/vnd.docker.distribution.manifest.v1+{form}" for form in ("json", "prettyjws"))

Progress = Callable[[int, int], None]
"""Is told how many bytes of how many have been moved."""


class Registry:
    """All registries a build talks to. Thread-safe; connects at the first request; ``close`` when done."""

    def __init__(
        self,
        credentials: CredentialSource | None = None,
        settings: SessionSettings | None = None,
        *,
        jobs: int = 4,
        reporter: Reporter | None = None,
        retry: RetryPolicy | None = None,
        cancel: threading.Event | None = None,
        upload_piece: int = 0,
        hasty_seconds: float = 15.0,
    ) -> None:
        """``settings`` say how registries are reached; ``jobs`` bounds parallel transfers.
        Blobs of more than ``upload_piece`` bytes are uploaded in pieces of that size; 0 lets the registry decide.

        ``hasty_seconds`` is how long one that is ``hasty`` waits for an answer.

        Once ``cancel`` is set, every request, transfer and wait ends with InterruptedBuildError.
        """
        cancel = cancel or threading.Event()
        self.session = Session(credentials or NoCredentials(), settings or SessionSettings(), reporter, cancel)
        self.retry = retry or RetryPolicy(sleep=cancel.wait)
        self.jobs = jobs
        self._pieces = Pieces(upload_piece)
        self._hasty_seconds = hasty_seconds
        self._resolved: dict[tuple[str, str, Digest], tuple[bytes, str]] = {}

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self.session.close()

    def hasty(self) -> Registry:
        """Return a client for what can be done without: it gives up soon, for good, and is closed with this one."""
        import copy

        hasty = copy.copy(self)
        hasty.session = self.session.varied(self._hasty_seconds)
        once = frozenset({STALLED, UNREACHABLE})
        hasty.retry = replace(self.retry, attempts=3, budget=15.0, within=30.0, once=once, given_up=[])
        return hasty

    def resigned(self) -> Registry:
        """Return a client for pushing what can be done without: waits as long as any, but in vain only once."""
        import copy

        resigned = copy.copy(self)
        resigned.retry = replace(self.retry, once=frozenset({STALLED}), given_up=[])
        return resigned

    def homes(self, reference: Reference) -> tuple[Reference, ...]:
        """Return the repositories that may hold what was pulled as ``reference``: itself, those of maps and mirrors."""
        at = self.session.routes.candidates(reference.registry, reference.repository, "pull")
        found = [reference, *(replace(reference, registry=one.registry, repository=one.repository) for one in at)]
        return tuple(dict.fromkeys(found))

    def resolve(self, reference: Reference) -> Descriptor:
        """Return what a reference points to now, with one HEAD where the registry answers it in full.

        Raises RegistryError, AuthenticationError, TransientRegistryError, ManifestError.
        """
        call = self._manifest_call("HEAD", reference, reference.digest)

        def attempt() -> Descriptor | None:
            with self.session.open(call) as response:
                if response.status_code == 200:
                    return described(response, reference.digest)
                if response.status_code == 429 or response.status_code >= 500:
                    self.session.expect(call, response, 200)
                return None

        found = self.retry.run(attempt)
        if found is None:
            # No HEAD here, headers missing, or an error without the body that explains it: GET tells more.
            raw, media_type, digest = self.manifest(reference, reference.digest)
            found = Descriptor(media_type=media_type, digest=digest, size=len(raw))
            # Whoever resolves wants it next, and registries count every GET.
            self._resolved[reference.registry, reference.repository, digest] = raw, media_type
        return found

    def manifest(self, reference: Reference, digest: Digest | None = None) -> tuple[bytes, str, Digest]:
        """Return a manifest or index as it is stored, its media type and its digest.

        ``digest`` overrides the reference's tag. Raises ManifestError beyond 4 MiB, DigestMismatchError.
        """
        wanted = digest or reference.digest
        kept = None if wanted is None else self._resolved.pop((reference.registry, reference.repository, wanted), None)
        if kept is not None and wanted is not None:
            return *kept, wanted
        call = self._manifest_call("GET", reference, wanted)
        damaged = False

        def attempt() -> tuple[bytes, str, Digest]:
            nonlocal damaged
            with self.session.open(call) as response:
                self.session.expect(call, response, 200)
                raw = limited_body(response, f"the manifest of {reference}")
                found = Digest.of(raw)
                media_type = response.headers.get("content-type", "").partition(";")[0].strip()
                claimed = wanted or response.headers.get("docker-content-digest", "")
                if media_type in _SCHEMA_1:
                    # Of no use to anybody; and its digest, which leaves its signatures out, would seem wrong.
                    parse_manifest(raw, media_type)
                if claimed.startswith("sha256:") and claimed != found:
                    message = f"the manifest of {reference} has digest {found}, expected {claimed}"
                    if damaged:
                        raise DigestMismatchError(message)
                    # As with blobs, most often something between us and the registry: worth a second look.
                    damaged = True
                    raise TransientRegistryError(message, host=reference.registry, repository=reference.repository)
                return raw, media_type, found

        return self.retry.run(attempt)

    def blob_exists(self, reference: Reference, digest: Digest, *, pushing: bool = False) -> bool:
        """Say whether the repository of ``reference`` has a blob. ``pushing`` asks with the rights of a push."""
        call = Call(
            action=f"cannot look for blob {short(digest)} in {reference.name}",
            method="HEAD",
            registry=reference.registry,
            repository=reference.repository,
            target=blob_path(reference, digest),
            scopes=(push_scope if pushing else pull_scope)(reference.repository),
        )

        def attempt() -> bool:
            with self.session.open(call) as response:
                self.session.expect(call, response, 200, 404)
                return response.status_code == 200

        return self.retry.run(attempt)

    def fetch_blob(
        self, reference: Reference, descriptor: Descriptor, blobs: BlobStore, progress: Progress | None = None
    ) -> None:
        """Bring a blob into ``blobs``, verified; does nothing when it is there.

        A broken transfer goes on where it broke. A blob the registry lacks comes from the descriptor's URLs, if any.
        Raises DigestMismatchError, RegistryError.
        """
        from builder.registry.download import fetch

        fetch(self.session, self.retry, reference, descriptor, blobs, progress)

    def upload(
        self,
        reference: Reference,
        descriptor: Descriptor,
        open_blob: Callable[[], BinaryIO],
        progress: Progress | None = None,
        begun: Begun | None = None,
    ) -> None:
        """Upload a blob that the repository lacks; ``begun`` is an upload that a refused mount left.

        Raises RegistryError, AuthenticationError, TransientRegistryError, and what reading the blob raises.
        """
        upload(self.session, self.retry, reference, descriptor, open_blob, progress, begun, self._pieces)

    def follow(self, reference: Reference, path: Path, telling: Telling) -> Following:
        """Begin to upload a file that is still being written; the caller completes or cancels it."""
        from builder.registry.following import Following

        return Following(self.session, reference, path, self._pieces, telling)

    def check_push(self, reference: Reference) -> None:
        """Return if we may push to the repository of ``reference``; leaves nothing behind.

        Raises AuthenticationError, RegistryError.
        """
        check_rights(self.session, self.retry, reference)

    def tags(self, reference: Reference) -> list[str]:
        """Return the tags of a repository, in the registry's order, all pages. Raises RegistryError."""
        from builder.registry.listing import tags

        return tags(self.session, self.retry, reference)

    def catalog(self, registry: str) -> list[str]:
        """Return the repositories of a registry, all pages. Raises RegistryError where it lists none."""
        from builder.registry.listing import catalog

        return catalog(self.session, self.retry, registry)

    def referrers(self, reference: Reference, digest: Digest, artifact_type: str = "") -> tuple[Descriptor, ...]:
        """Return what refers to the manifest ``digest``: signatures, SBOMs and other artifacts, of a type or all.

        Their own type is ``extra["artifactType"]``. Raises RegistryError, ManifestError.
        """
        from builder.registry.listing import referrers

        def fallback() -> bytes:
            return self.manifest(Reference(reference.registry, reference.repository, fallback_tag(digest)))[0]

        return referrers(self.session, self.retry, reference, digest, artifact_type, fallback)

    def delete_manifest(self, reference: Reference, digest: Digest | None = None) -> None:
        """Delete a manifest by digest, with all its tags; by tag, only that, where the registry can.

        ``digest`` overrides the reference's tag. Raises RegistryError, also for one that is not there.
        """
        wanted = digest or reference.digest
        call = Call(
            action=f"cannot delete {reference}",
            method="DELETE",
            registry=reference.registry,
            repository=reference.repository,
            target=manifest_path(reference, wanted or reference.tag or "latest"),
            scopes=delete_scope(reference.repository),
        )
        failed: list[RegistryError] = []

        def attempt() -> None:
            with self.session.open(call) as response:
                if response.status_code == 404 and failed:
                    # Gone since the first try, whose answer was lost.
                    return
                self.session.expect(call, response, 200, 202, 204)

        def recorded() -> None:
            try:
                attempt()
            except RegistryError as error:
                failed.append(error)
                raise

        try:
            self.retry.run(recorded)
        except RegistryError as error:
            if error.status in (400, 405) and wanted is None:
                error.hint = "this registry may delete by digest only, which takes all tags of the image along"
            elif error.status == 405:
                error.hint = "this registry does not let anybody delete"
            raise

    def put_manifest(self, reference: Reference, target: str, raw: bytes, media_type: str) -> None:
        """Store a manifest or index under ``target``, a tag or a digest; its blobs must be there.

        What it is about is noted where the registry does not do so. Raises RegistryError, AuthenticationError.
        """
        digest = Digest.of(raw)
        call = Call(
            action=f"cannot push the manifest of {reference.name}{'@' if target == digest else ':'}{target}",
            method="PUT",
            registry=reference.registry,
            repository=reference.repository,
            target=manifest_path(reference, target),
            scopes=push_scope(reference.repository),
            headers={"Content-Type": media_type},
            body=raw,
        )

        def attempt() -> bool:
            try:
                with self.session.open(call) as response:
                    self.session.expect(call, response, 200, 201, 202)
                    stored = response.headers.get("docker-content-digest", "")
                    if stored.startswith("sha256:") and stored != digest:
                        raise TransientRegistryError(
                            f"{call.action}: {reference.registry} stored something else than {digest}",
                            host=reference.registry,
                            repository=reference.repository,
                        )
                    return "oci-subject" in response.headers
            except AuthenticationError:
                raise
            except RegistryError as error:
                # It may have arrived all the same; and an immutable tag refuses even what it already points to.
                there = self._points_to(reference, target)
                if there == digest:
                    return False
                if there is not None and is_about_immutability(error):
                    error.message += f"; the tag {target} points to {there}"
                    error.hint = "tags are immutable in this repository: push under another one"
                raise

        understood = self.retry.run(attempt)
        subject = None if understood else subject_of(raw)
        if subject is not None:
            note_referrer(self, reference, subject, raw)

    def _points_to(self, reference: Reference, target: str) -> Digest | None:
        call = Call(
            action=f"cannot look up {reference.name}:{target}",
            method="HEAD",
            registry=reference.registry,
            repository=reference.repository,
            target=manifest_path(reference, target),
            scopes=push_scope(reference.repository),
            headers={"Accept": ACCEPT},
        )
        try:
            with self.session.open(call) as response:
                if response.status_code == 200:
                    return Digest.parse(response.headers.get("docker-content-digest"))
        except (RegistryError, ImageError):
            pass
        return None

    def _manifest_call(self, method: str, reference: Reference, digest: Digest | None) -> Call:
        target = digest or reference.tag or "latest"
        return Call(
            action=f"cannot pull {reference}",
            method=method,
            registry=reference.registry,
            repository=reference.repository,
            target=manifest_path(reference, target),
            scopes=pull_scope(reference.repository),
            headers={"Accept": ACCEPT},
        )
