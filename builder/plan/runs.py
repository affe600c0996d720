"""RUN: from the instruction to an operation with a final command, environment and mounts (dockerfile.md 1.7)."""

from __future__ import annotations

from builder.dockerfile import instructions as df
from builder.dockerfile.source import DockerfileError
from builder.plan.copies import join_path
from builder.plan.graph import Mount, RunCommand
from builder.plan.metadata import StageState, command_args
from builder.plan.references import Names
from builder.plan.scope import Scope, proxy_environment
from builder.values import replace

_HOSTNAME_ARG = "BUILDKIT_SANDBOX_HOSTNAME"
_NAMESPACE_ARG = "BUILDKIT_CACHE_MOUNT_NS"


def resolve_mount(state: StageState, one: df.Run, flag: df.MountFlag, names: Names, agents: int) -> Mount:
    """Return a mount with final values; its origin is the caller's. Raises DockerfileError.

    ``agents`` is how many mounts of agents the RUN has before this one.
    """
    from builder.dockerfile import mounts as syntax

    try:
        mount = syntax.resolve_mount(flag, state.scope.variables())
    except DockerfileError as error:
        source = names.dockerfile.source
        raise error.located(source, source.find(f"--mount={flag.raw}", one.span)) from error
    cwd = state.config.working_dir or "/"
    target = join_path(cwd, mount.target)
    if mount.kind in ("secret", "ssh") and not mount.target:
        target = "" if mount.kind == "secret" else f"/run/buildkit/ssh_agent.{agents}"
    if target == "/":
        raise names.expand.fail(
            f"the mount's target {mount.target or '.'} is the root directory", one.span, at=f"--mount={flag.raw}"
        )
    resolved = Mount(
        kind=mount.kind,
        target=target,
        source=join_path("/", mount.source),
        id=mount.id or (target if mount.kind == "cache" else ""),
        readonly=mount.read_only,
        sharing=mount.sharing,
        mode=mount.mode,
        uid=mount.uid,
        gid=mount.gid,
        size=mount.size or 0,
        required=mount.required,
        env=mount.env or "",
    )
    namespace = names.options.build_args.get(_NAMESPACE_ARG, "")
    return replace(resolved, id=f"{namespace}/{resolved.id}") if namespace and mount.kind == "cache" else resolved


def run_operation(state: StageState, one: df.Run, mounts: tuple[Mount, ...], names: Names) -> RunCommand:
    """Return what RUN does. Raises DockerfileError for an empty command."""
    script: tuple[str, bytes] | None = None
    if isinstance(one.command, df.Script):
        script = (one.command.name, one.command.body.encode("utf-8", "surrogateescape"))
        args: tuple[str, ...] = (f"/dev/pipes/{one.command.name}",)
    else:
        args = command_args(one.command, state)
    if not args:
        raise names.expand.fail("RUN needs a command: the list is empty", one.span)
    options = names.options
    if one.security == "insecure":
        _entitled("security.insecure", one, names)
    if one.network == "host" and options.network == "none":
        _entitled("network.host", one, names)
    return RunCommand(
        args=args,
        env=state.scope.environment(),
        cwd=state.config.working_dir or "/",
        user=state.config.user,
        platform=state.platform,
        mounts=mounts,
        network=options.network if one.network in (None, "default") else one.network,
        security=one.security or "sandbox",
        hostname=options.build_args.get(_HOSTNAME_ARG, ""),
        hosts=options.hosts,
        ulimits=options.ulimits,
        shm_size=options.shm_size,
        proxies=proxy_environment(options.build_args, state.scope.args),
        script=script,
    )


def _entitled(what: str, one: df.Run, names: Names) -> None:
    if what not in names.options.allow:
        hint = f"if this Dockerfile is to be trusted that far, build with --allow {what}"
        raise names.expand.fail(f"entitlement {what} is not allowed", one.span, hint)


def run_history(operation: RunCommand, scope: Scope) -> str:
    """Return ``RUN |1 A=1 /bin/sh -c make # buildkit``."""
    return " ".join(["RUN", *scope.history_prefix(), *operation.args, "# buildkit"])
