"""Configs and annotations of images changed without a Dockerfile: what ``pybuild mutate`` does.

An edit takes a config and returns the next one. Where nothing changes, the config keeps its bytes, and so the image its
digest. The history does not grow by itself: a mutation makes no layer, and the difference to the image before stays
what was asked for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial

from builder.dockerfile import instructions as df
from builder.dockerfile.parser import parse
from builder.dockerfile.ports import expand_ports
from builder.dockerfile.signals import signal_number
from builder.engine.times import TimePolicy, rfc3339
from builder.errors import UsageError
from builder.image.annotations import Annotation, annotations_for
from builder.image.artifact import Artifact, Image
from builder.image.config import ContainerConfig, History, ImageConfig
from builder.image.manifest import Index
from builder.image.platform import Platform
from builder.images.documents import NewImage, format_of
from builder.images.rewriting import Rewriter, Rewritten
from builder.plan.copies import join_path
from builder.plan.metadata import Expander, StageState, apply_config, set_env, shell_of
from builder.plan.scope import Scope
from builder.values import dataclass, replace

Edit = Callable[[ImageConfig], ImageConfig]

WHOLE = (
    *("entrypoint", "cmd", "user", "workdir", "stop-signal", "healthcheck", "shell", "onbuild"),
    *("env", "labels", "expose", "volumes", "author", "created", "history", "annotations"),
)
"""What ``unset`` takes away as a whole."""

ONE_OF = ("env", "label", "expose", "volume", "annotation")
"""What ``unset`` takes one away of, with ``=NAME``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """What is asked for. Edits are carried out in their order; ``epoch`` is the latest time that is left.

    ``annotations`` are for manifests and indexes, ``forgotten`` ones are taken away first; None are all of them.
    """

    edits: tuple[Edit, ...] = ()
    annotations: tuple[Annotation, ...] = ()
    forgotten: tuple[str, ...] | None = ()
    platform: Platform | None = None
    epoch: int | None = None
    history: str = ""


def mutate(artifact: Artifact, mutation: Mutation) -> Rewritten:
    """Return ``artifact`` with every image in it changed. Raises UsageError for what it cannot have."""
    _check(artifact, mutation)
    times = TimePolicy("keep" if mutation.epoch is None else "clamp", mutation.epoch, 0)

    def change(image: Image) -> NewImage:
        before = image.config
        config = before
        for edit in mutation.edits:
            config = edit(config)
        if mutation.platform is not None:
            config = replace(config, platform=mutation.platform)
        if mutation.history:
            entry = History(created=config.created, created_by=mutation.history, empty_layer=True)
            config = replace(config, history=(*config.history, entry))
        config = _clamped(config, times)
        asked = image.descriptor.platform or before.platform
        annotations = _annotated(image.manifest.annotations, mutation, "manifest", asked)
        return NewImage(
            raw_config=image.raw_config if config == before else config.to_bytes(),
            descriptors=image.manifest.layers,
            diff_ids=before.diff_ids,
            annotations=None if annotations == image.manifest.annotations else annotations,
            platform=mutation.platform,
        )

    annotate = partial(_annotated, mutation=mutation, target="index", platform=None)
    return Rewriter.run(artifact, change, annotate=annotate).of_images()


def _annotated(
    found: Mapping[str, str], mutation: Mutation, target: str, platform: Platform | None
) -> Mapping[str, str]:
    forgotten = mutation.forgotten
    kept = {} if forgotten is None else {key: value for key, value in found.items() if key not in forgotten}
    return {**kept, **annotations_for(mutation.annotations, "index" if target == "index" else "manifest", platform)}


def _clamped(config: ImageConfig, times: TimePolicy) -> ImageConfig:
    if times.epoch is None:
        return config
    history = tuple(replace(one, created=times.no_later(one.created)) if one.created else one for one in config.history)
    return replace(config, history=history, created=times.no_later(config.created) if config.created else "")


