"""From a registry into the store: the name, the documents and every blob, several blobs at a time."""

from __future__ import annotations

import time

from builder.cache.refs import RefRecord
from builder.engine.build import Environment
from builder.events import Warned
from builder.image.artifact import Artifact
from builder.image.manifest import Index
from builder.image.platform import Platform
from builder.image.reference import Reference
from builder.images.locate import from_registry
from builder.images.storing import bring_all, missing_blobs
from builder.values import dataclass


@dataclass(frozen=True, slots=True)
class Pulled:
    """What the registry's name means now, and the image (or index) of it that is in the store.

    ``new`` says whether anything was not here before; ``fetched`` counts bytes.
    """

    reference: Reference
    root: Artifact
    chosen: Artifact
    new: bool
    fetched: int


def pull(env: Environment, reference: Reference, platform: Platform | None, *, explicit: bool = False) -> Pulled:
    """Fetch what ``reference`` means: the image for ``platform``, or with None everything.

    The name is recorded last, when all bytes are there. ``explicit``: warn when a single image is for another platform.
    Raises RegistryError, PlatformNotFoundError, ManifestError, DigestMismatchError, OutputError.
    """
    root = from_registry(reference, env)
    chosen = root
    if platform is not None and isinstance(root.parsed(), Index):
        chosen = root.image(platform).artifact
    elif platform is not None and explicit and (own := root.platform()) not in (None, platform):
        message = f"{reference.familiar} is for {own}, not for {platform}, and the only image of its name"
        env.reporter.emit(Warned(message, "platform"))
    missing = missing_blobs(env, chosen)
    env.store.must_have_room(sum(one.size for one in missing), reference.familiar)
    bring_all(env, chosen, missing)
    before = env.store.refs.get(str(reference), built_here=False)
    env.store.refs.put(RefRecord(str(reference), root.root.bare, int(time.time()), built_here=False))
    new = before is None or before.descriptor.digest != root.digest or bool(missing)
    return Pulled(reference, root, chosen, new, sum(one.size for one in missing))
