"""Layers that go to the registry while they are packed (docs/adr/0013): whose, where to, and what came of it.

Only what the image is made of, and only where one repository gets it in the form in which layers are packed.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from builder.engine.recompress import coding_of
from builder.engine.request import BuildRequest, compression_of
from builder.engine.rights import push_targets
from builder.errors import BuilderError
from builder.events import Reporter
from builder.image.descriptor import Descriptor
from builder.image.digest import Digest
from builder.image.reference import Reference
from builder.registry.together import in_parallel
from builder.rootfs.coding import Coding

if TYPE_CHECKING:
    from builder.registry.client import Registry
    from builder.registry.following import Following

Complete = Callable[[Descriptor], None]
"""Is told what a file turned out to be, once it has all of its bytes."""


class Ahead:
    """Uploads that were begun before the push. Thread-safe; ``close`` cancels those that nobody asked for."""

    def __init__(self, registry: Callable[[], Registry], target: Reference, reporter: Reporter) -> None:
        self._registry = registry
        self._target = target
        self._reporter = reporter
        self._lock = threading.Lock()
        self._complete: dict[Digest, Following] = {}
        self._useless = False

    @contextlib.contextmanager
    def following(self, blob: Path, step: str) -> Iterator[Complete]:
        """Send the file ``blob``, a layer of ``step``, while the block writes it; it tells when that is complete."""
        if self._is_useless():
            yield lambda _: None
            return
        from builder.registry.following import Telling

        telling = Telling(self._reporter, f"layer of {step}")
        upload = self._registry().follow(self._target, blob, telling)
        told = False

        def complete(descriptor: Descriptor) -> None:
            nonlocal told
            upload.complete(descriptor)
            with self._lock:
                told = descriptor.digest not in self._complete
                self._complete.setdefault(descriptor.digest, upload)

        try:
            yield complete
        finally:
            if not told:
                upload.cancel()

    def end(self, target: Reference, digest: Digest) -> bool:
        """Wait for the upload of a layer and return whether the repository of ``target`` has it now.

        Raises InterruptedBuildError.
        """
        if (target.registry, target.repository) != (self._target.registry, self._target.repository):
            return False
        with self._lock:
            upload = self._complete.pop(digest, None)
        if upload is None:
            return False
        try:
            there = upload.commit()
        except BuilderError:
            upload.cancel()
            raise
        self._useless |= upload.failed
        return there

    def _is_useless(self) -> bool:
        """Say whether an upload has failed. Registries differ: where this does not work, no other layer is sent so."""
        with self._lock:
            return self._useless or any(upload.failed for upload in self._complete.values())

    def close(self) -> None:
        """Cancel what is left, all at once: a registry that does not answer is waited for once."""
        with self._lock:
            left = [*self._complete.values()]
            self._complete.clear()
        in_parallel([upload.cancel for upload in left], len(left))


def ahead_of(
    request: BuildRequest, coding: Coding, registry: Callable[[], Registry], reporter: Reporter
) -> Ahead | None:
    """Return where to send the layers of a build while they are packed as ``coding`` says, if at all."""
    pushed = [one for one in request.outputs if one.kind == "registry"]
    targets = push_targets(request)
    if len(targets) != 1 or any(coding_of(compression_of(request, one.form)) != coding for one in pushed):
        return None
    return Ahead(registry, targets[0], reporter)
