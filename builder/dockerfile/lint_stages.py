"""The build checks that follow variables and inheritance through the stages (dockerfile.md 2)."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Final

from builder.dockerfile import rules
from builder.dockerfile.expansion import evaluate, variables
from builder.dockerfile.instructions import (
    Add,
    Arg,
    Cmd,
    Copy,
    Dockerfile,
    Entrypoint,
    Env,
    Expose,
    Label,
    Run,
    Shell,
    ShellForm,
    Stage,
    StageInstruction,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from builder.dockerfile.lint_context import sensitive_files
from builder.dockerfile.rules import Finding
from builder.dockerfile.source import DockerfileError
from builder.dockerfile.stages import AUTOMATIC_ARGS, GlobalScope, global_scope, resolve_base
from builder.dockerfile.word import Word
from builder.patterns import pattern
from builder.values import dataclass, field

_IMAGE: Final = pattern(
    r"(?:(?:[A-Za-z0-9\-]+(?:\.[A-Za-z0-9\-]+)*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?/)?"
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.\-]{0,127})?(?:@[A-Za-z0-9+._\-]+:[0-9a-fA-F]{32,})?\Z"
)
_REMOTE: Final = pattern(r"(?:https?|git|ssh)://|git@")
_PATH: Final = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


@dataclass(slots=True)
class _State:
    """What a stage hands on to stages based on it. ``env`` is None while the base image is unknown."""

    env: dict[str, str | None] | None
    workdir_set: bool = False
    shell_set: bool = False
    directories: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Walk:
    """Goes through the stages in order, as a build would; see ``lint.lint`` for the parameters."""

    dockerfile: Dockerfile
    automatic: Mapping[str, str]
    build_args: Mapping[str, str | None]
    base_env: Mapping[int, Mapping[str, str]]
    ignored: Callable[[str], bool] | None
    _states: dict[int, _State] = field(default_factory=dict)
    _scope: GlobalScope = field(init=False)

    def __post_init__(self) -> None:
        self._scope = self._global_scope(self.build_args)

    def _global_scope(self, given: Mapping[str, str | None]) -> GlobalScope:
        automatic = {name: self.automatic.get(name, "") for name in AUTOMATIC_ARGS} | dict(self.automatic)
        try:
            return global_scope(self.dockerfile, automatic, given)
        except DockerfileError:
            # Reported by the build itself; here every declared name counts as known.
            names = tuple(one.name for arg in self.dockerfile.global_args for one in arg.declarations)
            return GlobalScope(dict.fromkeys(names, "") | automatic, names)

    def findings(self, stages: Iterable[Stage]) -> Iterator[Finding]:
        """Yield the findings of the given stages; all stages are followed, for what they inherit."""
        selected = {stage.index for stage in stages}
        for stage in self.dockerfile.stages:
            found = [*self._from(stage), *self._body(stage)]
            if stage.index in selected:
                yield from found

    def _from(self, stage: Stage) -> Iterator[Finding]:
        from_ = stage.from_
        words = [from_.image] + ([from_.platform] if from_.platform else [])
        for name in sorted({name for word in words for name in variables(word)} - self._scope.env.keys()):
            detail = f"variable '{name}' in FROM is not declared{_suggest(name, self._scope.env)}"
            yield Finding(rules.UNDEFINED_ARG_IN_FROM, detail, from_.span)
        if from_.platform is not None:
            yield from self._platform(stage, from_.platform)
        if variables(from_.image) and not self._default_image_is_valid(from_.image):
            detail = f"with the defaults of its arguments '{from_.image.text}' names no image"
            yield Finding(rules.INVALID_DEFAULT_ARG_IN_FROM, detail, from_.span)

    def _platform(self, stage: Stage, platform: Word) -> Iterator[Finding]:
        span = stage.from_.span
        if platform.text in ("$TARGETPLATFORM", "${TARGETPLATFORM}"):
            yield Finding(rules.REDUNDANT_TARGET_PLATFORM, "$TARGETPLATFORM is the default platform", span)
        elif not variables(platform):
            parts = [part for part in platform.text.lower().split("/") if part]
            if not any(part in (stage.name or "") for part in parts[:2]):
                detail = f"--platform has the constant value '{platform.text}'"
                yield Finding(rules.FROM_PLATFORM_FLAG_CONST_DISALLOWED, detail, span)

    def _default_image_is_valid(self, image: Word) -> bool:
        try:
            name = evaluate(image, self._global_scope({}).env).value
        except DockerfileError:
            return False
        return bool(_IMAGE.match(name))

    def _inherited(self, stage: Stage) -> _State:
        try:
            name = evaluate(stage.from_.image, self._scope.env).value
        except DockerfileError:
            return _State(None)
        base = resolve_base(self.dockerfile, stage, name)
        if base is not None:
            parent = self._states[base.index]
            env = None if parent.env is None else dict(parent.env)
            return _State(env, parent.workdir_set, parent.shell_set, set(parent.directories))
        known = self.base_env.get(stage.index, {} if name == "scratch" else None)
        return _State(None if known is None else {**_PATH, **known})

    def _body(self, stage: Stage) -> Iterator[Finding]:
        state = self._states[stage.index] = self._inherited(stage)
        for item in stage.instructions:
            if state.env is not None:
                yield from self._undefined(item, state.env)
            yield from self._instruction(item, state)
            self._define(item, state)

    def _instruction(self, item: StageInstruction, state: _State) -> Iterator[Finding]:
        match item:
            case Cmd(command=ShellForm()) | Entrypoint(command=ShellForm()):
                if not state.shell_set:
                    name = type(item).__name__.upper()
                    yield Finding(rules.JSON_ARGS_RECOMMENDED, f"write {name} as a JSON list", item.span)
            case Shell():
                state.shell_set = True
            case Workdir():
                path = _value(item.path, state.env)
                if not state.workdir_set and not path.startswith(("/", "$")):
                    detail = f"relative WORKDIR '{path}' depends on the base image"
                    yield Finding(rules.WORKDIR_RELATIVE_PATH, detail, item.span)
                state.workdir_set = True
                state.directories.add(path.rstrip("/"))
            case Copy() | Add():
                yield from self._copied(item, state)
            case _:
                return

    def _copied(self, item: Copy | Add, state: _State) -> Iterator[Finding]:
        sources = [_value(word, state.env) for word in item.sources]
        dest = _value(item.dest, state.env)
        kept = isinstance(item, Copy) and item.parents  # then each lands below the destination under its own path
        if not kept and _needs_directory([*sources, *(doc.name for doc in item.heredocs)], dest, state.directories):
            detail = f"several sources go to '{dest}': end it with a slash"
            yield Finding(rules.SEVERAL_SOURCES_NO_DIRECTORY, detail, item.span)
        if isinstance(item, Copy) and item.from_stage is not None:
            return
        for source in sources:
            if any(ch in source for ch in "*?[$") or _REMOTE.match(source):
                continue
            path = posixpath.normpath("/" + source).lstrip("/")
            if self.ignored is not None and self.ignored(path or "."):
                detail = f"{type(item).__name__.upper()} of '{source}', which .dockerignore excludes"
                yield Finding(rules.COPY_IGNORED_FILE, detail, item.span)
            elif found := sensitive_files(type(item).__name__.upper(), [("", [path])], item.span):
                yield found

    def _undefined(self, item: StageInstruction, env: Mapping[str, str | None]) -> Iterator[Finding]:
        unknown: set[str] = set()
        for word in expanded_words(item):
            try:
                unknown |= evaluate(word, env).undefined
            except DockerfileError:
                continue  # the build reports it
        for name in sorted(unknown - {"SOURCE_DATE_EPOCH"}):
            # What only stands before the first FROM is not there either, however near its name is.
            hint = f" (repeat ARG {name} in this stage)" if name in self._scope.declared else _suggest(name, env, "$")
            detail = f"variable '${name}' is not defined{hint}"
            yield Finding(rules.UNDEFINED_VAR, detail, item.span)

    def _define(self, item: StageInstruction, state: _State) -> None:
        if state.env is None:
            return
        match item:
            case Env():
                before = dict(state.env)
                for key, value in item.pairs:
                    state.env[_value(key, before)] = _value(value, before)
            case Arg():
                for one in item.declarations:
                    state.env[one.name] = self._argument(one.name, one.default, state.env)
            case _:
                return

    def _argument(self, name: str, default: Word | None, env: Mapping[str, str | None]) -> str | None:
        given = self.build_args.get(name)
        if given is not None:
            return given
        return _value(default, env) if default is not None else self._scope.env.get(name)


def _needs_directory(sources: list[str], dest: str, directories: Collection[str]) -> bool:
    """Tell whether several files go to a place that nothing in the text says is a directory.

    A source that ends in a slash is a directory, whose contents are merged.
    """
    if "$" in dest or dest.endswith("/") or dest.rpartition("/")[2] in ("", ".", "..") or dest in directories:
        return False
    return sum(not source.endswith("/") and source.rpartition("/")[2] not in (".", "..") for source in sources) > 1


def expanded_words(item: StageInstruction) -> Iterator[Word]:
    """Yield the words of an instruction that a build expands."""
    match item:
        case Env() | Label():
            for pair in item.pairs:
                yield from pair
        case Arg():
            yield from (one.default for one in item.declarations if one.default is not None)
        case Copy() | Add():
            yield from (*item.sources, item.dest, *(doc.body for doc in item.heredocs))
            flags = [item.chown, item.chmod, item.checksum if isinstance(item, Add) else None]
            yield from (word for word in flags if word is not None)
        case Run():
            yield from (word for flag in item.mounts for _, word in flag.fields if word is not None)
        case Expose(ports=words) | Volume(paths=words):
            yield from words
        case User(user=word) | Workdir(path=word) | StopSignal(signal=word):
            yield word
        case _:
            return


def _value(word: Word, env: Mapping[str, str | None] | None) -> str:
    """Expand as well as possible: unknown variables stay as written."""
    try:
        return evaluate(word, env or {}, keep_unset=env is None).value
    except DockerfileError:
        return word.text


def _suggest(name: str, options: Iterable[str], prefix: str = "") -> str:
    from builder.dockerfile.suggest import nearest

    found = nearest(name, options)
    return f" (did you mean {prefix}{found}?)" if found else ""
