"""Layers of the store that turn out to be damaged while a build reads them: dropped, and made again by the same build.

What reads a layer's bytes checks them, in the end. Whoever stumbles asks here which layers are to blame; these are
removed with a warning that names the file, and whatever results point to them are misses then: a result is worth
nothing without its layer. The build begins again from the start, where everything else is found (engine.build).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator

from builder.cache.blobs import UnreadableBlobError
from builder.cache.store import Store
from builder.engine.layers import LostLayersError, SharedCacheError, StoreLayer
from builder.engine.packing import known_forms
from builder.errors import CacheError, ImageError
from builder.image.digest import Digest

PATIENCE = 5
"""Times a build begins again for layers that it lost; once will nearly always do."""


class Chances:
    """How often a build begins again: not twice for the same layer."""

    def __init__(self) -> None:
        self._lost: frozenset[Digest] = frozenset()
        self._left = PATIENCE

    def take(self, error: LostLayersError) -> bool:
        """Say whether there is one for what was lost now."""
        self._left -= 1
        fresh = error.digests - self._lost
        self._lost |= fresh
        return bool(fresh) and self._left >= 0


def lost_layers(store: Store, layers: Iterable[StoreLayer]) -> frozenset[Digest]:
    """Read ``layers`` in all their forms, and remove the damaged ones; return those, and those that are gone for good.

    Slow: for when something has failed.
    """
    forms = {one.descriptor.digest: one for one in layers}
    for diff_id in {one.diff_id for one in forms.values()}:
        for form in known_forms(store, diff_id):
            forms.setdefault(form.descriptor.digest, form)
    return frozenset(digest for digest, one in forms.items() if one.damaged() or not one.available())


@contextlib.contextmanager
def healing(store: Store, layers: Callable[[], Iterable[StoreLayer]]) -> Iterator[None]:
    """Look whether damaged layers are to blame for a failure. Raises LostLayersError then, else what failed."""
    try:
        yield
    except SharedCacheError:
        raise
    except LostLayersError as error:
        # Where one has rotted others may have: the build is to begin again once, not once for each.
        raise LostLayersError(lost_layers(store, layers()) | error.digests) from error
    except (ImageError, CacheError, UnreadableBlobError) as error:
        lost = lost_layers(store, layers())
        if lost:
            raise LostLayersError(lost) from error
        raise
