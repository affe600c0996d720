"""The instruction graph: operations that touch files, the vertices that run them, and the finished plan.

Instructions that only change the config are not here; they have folded into ``Plan.config``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, NewType

from builder.dockerfile.source import Span
from builder.image.config import ContainerConfig, History, ImageConfig
from builder.image.digest import DiffID, Digest
from builder.image.platform import Platform
from builder.values import dataclass, field, replace

VertexID = NewType("VertexID", str)

MAIN_CONTEXT = ""
"""The name of the context that the command line gives; named contexts have the others."""


@dataclass(frozen=True, slots=True)
class ImageSource:
    """An image to start from: ``docker-image://REF``, ``oci-layout://DIR`` or ``docker-archive:FILE``.

    ``named``: a named context of the user's, for which an image built here may answer under its whole name.
    """

    location: str
    platform: Platform
    named: bool = False


@dataclass(frozen=True, slots=True)
class Base:
    """What is known of a resolved image before any layer is fetched."""

    config: ImageConfig
    digest: Digest


@dataclass(frozen=True, slots=True)
class ContextOrigin:
    """Files of a build context."""

    name: str = MAIN_CONTEXT


@dataclass(frozen=True, slots=True)
class StageOrigin:
    """Files of the vertex's source number ``source``."""

    source: int


@dataclass(frozen=True, slots=True)
class NothingOrigin:
    """No files: a mount that starts empty."""


Origin = ContextOrigin | StageOrigin | NothingOrigin


@dataclass(frozen=True, slots=True)
class LocalPath:
    """A path or wildcard in the operation's origin."""

    path: str


@dataclass(frozen=True, slots=True)
class InlineFile:
    """A here-document: a file of mode 0644 whose bytes the Dockerfile holds."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """An http(s) URL of ADD; ``checksum`` is empty or ``sha256:...``."""

    url: str
    checksum: str = ""


@dataclass(frozen=True, slots=True)
class GitTree:
    """A git repository of ADD, with its ``#ref:dir`` fragment or query still in ``url``."""

    url: str
    checksum: str = ""
    keep_git_dir: bool = False


CopySource = LocalPath | InlineFile | RemoteFile | GitTree


@dataclass(frozen=True, slots=True)
class BaseImage:
    """The layers of an image from elsewhere."""

    source: ImageSource
    diff_ids: tuple[DiffID, ...]


@dataclass(frozen=True, slots=True)
class MakeDirectory:
    """``WORKDIR``: create ``path`` and its parents, owned by ``user`` (USER's text, empty for root)."""

    path: str
    user: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyFiles:
    """``COPY`` and ``ADD``. ``dest`` is absolute; its trailing slash says that it is a directory.

    ``cwd`` is where it was seen from, empty for one that was written as an absolute path: no part of what the step is.
    """

    sources: tuple[CopySource, ...]
    origin: Origin
    dest: str
    instruction: Literal["COPY", "ADD"] = "COPY"
    chown: str | None = None
    chmod: str | None = None
    link: bool = False
    parents: bool = False
    exclude: tuple[str, ...] = ()
    unpack: bool | None = None
    cwd: str = field(default="", compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One ``--mount`` of a RUN with resolved values; which fields count depends on ``kind``."""

    kind: Literal["bind", "cache", "tmpfs", "secret", "ssh"]
    target: str
    origin: Origin = ContextOrigin()
    source: str = "/"
    id: str = ""
    readonly: bool = True
    sharing: Literal["shared", "private", "locked"] = "shared"
    mode: int | None = None
    uid: int = 0
    gid: int = 0
    size: int = 0
    required: bool = False
    env: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCommand:
    """``RUN``. ``env`` is all the process gets but HOME, secrets and ``proxies``, which are not part of its identity.

    ``platform`` is its stage's; ``script`` is a here-document with a ``#!`` line, which replaces the command: (name,
    body). ``hosts`` are (name, address), ``ulimits`` (name, soft, hard), ``shm_size`` is bytes or 0 for the usual.
    """

    args: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    cwd: str
    user: str
    platform: Platform
    mounts: tuple[Mount, ...] = ()
    network: str = "default"
    security: str = "sandbox"
    hostname: str = ""
    hosts: tuple[tuple[str, str], ...] = ()
    ulimits: tuple[tuple[str, int, int], ...] = ()
    shm_size: int = 0
    proxies: tuple[tuple[str, str], ...] = ()
    script: tuple[str, bytes] | None = None


Operation = BaseImage | MakeDirectory | CopyFiles | RunCommand


@dataclass(frozen=True, slots=True, kw_only=True)
class Vertex:
    """One operation on the file system of ``parent`` (None: an empty one), reading from ``sources``.

    ``ordinal`` counts the vertices of a stage from 1; ``fresh`` asks for it to be executed whatever is recorded.
    """

    id: VertexID
    operation: Operation
    parent: VertexID | None
    sources: tuple[VertexID, ...]
    name: str
    span: Span | None = None
    stage: str = ""
    ordinal: int = 0
    fresh: bool = False

    @property
    def inputs(self) -> tuple[VertexID, ...]:
        """All vertices that must be complete first."""
        return self.sources if self.parent is None else (self.parent, *self.sources)


def image_below(vertex: Vertex, vertices: Mapping[VertexID, Vertex]) -> BaseImage | None:
    """Return the image from elsewhere that a vertex lies on, whatever is between, None where there is no such."""
    while vertex.parent is not None:
        vertex = vertices[vertex.parent]
    return vertex.operation if isinstance(vertex.operation, BaseImage) else None


def vertex_id(operation: Operation, parent: VertexID | None, sources: tuple[VertexID, ...]) -> VertexID:
    """Return the id of a vertex: equal work is one vertex within a build. Not a cache key."""
    return VertexID(Digest.of(repr((operation, parent, sources)).encode("utf-8", "surrogateescape")).hex)


@dataclass(frozen=True, slots=True)
class Step:
    """A history entry in the making: ``vertex`` is None where only the config changed.

    ``inherited`` entries are the base's own and stay as they are.
    """

    template: History
    vertex: VertexID | None
    inherited: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that a build will do for one platform. ``target`` is None for an image without any layer.

    ``platform`` is what the image is for, as its base says; ``asked`` what the build was asked for.
    """

    vertices: Mapping[VertexID, Vertex]
    target: VertexID | None
    platform: Platform
    asked: Platform
    config: ContainerConfig
    author: str
    base: Base | None
    base_source: ImageSource | None
    steps: tuple[Step, ...]


def merged(plans: Iterable[Plan]) -> dict[VertexID, Vertex]:
    """Return the vertices of all plans, inputs before users: equal work, for whichever platform, is one vertex."""
    found: dict[VertexID, Vertex] = {}
    for plan in plans:
        for key, vertex in plan.vertices.items():
            known = found.setdefault(key, vertex)
            if vertex.fresh and not known.fresh:
                found[key] = replace(known, fresh=True)
    return found
