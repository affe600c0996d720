"""Builds inside the test's own process, from the engine's request to the tree that other tools would extract."""

from __future__ import annotations

import io
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from builder.cache.store import Store
from builder.engine.build import Environment, Finished, build
from builder.engine.built import BuiltImage
from builder.engine.request import BuildRequest, EpochChoice
from builder.events import Event, VertexCompleted, VertexFailed, Warned
from builder.image.config import ImageConfig
from builder.image.platform import Platform
from builder.image.reference import Reference
from builder.registry.client import Registry
from tests.support.images import clean, host_architecture, inflate
from tests.support.trees import Entry, Tree, tree_of_layers

NATIVE = Platform.parse(f"linux/{host_architecture()}")
Files = Mapping[str, str | bytes | Callable[[Path], object]]


@dataclass
class Recording:
    """Remembers every event."""

    events: list[Event] = field(default_factory=list)

    def emit(self, event: Event) -> None:
        self.events.append(event)

    @property
    def steps(self) -> dict[str, bool]:
        """Finished steps by name: True for a cached one."""
        return {one.name: one.cached for one in self.events if isinstance(one, VertexCompleted)}

    @property
    def executed(self) -> list[str]:
        return [name for name, cached in self.steps.items() if not cached]

    @property
    def warnings(self) -> list[str]:
        return [one.message for one in self.events if isinstance(one, Warned)]

    @property
    def failed(self) -> list[str]:
        return [one.name for one in self.events if isinstance(one, VertexFailed)]


@dataclass(frozen=True)
class Built:
    """A finished build."""

    result: Finished
    seen: Recording

    @property
    def image(self) -> BuiltImage:
        """The only image, or that of the first platform."""
        return self.result.built.images[0]

    @property
    def digest(self) -> str:
        return str(self.result.built.digest)

    @property
    def image_id(self) -> str:
        return str(self.image.image_id)

    @property
    def config(self) -> ImageConfig:
        return ImageConfig.parse(self.image.raw_config)

    @property
    def layers(self) -> list[bytes]:
        found = []
        for layer in self.image.layers:
            with layer.open() as stream:
                found.append(stream.read())
        return found

    @property
    def tree(self) -> Tree:
        """What extracting the image gives, without the root directory."""
        tree = tree_of_layers(self.layers)
        del tree["."]
        return tree

    def text(self, path: str) -> str:
        """Return a file's text, from the topmost layer that has it."""
        for layer in reversed(self.layers):
            with tarfile.open(fileobj=io.BytesIO(inflate(layer))) as archive:
                for member in archive:
                    stream = archive.extractfile(member) if clean(member.name) == path else None
                    if stream is not None:
                        return stream.read().decode()
        raise AssertionError(f"no layer has {path}")

    def shown(self, *fields: str) -> dict[str, str]:
        """Return the tree as short texts, each path's type and the ``fields`` asked for."""
        return {
            path: " ".join([entry.type, *(_show(entry, one) for one in fields)]) for path, entry in self.tree.items()
        }


def _show(entry: Entry, name: str) -> str:
    return f"{entry.mode:o}" if name == "mode" else str(getattr(entry, name))


def no_registry() -> Registry:
    """Stand for a registry that must not be asked."""
    raise AssertionError("a registry was asked")


@dataclass
class Workshop:
    """A store, a context directory, and builds with both; ``second`` is a store that is only read."""

    store: Path
    context: Path
    registry: Callable[[], Registry] = no_registry
    second: Path | None = None

    def put(self, files: Files, below: Path | None = None) -> Path:
        """Write files: text or bytes, or something to do with the path. A name ending in ``/`` makes a directory."""
        root = below or self.context
        for name, what in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if callable(what):
                what(path)
            elif name.endswith("/"):
                path.mkdir(exist_ok=True)
            else:
                path.write_bytes(what.encode() if isinstance(what, str) else what)
        return root

    @contextmanager
    def environment(self, seen: Recording) -> Iterator[Environment]:
        def warn(message: str) -> None:
            seen.emit(Warned(message, "store"))

        with Store.open(self.store, warn=warn, second=self.second) as store:
            yield Environment(store, self.registry, seen, threading.Event())

    def build(self, dockerfile: str | None = None, files: Files | None = None, **options: Any) -> Built:
        """Build ``dockerfile`` on the context; ``options`` are the request's fields, ``tags`` as texts."""
        seen = Recording()
        return Built(self.try_build(seen, dockerfile, files, **options), seen)

    def try_build(
        self, seen: Recording, dockerfile: str | None = None, files: Files | None = None, **options: Any
    ) -> Finished:
        self.context.mkdir(parents=True, exist_ok=True)
        if files:
            self.put(files)
        if dockerfile is not None:
            path = self.context.parent / "Dockerfile.test"
            path.write_text(dockerfile)
            options.setdefault("dockerfile", str(path))
        request: dict[str, Any] = {
            "context": str(self.context),
            "platforms": (options.pop("platform", NATIVE),),
            "build_platform": NATIVE,
            "jobs": 2,
        }
        epoch = options.pop("epoch", None)
        if isinstance(epoch, int):
            epoch = EpochChoice(given=str(epoch))
        if epoch is not None:
            request["epoch"] = epoch
        options["tags"] = tuple(Reference.parse(one) for one in options.get("tags", ()))
        with self.environment(seen) as env:
            return build(BuildRequest(**{**request, **options}), env)


def hash_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every COPY look for its result by content before it packs anything, however many its files are."""
    _take_for_many(monkeypatch, 0, 1 << 60)


def pack_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every COPY of files whose like was never seen read, hash and pack them in one go, however few they are."""
    _take_for_many(monkeypatch, 0, 0)


def _take_for_many(monkeypatch: pytest.MonkeyPatch, count: int, unread: int) -> None:
    for name in ("_FEW", "_SMALL"):
        monkeypatch.setattr(f"builder.engine.sketches.{name}", count)
    for name in ("MANY", "LARGE"):
        monkeypatch.setattr(f"builder.engine.selecting.{name}_UNREAD", unread)