def _check(artifact: Artifact, mutation: Mutation) -> None:
    index = isinstance(artifact.parsed(), Index)
    if mutation.annotations and format_of(artifact.root.media_type) == "docker":
        raise UsageError(
            "Docker's image format has no annotations", hint="convert the image with --format oci, or use --label"
        )
    for one in mutation.annotations:
        if one.target not in ("manifest", "index"):
            raise UsageError(f"annotation {one.key}: mutate has no {one.target}", hint="annotate manifest or index")
        if one.target == "index" and not index:
            raise UsageError(f"annotation {one.key} is for an index, and this is one image")
    if mutation.platform is not None and len(list(artifact.images())) > 1:
        raise UsageError("several images cannot all be for one platform", hint="choose one with --platform")


def in_container(change: Callable[[ContainerConfig, ImageConfig], ContainerConfig]) -> Edit:
    """Return the edit that changes how containers run."""
    return lambda config: replace(config, config=change(config.config, config))


def command_of(option: str, text: str) -> Callable[[ImageConfig], tuple[str, ...] | None]:
    """Read a command as Dockerfiles have it: a JSON array, else text for the image's shell; empty is none.

    Raises UsageError.
    """
    if text.lstrip().startswith("["):
        try:
            words = json.loads(text)
        except (ValueError, RecursionError):
            words = None
        if not isinstance(words, list) or not all(isinstance(one, str) for one in words):
            raise UsageError(f'{option} {text}: not a JSON array of strings like ["a", "b"]')
        return lambda _: tuple(words) or None
    return lambda config: (*shell_of(config.config, config.platform), text) if text else None


def set_entrypoint(text: str) -> Edit:
    """As ENTRYPOINT in a Dockerfile: the command that was there is forgotten."""
    command = command_of("--entrypoint", text)
    return in_container(lambda one, config: replace(one, entrypoint=command(config), cmd=None))


def set_cmd(text: str) -> Edit:
    """As CMD."""
    command = command_of("--cmd", text)
    return in_container(lambda one, config: replace(one, cmd=command(config)))


def set_environment(pairs: Mapping[str, str]) -> Edit:
    """Replace variables in their place, add new ones at the end."""
    return in_container(lambda one, _: set_env(one, pairs))


def set_labels(pairs: Mapping[str, str]) -> Edit:
    """Add or replace labels."""
    return in_container(lambda one, _: replace(one, labels={**one.labels, **pairs}))


def set_user(user: str) -> Edit:
    """As USER."""
    return in_container(lambda one, _: replace(one, user=user))


def set_workdir(path: str) -> Edit:
    """As WORKDIR, but no directory is made; a relative path continues the one before."""
    return in_container(lambda one, _: replace(one, working_dir=join_path(one.working_dir, path)))


def expose(texts: Sequence[str]) -> Edit:
    """As EXPOSE. Raises UsageError."""
    try:
        ports = expand_ports(tuple(texts))
    except ValueError as error:
        raise UsageError(f"--expose: {error}", hint="write port, port/udp or first-last/tcp") from error
    return in_container(lambda one, _: replace(one, exposed_ports=tuple(dict.fromkeys((*one.exposed_ports, *ports)))))


def add_volumes(paths: Sequence[str]) -> Edit:
    """As VOLUME. Raises UsageError."""
    if not all(paths):
        raise UsageError("--volume: the path is empty")
    return in_container(lambda one, _: replace(one, volumes=tuple(dict.fromkeys((*one.volumes, *paths)))))


def set_stop_signal(text: str) -> Edit:
    """As STOPSIGNAL. Raises UsageError."""
    try:
        signal_number(text)
    except ValueError as error:
        raise UsageError(f"--stop-signal: {error}", hint="e.g. SIGTERM or 15") from error
    return in_container(lambda one, _: replace(one, stop_signal=text))


def set_author(author: str) -> Edit:
    """Set who made the image."""
    return lambda config: replace(config, author=author)


