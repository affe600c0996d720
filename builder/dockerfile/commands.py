"""Instructions that hold a command line: RUN, CMD, ENTRYPOINT, SHELL, HEALTHCHECK (dockerfile.md 1.3, 1.6, 1.7)."""

from __future__ import annotations

from builder.dockerfile.durations import MILLISECOND, parse_duration
from builder.dockerfile.heredoc import sole_opener, strip_tabs
from builder.dockerfile.instructions import (
    Cmd,
    Command,
    Entrypoint,
    ExecForm,
    HealthCheck,
    Heredoc,
    Run,
    RunCommandForm,
    Script,
    Shell,
    ShellForm,
)
from builder.dockerfile.mounts import parse_mount
from builder.dockerfile.source import DockerfileError
from builder.dockerfile.statement import FlagKind, Statement, plural, read_json_list
from builder.dockerfile.suggest import did_you_mean
from builder.dockerfile.text import SPACE
from builder.dockerfile.word import plain

_NETWORKS = ("default", "none", "host")
_SECURITY = ("sandbox", "insecure")


def parse_run(statement: Statement) -> Run:
    """Parse RUN with its flags, mounts and heredocs."""
    statement.accept_flags(mount=FlagKind.LIST, network=FlagKind.TEXT, security=FlagKind.TEXT, device=FlagKind.LIST)
    if device := statement.used.get("device"):
        raise statement.error("RUN --device is not supported", device[0].start, device[0].end)
    mounts = []
    for flag in statement.used.get("mount", ()):
        try:
            mounts.append(parse_mount(flag.value or "", escape=statement.escape))
        except DockerfileError as failure:
            raise failure.located(statement.line.source, statement.line.span(flag.start, flag.end)) from None
    return Run(
        command=_run_command(statement),
        mounts=tuple(mounts),
        network=_one_of(statement, "network", _NETWORKS),
        security=_one_of(statement, "security", _SECURITY),
        heredocs=tuple(
            Heredoc(opener.name, plain(body), opener.expand, opener.chomp, opener.fd)
            for opener, body in statement.heredocs
        ),
        span=statement.span,
        raw=statement.raw,
        written=statement.written,
    )


def _run_command(statement: Statement) -> RunCommandForm:
    listed = read_json_list(statement, statement.args)
    if listed is not None:
        if not listed:
            raise statement.args_error("RUN requires at least one argument in its list")
        return ExecForm(listed)
    if not statement.heredocs:
        return ShellForm(statement.args)
    opener, body = statement.heredocs[0]
    if len(statement.heredocs) == 1 and sole_opener(statement.args):
        content = strip_tabs(body) if opener.chomp else body
        return Script(opener.name, content) if content.startswith("#!") else ShellForm(content)
    # The shell reads the bodies itself, in the order of the openers.
    return ShellForm(statement.args + "".join(f"\n{body}{opener.name}" for opener, body in statement.heredocs))


def _one_of(statement: Statement, name: str, choices: tuple[str, ...]) -> str | None:
    value = statement.text_flag(name)
    if value is None or value in choices:
        return value
    flag = statement.used[name][0]
    message = f"invalid value for --{name}: {value}, expected {plural(choices)}{did_you_mean(value, choices)}"
    raise statement.error(message, flag.start, flag.end)


def parse_cmd(statement: Statement) -> Cmd:
    """Parse CMD."""
    statement.accept_flags()
    return Cmd(
        command=_command(statement, statement.args),
        span=statement.span,
        raw=statement.raw,
        written=statement.written,
    )


def parse_entrypoint(statement: Statement) -> Entrypoint:
    """Parse ENTRYPOINT."""
    statement.accept_flags()
    return Entrypoint(
        command=_command(statement, statement.args),
        span=statement.span,
        raw=statement.raw,
        written=statement.written,
    )


def _command(statement: Statement, text: str) -> Command:
    listed = read_json_list(statement, text)
    return ShellForm(text) if listed is None else ExecForm(listed)


def parse_shell(statement: Statement) -> Shell:
    """Parse SHELL, which must be JSON."""
    statement.accept_flags()
    listed = read_json_list(statement, statement.args)
    if not statement.args or listed == ():
        raise statement.args_error("SHELL requires at least one argument")
    if listed is None:
        raise statement.args_error("SHELL requires the arguments to be in JSON form")
    return Shell(args=listed, span=statement.span, raw=statement.raw, written=statement.written)


def parse_healthcheck(statement: Statement) -> HealthCheck:
    """Parse HEALTHCHECK; flags on NONE are refused."""
    kind, rest = _first_word(statement.args)
    if not kind:
        raise statement.error("HEALTHCHECK requires at least one argument")
    if kind.upper() == "NONE":
        statement.accept_flags()
        if rest:
            raise statement.args_error("HEALTHCHECK NONE takes no arguments")
        return HealthCheck(command=None, span=statement.span, raw=statement.raw, written=statement.written)
    if kind.upper() != "CMD":
        message = f'Unknown type "{kind.upper()}" in HEALTHCHECK (try CMD)'
        raise statement.error(message, statement.args_offset, statement.args_offset + len(kind))
    statement.accept_flags(
        interval=FlagKind.TEXT,
        timeout=FlagKind.TEXT,
        start_period=FlagKind.TEXT,
        start_interval=FlagKind.TEXT,
        retries=FlagKind.TEXT,
    )
    command = _command(statement, rest)
    if command in (ShellForm(""), ExecForm(())):
        raise statement.args_error("Missing command after HEALTHCHECK CMD")
    return HealthCheck(
        command=command,
        interval=_duration(statement, "interval"),
        timeout=_duration(statement, "timeout"),
        start_period=_duration(statement, "start-period"),
        start_interval=_duration(statement, "start-interval"),
        retries=_retries(statement),
        span=statement.span,
        raw=statement.raw,
        written=statement.written,
    )


def _first_word(text: str) -> tuple[str, str]:
    end = next((index for index, ch in enumerate(text) if ch in SPACE), len(text))
    return text[:end], text[end:].strip(SPACE)


def _duration(statement: Statement, name: str) -> int | None:
    value = statement.text_flag(name)
    if value is None:
        return None
    flag = statement.used[name][0]
    try:
        duration = parse_duration(value)
    except ValueError as failure:
        raise statement.error(f"{failure} for --{name}", flag.start, flag.end) from None
    if duration and duration < MILLISECOND:
        raise statement.error(f'Interval "{name}" cannot be less than 1ms', flag.start, flag.end)
    return duration


def _retries(statement: Statement) -> int | None:
    value = statement.text_flag("retries")
    if value is None:
        return None
    flag = statement.used["retries"][0]
    digits = value.removeprefix("+").removeprefix("-")
    if not digits.isascii() or not digits.isdigit() or len(digits) > 9:
        raise statement.error(f"--retries must be a number, not {value!r}", flag.start, flag.end)
    if int(value) < 0:
        raise statement.error(f"--retries cannot be negative ({value})", flag.start, flag.end)
    return int(value)
