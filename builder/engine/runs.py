"""RUN carried out: secrets and cache mounts fetched, the sandbox asked, its layer published."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, assert_never

from builder.engine.layerbuilder import LayerBuilder
from builder.engine.layers import LayerStack, StoreLayer, fetch_all, index_all, stack_id, view_of
from builder.engine.masks import Masking
from builder.engine.packing import following, publish
from builder.engine.services import SECRET_LIMIT, Services
from builder.errors import ContextError, UsageError
from builder.events import Notice, Output
from builder.image.digest import chain_ids
from builder.plan.graph import Mount, RunCommand, StageOrigin, Vertex
from builder.run.spec import (
    SHM_SIZE,
    BindMount,
    CacheMount,
    LayerSource,
    MountSpec,
    PackTarget,
    RunSpec,
    SecretMount,
    SshMount,
    TmpfsMount,
    Ulimit,
)

_Stream = Literal["stdout", "stderr"]


class MissingSecretError(UsageError):
    """A RUN requires a secret that the command line does not give."""


def run_command(
    vertex: Vertex, operation: RunCommand, parent: LayerStack, sources: Sequence[LayerStack], services: Services
) -> StoreLayer | None:
    """Execute a RUN; None when it changed nothing. Raises CommandFailedError, SandboxError and others."""
    _must_be_given(operation, services)
    store = services.store
    blob, toc = store.temporary(".blob"), store.temporary(".toc")
    with contextlib.ExitStack() as held:
        held.callback(blob.unlink, missing_ok=True)
        held.callback(toc.unlink, missing_ok=True)
        # A single one that is unpacked already need not be here.
        fetch_all([*parent, *(layer for stack in sources for layer in stack)], least=2)
        index_all(parent, truly=True)
        spec = _spec(operation, sources, services, held)
        complete = held.enter_context(following(services.ahead, blob, vertex.name))
        heard = held.enter_context(_Heard(vertex.id, services))
        result = services.sandbox.get().run(
            spec,
            layer_sources(parent),
            on_output=heard.take,
            cancel=services.cancel,
            pack_to=PackTarget(blob, toc, services.coding),
        )
        if not result.status.ok:
            raise result.status.failure(vertex.name)
        if result.packed is None:
            return None
        layer = publish(store, result.packed, blob, toc, services.coding)
        complete(layer.descriptor)
        return layer


def layer_sources(stack: LayerStack) -> tuple[LayerSource, ...]:
    """Return a stack as the sandbox unpacks it."""
    return tuple(
        LayerSource(
            diff_id=layer.diff_id,
            chain_id=chain,
            path=layer.path,
            stands_alone=layer.true_toc().stands_alone,
        )
        for layer, chain in zip(stack, chain_ids(layer.diff_id for layer in stack), strict=True)
    )


def _spec(
    operation: RunCommand, sources: Sequence[LayerStack], services: Services, held: contextlib.ExitStack
) -> RunSpec:
    environment = dict(operation.env)
    for name, value in operation.proxies:
        services.masks.add_url(value)
        environment.setdefault(name, value)
    agent = next((mount for mount in operation.mounts if _has_agent(mount, services)), None)
    if agent is not None:
        environment.setdefault("SSH_AUTH_SOCK", agent.target)
    mounts: list[MountSpec] = []
    caches: dict[str, Path] = {}
    for mount in sorted(operation.mounts, key=lambda mount: _locking_order(mount, sources)):
        if mount.kind == "secret":
            mounts += _secret(mount, environment, services)
        else:
            mounts += _mount(mount, sources, services, held, caches)
    return RunSpec(
        args=operation.args,
        env=tuple(environment.items()),
        cwd=operation.cwd,
        user=operation.user,
        mounts=tuple(mounts),
        network=_network(operation.network),
        insecure=operation.security == "insecure",
        hostname=operation.hostname or "buildkitsandbox",
        hosts=operation.hosts,
        ulimits=tuple(Ulimit(*one) for one in operation.ulimits),
        shm_size=operation.shm_size or SHM_SIZE,
        provision=services.provision,
        timeout=services.timeout,
        epoch=services.times.epoch,
        scripts=(operation.script,) if operation.script else (),
    )


def _locking_order(mount: Mount, sources: Sequence[LayerStack]) -> tuple[bool, str, str]:
    """Put cache mounts first and in one order, so that two steps that lock the same ones never wait for each other."""
    cache = mount.kind == "cache"
    return (not cache, _identity(mount, sources) if cache else "", mount.sharing)


def _identity(mount: Mount, sources: Sequence[LayerStack]) -> str:
    """Return what makes one cache another than the next: also the files it started with."""
    identity = f"{mount.id}/{mount.uid}/{mount.gid}/{mount.mode}"
    if isinstance(mount.origin, StageOrigin):
        seed = sources[mount.origin.source]
        identity += f"/{stack_id(seed) if seed else 'nothing'}"
    return identity


def _network(network: str) -> Literal["host", "none"]:
    return "none" if network == "none" else "host"


def _mount(
    mount: Mount,
    sources: Sequence[LayerStack],
    services: Services,
    held: contextlib.ExitStack,
    caches: dict[str, Path],
) -> list[MountSpec]:
    match mount.kind:
        case "bind":
            if not isinstance(mount.origin, StageOrigin):
                return [TmpfsMount(target=mount.target)]
            shown = sources[mount.origin.source]
            _must_have(shown, mount.source)
            stack = layer_sources(shown)
            return [
                BindMount(target=mount.target, stack=stack, subpath=mount.source.strip("/"), readonly=mount.readonly)
            ]
        case "cache":
            return [_cache(mount, sources, services, held, caches)]
        case "tmpfs":
            return [TmpfsMount(target=mount.target, size=mount.size or None)]
        case "ssh":
            return _ssh(mount, services, held)
        case "secret":
            return []
        case _:
            assert_never(mount.kind)


def _cache(
    mount: Mount,
    sources: Sequence[LayerStack],
    services: Services,
    held: contextlib.ExitStack,
    caches: dict[str, Path],
) -> CacheMount:
    seeded = isinstance(mount.origin, StageOrigin)
    # At most one layer: planning has made what it starts with a tree of its own.
    seed = sources[mount.origin.source] if isinstance(mount.origin, StageOrigin) else ()
    identity = f"{services.sandbox.get().view}/{_identity(mount, sources)}"
    if identity not in caches:
        # In a chroot the directory itself is lent to one step at a time.
        alone = mount.sharing == "shared" and services.sandbox.get().mode == "chroot"
        sharing = "locked" if alone else mount.sharing
        # Once for all mounts of this step: it would wait for itself.
        caches[identity] = held.enter_context(
            services.store.acquire_mount(
                identity, sharing, cancel=services.cancel, waiting=lambda: _say_waiting(mount, services)
            )
        )
    return CacheMount(
        target=mount.target,
        source=caches[identity],
        seed=layer_sources(seed)[-1] if seed else None,
        subpath="" if seeded else mount.source.strip("/"),
        mode=0o755 if mount.mode is None else mount.mode,
        uid=mount.uid,
        gid=mount.gid,
        readonly=mount.readonly,
    )


def _ssh(mount: Mount, services: Services, held: contextlib.ExitStack) -> list[MountSpec]:
    if services.agents is None or mount.id not in services.agents:
        return []
    place = held.enter_context(services.agents.socket(mount.id))
    mode = 0o600 if mount.mode is None else mount.mode
    return [SshMount(target=mount.target, source=place, mode=mode, uid=mount.uid, gid=mount.gid)]


def _must_be_given(operation: RunCommand, services: Services) -> None:
    """Raise MissingSecretError for what a step requires and the command line does not give, before any other work."""
    for mount in operation.mounts:
        if mount.kind == "secret" and mount.required and mount.id not in services.secrets:
            raise MissingSecretError(f"secret {mount.id}: not found", hint=f"pass --secret id={mount.id},src=FILE")
        if mount.kind == "ssh" and mount.required and not _has_agent(mount, services):
            hint = "pass --ssh default" if mount.id == "default" else f"pass --ssh {mount.id}=SOCKET"
            raise MissingSecretError(f"SSH agent {mount.id}: not found", hint=hint)


def _has_agent(mount: Mount, services: Services) -> bool:
    return mount.kind == "ssh" and services.agents is not None and mount.id in services.agents


def _say_waiting(mount: Mount, services: Services) -> None:
    services.reporter.emit(Notice(f"another step uses the cache mount {mount.id}; waiting for it to end"))


def _must_have(stack: LayerStack, path: str) -> None:
    tree = LayerBuilder(view_of(stack), mtime=0)
    if tree.lookup(tree.resolve(path)) is None:
        raise ContextError(f'"{path}": not found', hint="check source= and from= of the mount")


def _secret(mount: Mount, environment: dict[str, str], services: Services) -> list[MountSpec]:
    reader = services.secrets.get(mount.id)
    if reader is None:
        if mount.env:
            environment[mount.env] = ""
        return []
    data = reader()
    services.masks.add(data)
    if len(data) > SECRET_LIMIT:
        raise UsageError(f"secret {mount.id} is larger than {SECRET_LIMIT >> 10} KiB")
    if mount.env and b"\0" in data:
        raise UsageError(
            f"secret {mount.id}: it holds a NUL byte, which no variable can", hint="mount it as a file, with target="
        )
    if mount.env:
        environment[mount.env] = data.decode("utf-8", "surrogateescape")
    if not mount.target:
        return []
    mode = 0o400 if mount.mode is None else mount.mode
    return [SecretMount(target=mount.target, data=data, mode=mode, uid=mount.uid, gid=mount.gid)]


class _Heard:
    """The two streams of one step on their way to who listens: without the values of secrets, however they are cut.

    At the end of the block comes what was kept back.
    """

    def __init__(self, vertex: str, services: Services) -> None:
        self._vertex = vertex
        self._services = services
        self._streams: dict[_Stream, Masking] = {}

    def __enter__(self) -> _Heard:
        return self

    def __exit__(self, *_: object) -> None:
        for stream, masking in self._streams.items():
            self._emit(stream, masking.end())

    def take(self, stream: _Stream, data: bytes) -> None:
        """Pass on a piece of output."""
        masking = self._streams.get(stream)
        if masking is None:
            masking = self._streams[stream] = Masking(self._services.masks)
        self._emit(stream, masking.take(data))

    def _emit(self, stream: _Stream, data: bytes) -> None:
        if data:
            self._services.reporter.emit(Output(self._vertex, stream, data))
