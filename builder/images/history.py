"""How an image came to be, step by step, with what each step added: ``docker history``'s rows.

Docker counts the bytes of the files in a layer. That is known where a table of contents is in the store, and otherwise
only by reading the layer, which may have to be fetched first; the size it is stored with is known always.
"""

from __future__ import annotations

from collections.abc import Iterator

from builder.engine.build import Environment
from builder.errors import CacheError
from builder.image.artifact import ContentLayer, Image
from builder.image.config import History
from builder.image.digest import DiffID, Digest
from builder.image.mutate import repaired_history
from builder.rootfs.compression import decompress
from builder.rootfs.entry import Kind
from builder.rootfs.tarreader import read_members
from builder.rootfs.toc import Toc
from builder.values import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """An entry of the history. ``stored`` is the layer's size as it is kept and sent, ``size`` that of the files in it.

    Steps without a layer have 0 for both; ``size`` is None where it is not known.
    """

    history: History
    layer: Digest | None
    stored: int
    size: int | None


def steps(image: Image, env: Environment, *, read: bool) -> Iterator[Step]:
    """Yield an image's steps, the newest first; ``read`` reads the layers whose sizes are not known.

    Raises what opening layers raises, LayerFormatError.
    """
    layers = list(image.layers)
    for entry in reversed(repaired_history(image.config.history, len(layers))):
        if entry.empty_layer:
            yield Step(entry, None, 0, 0)
            continue
        layer = layers.pop()
        size = _known_size(layer.diff_id, env)
        if size is None and read:
            size = _read_size(layer)
        yield Step(entry, layer.descriptor.digest, layer.descriptor.size, size)


def _known_size(diff_id: DiffID, env: Environment) -> int | None:
    try:
        toc = Toc.open(env.store.toc_path(diff_id))
        return sum(member.entry.size for member in toc.subtree("") if member.entry.kind is Kind.FILE)
    except CacheError:
        return None


def _read_size(layer: ContentLayer) -> int:
    with layer.open() as stream:
        return sum(
            member.entry.size for member, _ in read_members(decompress(stream)) if member.entry.kind is Kind.FILE
        )
