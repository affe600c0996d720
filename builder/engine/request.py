"""What a build is asked to do, as plain values: the command line makes one, and so can a program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

from builder.engine.machine import native_platform
from builder.image.annotations import Annotation
from builder.image.mutate import Format
from builder.image.platform import Platform
from builder.image.reference import Reference
from builder.levels import NEWEST, Level
from builder.run.spec import Provision
from builder.values import dataclass, field, replace, representation

if TYPE_CHECKING:
    from builder.engine.bases import PullPolicy
    from builder.engine.services import SecretReader

OutputKind = Literal["docker", "oci", "tar", "local", "registry", "image", "cacheonly"]


IMAGE_OUTPUTS: tuple[OutputKind, ...] = ("registry", "image", "docker", "oci")
"""Outputs that are images: those with a form."""


@dataclass(frozen=True, slots=True)
class CompressionChoice:
    """How layers are compressed; ``force`` asks for it in the base's layers too. ``level`` None is the usual one."""

    kind: Literal["gzip", "gzip-single-member", "zstd", "uncompressed"] = "gzip"
    level: int | None = None
    force: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What an output asks of the image's bytes; None and nothing stand for what the build asks of all of them."""

    image_format: Format | None = None
    compression: CompressionChoice | None = None
    annotations: tuple[Annotation, ...] = ()


@dataclass(frozen=True, slots=True)
class Output:
    """Where an image goes. ``dest`` is a path, or an open stream for ``-``; None for a registry and the store.

    ``unpacked`` asks for an OCI layout as a directory (``tar=false``); ``names`` stand in for the build's tags;
    ``by_digest`` pushes without a tag, ``canonical`` keeps ``NAME@DIGEST`` in the store; ``split`` gives each platform
    a directory of its own (None: where there are several).
    """

    kind: OutputKind
    dest: Path | BinaryIO | None = None
    unpacked: bool = False
    names: tuple[Reference, ...] = ()
    by_digest: bool = False
    canonical: bool = False
    split: bool | None = None
    form: Form = field(default_factory=Form)


@dataclass(frozen=True, slots=True)
class EpochChoice:
    """Where the epoch comes from. ``given`` is ``--source-date-epoch``, ``environment`` SOURCE_DATE_EPOCH."""

    given: str | None = None
    environment: str | None = None
    reproducible: bool = False


@dataclass(frozen=True, slots=True)
class AgentSource:
    """Where an SSH agent is: its ``socket``, or, without one, files of private keys that an agent is started for."""

    socket: Path | None = None
    keys: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CachePlace:
    """Where results are shared: entries of a repository or of a directory, or what an image itself says (inline).

    Entries have tags that begin with ``prefix``: several caches may share a repository.
    """

    kind: Literal["registry", "local", "inline"]
    reference: Reference | None = None
    path: Path | None = None
    prefix: str = "cache"

    @property
    def name(self) -> str:
        """What tells this cache from every other, for people too."""
        if self.path is not None:
            return f"{self.path}"
        if self.reference is None:
            return "inline"
        where = f"{self.reference.registry}/{self.reference.repository}:{self.prefix}"
        return f"{where} (inline)" if self.kind == "inline" else where


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheTarget:
    """Where a build's results are shared. ``everything``: of all stages, not only what the image is made of.

    Inline ones have no place of their own. ``ignore_error``: a failure is a warning.
    """

    place: CachePlace
    everything: bool = False
    ignore_error: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """One build. ``context`` is a directory, a URL or ``-``; ``dockerfile`` a path, ``-`` or None for the default.

    Without ``platforms`` it is for this machine's; ``jobs`` is how much is done at a time, 0: what suits the machine.
    For several ``platforms`` the result is an index of images. ``base_annotations``: say on which base an image is.
    Results are looked up in ``cache_from`` where the store has none, in this order, and shared in ``cache_to``.
    ``hosts`` are (name, address), ``ulimits`` (name, soft, hard), ``shm_size`` is bytes or 0 for the usual; ``allow``
    holds what the Dockerfile may ask for beyond the usual: ``security.insecure``, ``network.host``. ``push_foreign``
    pushes layers that are not for redistribution too. ``fresh_stages`` names stages whose steps are executed whatever
    is recorded. ``level`` is the compatibility level of all that is written.
    """

    context: str
    platforms: tuple[Platform, ...] = field(default_factory=lambda: (native_platform(),))
    build_platform: Platform = field(default_factory=native_platform)
    dockerfile: str | None = None
    tags: tuple[Reference, ...] = ()
    outputs: tuple[Output, ...] = ()
    target: str | None = None
    build_args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: tuple[Annotation, ...] = ()
    base_annotations: bool = True
    contexts: Mapping[str, str] = field(default_factory=dict)
    image_format: Format = "oci"
    compression: CompressionChoice = field(default_factory=CompressionChoice)
    level: Level = NEWEST
    pull: PullPolicy = "auto"
    offline: bool = False
    no_cache: bool = False
    fresh_stages: tuple[str, ...] = ()
    cache_from: tuple[CachePlace, ...] = ()
    cache_to: tuple[CacheTarget, ...] = ()
    ignore_user: bool = False
    network: str = "default"
    isolation: str = "auto"
    snapshotter: str = "auto"
    jobs: int = 0
    push_foreign: bool = False
    timeout: float | None = None
    hosts: tuple[tuple[str, str], ...] = ()
    ulimits: tuple[tuple[str, int, int], ...] = ()
    shm_size: int = 0
    provision: Provision = field(default_factory=Provision)
    allow: frozenset[str] = frozenset()
    ssh: Mapping[str, AgentSource] = field(default_factory=dict)
    epoch: EpochChoice = field(default_factory=EpochChoice)
    secrets: Mapping[str, SecretReader] = field(default_factory=dict, repr=False)
    stdin: BinaryIO | None = None
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __repr__(self) -> str:
        """Show no password of a URL: programs log what they ask for."""
        from builder.plan.copies import without_credentials

        return without_credentials(representation(self))

    @property
    def platform(self) -> Platform:
        """The first platform, for what is asked once for all of them."""
        return self.platforms[0]

    @property
    def several(self) -> bool:
        """Whether the result is an index: for several platforms, or because BUILDKIT_MULTI_PLATFORM asks for one."""
        asked = self.build_args.get("BUILDKIT_MULTI_PLATFORM", "").lower() in ("1", "t", "true")
        return asked or len(self.platforms) > 1


def pushed_names(written: Sequence[Output], tags: Sequence[Reference]) -> list[Reference]:
    """Return the names that are in registries when these outputs have been written; without a tag where none is."""
    return [
        replace(name, tag=None) if one.by_digest else name
        for one in written
        if one.kind == "registry"
        for name in one.names or tags
    ]


def forms_of(request: BuildRequest) -> tuple[Form, ...]:
    """Return the forms in which the image is wanted, the one that is kept and reported first."""
    pushed = [one.form for one in request.outputs if one.kind == "registry"]
    return (*pushed, *(one.form for one in request.outputs if one.kind in IMAGE_OUTPUTS)) or (Form(),)


def reported(request: BuildRequest) -> Form:
    """Return the form of the image that is kept under its tags and whose digest is told: what is pushed first."""
    return forms_of(request)[0]


def compression_of(request: BuildRequest, form: Form) -> CompressionChoice:
    """Return how the layers of an output are compressed."""
    return request.compression if form.compression is None else form.compression
