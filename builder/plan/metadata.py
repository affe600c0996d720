"""Instructions that only change the config: each takes a stage's state and returns the next one.

What they write to the history is Docker's spelling, so that ``docker history`` and scanners read our images as they
read others. The effects are dockerfile.md 1.6.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from builder.dockerfile import instructions as df
from builder.dockerfile.expansion import evaluate, evaluate_words
from builder.dockerfile.source import DockerfileError, Source, Span
from builder.dockerfile.word import Word
from builder.image.config import ContainerConfig, Healthcheck, History
from builder.image.platform import Platform
from builder.plan.gotext import duration, quote, quote_list, quote_rune
from builder.plan.graph import Base, ImageSource, Step, VertexID
from builder.plan.scope import Scope
from builder.values import dataclass, field, replace

COMMENT = "buildkit.dockerfile.v0"
"""What the history's ``comment`` says; tools use it to tell how ``created_by`` is to be read."""


def shell_of(config: ContainerConfig, platform: Platform) -> tuple[str, ...]:
    """Return the shell of shell-form commands in an image."""
    return config.shell or (("cmd", "/S", "/C") if platform.os == "windows" else ("/bin/sh", "-c"))


@dataclass(frozen=True, slots=True, kw_only=True)
class StageState:
    """A stage after some of its instructions. ``top`` is None while it has no vertex (``FROM scratch``)."""

    platform: Platform
    top: VertexID | None = None
    config: ContainerConfig = field(default_factory=ContainerConfig)
    author: str = ""
    scope: Scope = field(default_factory=Scope)
    steps: tuple[Step, ...] = ()
    base: Base | None = None
    base_source: ImageSource | None = None
    cmd_set: bool = False

    @property
    def shell(self) -> tuple[str, ...]:
        """The shell of shell-form commands."""
        return shell_of(self.config, self.platform)

    def with_step(self, created_by: str, vertex: VertexID | None = None) -> StageState:
        """Return the state with one more history entry, on top of ``vertex`` if there is one."""
        step = Step(History(created_by=created_by, comment=COMMENT, empty_layer=vertex is None), vertex)
        return replace(self, steps=(*self.steps, step), top=vertex or self.top)


@dataclass(frozen=True, slots=True)
class Expander:
    """Evaluates words of one source against a scope; errors get the word's place."""

    source: Source

    def one(self, word: Word, scope: Scope, span: Span) -> str:
        """Return the value of ``word``. Raises DockerfileError."""
        return word.text if word.is_plain else self.raw(word, scope.variables(), span)

    def raw(self, word: Word, variables: Mapping[str, str | None], span: Span) -> str:
        """Return the value of ``word`` against plain variables. Raises DockerfileError."""
        try:
            return evaluate(word, variables).value
        except DockerfileError as error:
            raise error.located(self.source, self.source.find(word.text, span)) from error

    def split(self, word: Word, scope: Scope, span: Span) -> tuple[str, ...]:
        """Return the words that ``word`` expands to. Raises DockerfileError."""
        try:
            return evaluate_words(word, scope.variables()).values
        except DockerfileError as error:
            raise error.located(self.source, self.source.find(word.text, span)) from error

    def optional(self, word: Word | None, scope: Scope, span: Span) -> str | None:
        """Return the value of ``word`` if there is one."""
        return None if word is None else self.one(word, scope, span)

    def fail(self, message: str, span: Span, hint: str | None = None, *, at: str = "") -> DockerfileError:
        """Return an error at ``span``, or where the text ``at`` stands in it."""
        return DockerfileError(message, source=self.source, span=self.source.find(at, span), hint=hint)


ConfigInstruction = (
    df.Cmd
    | df.Entrypoint
    | df.Label
    | df.Env
    | df.Maintainer
    | df.Expose
    | df.Volume
    | df.User
    | df.Onbuild
    | df.StopSignal
    | df.HealthCheck
    | df.Shell
)


def command_args(command: df.Command, state: StageState) -> tuple[str, ...]:
    """Return the argument vector of a command in either form."""
    if isinstance(command, df.ExecForm):
        return command.args
    return (*state.shell, command.text)


def apply_cmd(state: StageState, one: df.Cmd, _: Expander) -> StageState:
    """CMD."""
    args = command_args(one.command, state)
    config = replace(state.config, cmd=args, args_escaped=True)
    return replace(state, config=config, cmd_set=True).with_step(f"CMD {quote_list(args)}")


def apply_entrypoint(state: StageState, one: df.Entrypoint, _: Expander) -> StageState:
    """ENTRYPOINT: forgets a CMD inherited from the base, keeps one of this stage."""
    args = command_args(one.command, state)
    config = replace(state.config, entrypoint=args or None, cmd=state.config.cmd if state.cmd_set else None)
    return replace(state, config=config).with_step(f"ENTRYPOINT {quote_list(args)}")


_Pairs = list[tuple[str, str]]


def _pairs(state: StageState, pairs: tuple[tuple[Word, Word], ...], span: Span, expand: Expander) -> _Pairs:
    values: _Pairs = []
    for key, value in pairs:
        name = expand.one(key, state.scope, span)
        if not name:
            raise expand.fail("names can not be blank", span, "write KEY=value")
        values.append((name, expand.one(value, state.scope, span)))
    return values


def _spelled(keyword: str, values: _Pairs) -> str:
    # A name that is given twice stands there twice, as it was written.
    return " ".join([keyword, *(f"{name}={value}" for name, value in values)])


