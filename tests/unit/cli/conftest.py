"""What tests of commands share: a way to call them, and images for several platforms in a registry and a layout."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.artifacts import Held
from tests.support.called import Call, caller
from tests.support.images import file, host_architecture, layer
from tests.support.placing import to_layout, to_registry
from tests.support.registry import TestRegistry

_NUMBERS = itertools.count()
OTHER = "riscv64"
"""An architecture that is not this machine's."""


@pytest.fixture
def call(store_root: Path, capfd: pytest.CaptureFixture[str]) -> Call:
    """Call a command; it has an empty store of its own."""
    assert store_root
    return caller(capfd)


@dataclass(frozen=True)
class Multi:
    """An index with images for this machine and for another, and an attestation; all of it in memory."""

    held: Held
    index: dict[str, Any]
    native: dict[str, Any]
    other: dict[str, Any]


def multi(seed: str = "") -> Multi:
    """Make such an index; another ``seed`` gives other digests."""
    held = Held()
    common = layer(file("common", f"for all {seed}" * 999))
    native, other = (
        held.image(
            tars=(common, layer(file(f"for-{architecture}", seed))),
            platform={"os": "linux", "architecture": architecture},
        )
        for architecture in (host_architecture(), OTHER)
    )
    return Multi(held, held.index([native, held.attestation(native["digest"]), other]), native, other)


@pytest.fixture
def remote(registry: TestRegistry) -> Callable[..., tuple[str, Multi]]:
    """Put such an index into the registry under a name nobody else has; return host/name and the index."""

    def put(seed: str = "", name: str = "") -> tuple[str, Multi]:
        made = multi(seed)
        return to_registry(registry, made.held, made.index, name or f"command/{next(_NUMBERS)}/multi:1"), made

    return put


@pytest.fixture
def layout(tmp_path: Path) -> tuple[Path, Multi]:
    """A layout whose tag ``m`` is such an index, and ``s`` its image for this machine."""
    made = multi("in a layout")
    return to_layout(tmp_path / "layout", made.held, {"m": made.index, "s": made.native}), made


@pytest.fixture
def built(call: Call, tmp_path: Path) -> Callable[..., str]:
    """Build an image of one file under names; return its digest."""

    def build(*names: str, contents: str = "hello", options: tuple[str, ...] = ()) -> str:
        folder = tmp_path / f"context-{next(_NUMBERS)}"
        folder.mkdir()
        (folder / "Dockerfile").write_text("FROM scratch\nCOPY file /file\nLABEL made=here\n")
        (folder / "file").write_text(contents)
        done = call(*(f"--tag={name}" for name in names), *options, folder)
        return "sha256:" + done.lines[0].rpartition("sha256:")[2]

    return build