def set_created(text: str) -> Edit:
    """Set when the image was made: RFC 3339, or unix seconds. Raises UsageError."""
    if re.fullmatch(r"[0-9]{1,12}", text, re.ASCII):
        stamp = rfc3339(int(text))
    else:
        stamp = text
        try:
            aware = datetime.fromisoformat(re.sub(r"\.[0-9]+", "", text, count=1)).tzinfo is not None
        except ValueError:
            aware = False
        if not aware or "T" not in text:
            raise UsageError(f"--created {text}: not a time like 2024-01-31T12:00:00Z, nor unix seconds")
    return lambda config: replace(config, created=stamp)


def instruction(text: str) -> Edit:
    """Return the edit that an instruction of a Dockerfile is, one that makes no layer. Raises DockerfileError."""
    parsed = parse(f"FROM scratch\n{text}\n".encode("utf-8", "surrogateescape"), "--change")
    found = [one for stage in parsed.stages for one in stage.instructions]
    if len(parsed.stages) != 1 or len(found) != 1:
        raise UsageError(f"--change {text}: expected one instruction, and not FROM")
    (one,) = found
    expand = Expander(parsed.source)
    if isinstance(one, df.Run | df.Copy | df.Add | df.Arg):
        raise UsageError(
            f"--change {text}: {one.written.keyword} is not about the config", hint="build it with a Dockerfile"
        )

    def edit(config: ImageConfig) -> ImageConfig:
        scope = Scope().with_env(config.config.environment())
        if isinstance(one, df.Workdir):
            return set_workdir(expand.one(one.path, scope, one.span))(config)
        state = StageState(platform=config.platform, config=config.config, author=config.author, scope=scope)
        after = apply_config(state, one, expand)
        return replace(config, config=after.config, author=after.author)

    return edit


def unset(texts: Iterable[str]) -> tuple[Edit, tuple[str, ...] | None]:
    """Return the edit that takes away what ``texts`` name, and the annotations that go; None for all of them.

    Each is one of WHOLE, or one of ONE_OF with ``=NAME``. Raises UsageError.
    """
    edits: list[Edit] = []
    forgotten: list[str] | None = []
    for text in texts:
        what, equals, name = text.partition("=")
        if what not in (ONE_OF if equals else WHOLE) or (equals and not name):
            raise UsageError(
                f"--unset {text}: there is no such thing to take away",
                hint=f"one of {', '.join(WHOLE)}, or {', '.join(f'{one}=NAME' for one in ONE_OF)}",
            )
        if what == "annotations":
            forgotten = None
        elif what == "annotation":
            forgotten = None if forgotten is None else [*forgotten, name]
        else:
            edits.append(_without(what, name))

    def edit(config: ImageConfig) -> ImageConfig:
        for one in edits:
            config = one(config)
        return config

    return edit, None if forgotten is None else tuple(forgotten)


_EMPTY = ContainerConfig()
_FIELDS = {
    "entrypoint": "entrypoint",
    "cmd": "cmd",
    "user": "user",
    "workdir": "working_dir",
    "stop-signal": "stop_signal",
    "healthcheck": "healthcheck",
    "shell": "shell",
    "onbuild": "onbuild",
    "labels": "labels",
    "volumes": "volumes",
}


def _without(what: str, name: str) -> Edit:
    match what:
        case "author" | "created":
            return lambda config: replace(config, **{what: ""})  # type: ignore[arg-type]  # both are texts
        case "history":
            return lambda config: replace(config, history=())
        case "env":
            return in_container(
                lambda one, _: replace(one, env=tuple(e for e in one.env if name and e.partition("=")[0] != name))
            )
        case "label":
            return in_container(lambda one, _: replace(one, labels={k: v for k, v in one.labels.items() if k != name}))
        case "expose":
            return in_container(
                lambda one, _: replace(
                    one, exposed_ports=tuple(p for p in one.exposed_ports if name and p not in (name, f"{name}/tcp"))
                )
            )
        case "volume":
            return in_container(lambda one, _: replace(one, volumes=tuple(v for v in one.volumes if v != name)))
        case _:
            key = _FIELDS[what]
            return in_container(lambda one, _: replace(one, **{key: getattr(_EMPTY, key)}))