def apply_label(state: StageState, one: df.Label, expand: Expander) -> StageState:
    """LABEL."""
    values = _pairs(state, one.pairs, one.span, expand)
    config = replace(state.config, labels={**state.config.labels, **dict(values)})
    return replace(state, config=config).with_step(_spelled("LABEL", values))


def set_env(config: ContainerConfig, values: Mapping[str, str]) -> ContainerConfig:
    """Return ``config`` with variables replaced in place or added at the end."""
    left = dict(values)
    env = [f"{name}={left.pop(name)}" if name in left else old for old in config.env for name in (old.split("=")[0],)]
    return replace(config, env=(*env, *(f"{name}={value}" for name, value in left.items())))


def apply_env(state: StageState, one: df.Env, expand: Expander) -> StageState:
    """ENV."""
    values = _pairs(state, one.pairs, one.span, expand)
    last = dict(values)
    scope = state.scope.with_env(last)
    return replace(state, config=set_env(state.config, last), scope=scope).with_step(_spelled("ENV", values))


def apply_maintainer(state: StageState, one: df.Maintainer, _: Expander) -> StageState:
    """MAINTAINER."""
    return replace(state, author=one.author).with_step(f"MAINTAINER {one.author}")


def apply_expose(state: StageState, one: df.Expose, expand: Expander) -> StageState:
    """EXPOSE."""
    from builder.dockerfile.ports import expand_ports

    ports: set[str] = set()
    for word in one.ports:
        try:
            ports.update(expand_ports(expand.split(word, state.scope, one.span)))
        except ValueError as error:
            hint = "write port, port/udp or first-last/tcp"
            raise expand.fail(str(error), one.span, hint, at=word.text) from error
    config = replace(state.config, exposed_ports=tuple(dict.fromkeys((*state.config.exposed_ports, *sorted(ports)))))
    return replace(state, config=config).with_step(f"EXPOSE [{' '.join(sorted(ports))}]")


def apply_volume(state: StageState, one: df.Volume, expand: Expander) -> StageState:
    """VOLUME: config only, nothing is created."""
    paths = tuple(expand.one(word, state.scope, one.span) for word in one.paths)
    if not all(paths):
        raise expand.fail("VOLUME specified can not be an empty string", one.span)
    config = replace(state.config, volumes=tuple(dict.fromkeys((*state.config.volumes, *paths))))
    return replace(state, config=config).with_step(f"VOLUME [{' '.join(paths)}]")


def apply_user(state: StageState, one: df.User, expand: Expander) -> StageState:
    """USER."""
    user = expand.one(one.user, state.scope, one.span)
    return replace(state, config=replace(state.config, user=user)).with_step(f"USER {user}")


def apply_onbuild(state: StageState, one: df.Onbuild, _: Expander) -> StageState:
    """ONBUILD: the one instruction that leaves no line in the history."""
    return replace(state, config=replace(state.config, onbuild=(*state.config.onbuild, one.trigger)))


def apply_stop_signal(state: StageState, one: df.StopSignal, expand: Expander) -> StageState:
    """STOPSIGNAL."""
    from builder.dockerfile.signals import signal_number

    signal = expand.one(one.signal, state.scope, one.span)
    try:
        signal_number(signal)
    except ValueError as error:
        raise expand.fail(str(error), one.span, at=one.signal.text) from error
    return replace(state, config=replace(state.config, stop_signal=signal)).with_step(f"STOPSIGNAL {signal}")


def apply_healthcheck(state: StageState, one: df.HealthCheck, _: Expander) -> StageState:
    """HEALTHCHECK: replaces all of it."""
    match one.command:
        case None:
            test: tuple[str, ...] = ("NONE",)
        case df.ExecForm(args):
            test = ("CMD", *args)
        case df.ShellForm(text):
            test = ("CMD-SHELL", text)
    check = Healthcheck(
        test=test,
        interval=one.interval or 0,
        timeout=one.timeout or 0,
        start_period=one.start_period or 0,
        start_interval=one.start_interval or 0,
        retries=one.retries or 0,
    )
    times = (check.interval, check.timeout, check.start_period, check.start_interval)
    shown = " ".join([quote_list(test), *(quote(duration(one)) for one in times), quote_rune(check.retries)])
    return replace(state, config=replace(state.config, healthcheck=check)).with_step(f"HEALTHCHECK &{{{shown}}}")


def apply_shell(state: StageState, one: df.Shell, _: Expander) -> StageState:
    """SHELL."""
    return replace(state, config=replace(state.config, shell=one.args)).with_step(f"SHELL [{' '.join(one.args)}]")


_APPLY: Mapping[type, Callable[..., StageState]] = {
    df.Cmd: apply_cmd,
    df.Entrypoint: apply_entrypoint,
    df.Label: apply_label,
    df.Env: apply_env,
    df.Maintainer: apply_maintainer,
    df.Expose: apply_expose,
    df.Volume: apply_volume,
    df.User: apply_user,
    df.Onbuild: apply_onbuild,
    df.StopSignal: apply_stop_signal,
    df.HealthCheck: apply_healthcheck,
    df.Shell: apply_shell,
}


def apply_config(state: StageState, one: ConfigInstruction, expand: Expander) -> StageState:
    """Return the state after an instruction that touches no file."""
    return _APPLY[type(one)](state, one, expand)
