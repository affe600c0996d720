"""A stand-in for RUN that runs nothing: it leaves a file that depends on all that a command can observe.

Whatever part of that a cache key forgets shows in an image as a wrong file. It needs no root and takes no time.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace

import pytest

from builder.engine import build, runs
from builder.engine.layerbuilder import LayerBuilder, NewDirectory
from builder.engine.layers import LayerStack, StoreLayer, stack_id, view_of
from builder.engine.packing import pack_layer
from builder.engine.services import Services
from builder.plan.graph import RunCommand, Vertex
from builder.rootfs.entry import Entry, Kind

_TOKEN = re.compile(r"\bu(\d+)u\b")


def token_in(name: str) -> int | None:
    """Return the number in the last ``u7u`` of a step's text, None where there is none."""
    found = _TOKEN.findall(name)
    return int(found[-1]) if found else None


class NoSandbox:
    """Takes the place of the sandbox, which no step needs then."""

    mode = "root"
    surely_single = False
    ignore_user = False

    def __init__(self, *_args: object, **_options: object) -> None:
        pass

    def get(self) -> NoSandbox:
        return self

    def start_early(self) -> None:
        pass

    def close(self) -> None:
        pass


def observe(
    vertex: Vertex, operation: RunCommand, parent: LayerStack, sources: Sequence[LayerStack], services: Services
) -> StoreLayer:
    """Write the digest of all a command sees to ``/d-u7u/seen``, 7 being its number; 0 without one.

    Where hosts are and what proxies there are is not its business.
    """
    seen = replace(operation, proxies=(), hosts=tuple((name, "") for name, _ in operation.hosts))
    text = hashlib.sha256(repr((seen, stack_id(parent), [stack_id(one) for one in sources])).encode()).hexdigest()
    target = LayerBuilder(view_of(parent), mtime=services.times.fresh())
    place = f"d-u{token_in(vertex.name) or 0}u"
    target.make_directories(place, NewDirectory())
    entry = Entry(path=f"{place}/seen", kind=Kind.FILE, mode=0o644, size=len(text), mtime=services.times.fresh())
    target.add(entry, text.encode())
    return pack_layer(services.store, target.items(), services.coding)


def install(patch: pytest.MonkeyPatch) -> None:
    """Let builds of this process observe instead of running commands."""
    patch.setattr(build, "LazySandbox", NoSandbox)
    patch.setattr(runs, "run_command", observe)
