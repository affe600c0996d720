"""Build checks (dockerfile.md 2): what can be said about a Dockerfile from its text.

Here: the entry, skipping, and the checks of how things are written. ``lint_stages`` holds the checks that follow
variables and inheritance through a stage, ``lint_context`` those that only the engine can tell.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Final

from builder.dockerfile import lint_stages, rules
from builder.dockerfile.directives import CheckOptions, parse_check
from builder.dockerfile.instructions import (
    Arg,
    Cmd,
    Dockerfile,
    Entrypoint,
    Env,
    Expose,
    From,
    HealthCheck,
    Instruction,
    Label,
    Maintainer,
    Onbuild,
    Run,
    ShellForm,
    Stage,
)
from builder.dockerfile.rules import Finding, Rule
from builder.dockerfile.source import DockerfileError, Span
from builder.dockerfile.stages import AUTOMATIC_ARGS, BUILT_IN_ARGS, PROXY_ARGS
from builder.dockerfile.text import BLANKS
from builder.patterns import pattern

_RESERVED: Final = ("context", "scratch")
_INLINE: Final = pattern(r"check[\t ]*=[\t ]*(\S+)", re.IGNORECASE)
_SECRET: Final = frozenset(
    ("apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token")
)
_NOT_SECRET: Final = frozenset(("public", "file", "version"))


def check_options(dockerfile: Dockerfile, override: str | None = None) -> CheckOptions:
    """Return what the check directive asks for; ``override`` is the build argument BUILDKIT_DOCKERFILE_CHECK."""
    directive = next((item for item in dockerfile.directives if item.name == "check"), None)
    value = override if override is not None else directive.value if directive else None
    if value is None:
        return CheckOptions()
    try:
        return parse_check(value)
    except ValueError as failure:
        span = directive.span if directive and override is None else Span(1, 1)
        raise DockerfileError(str(failure), source=dockerfile.source, span=span) from None


def lint(
    dockerfile: Dockerfile,
    *,
    stages: Collection[int] | None = None,
    options: CheckOptions | None = None,
    automatic: Mapping[str, str] | None = None,
    build_args: Mapping[str, str | None] | None = None,
    base_env: Mapping[int, Mapping[str, str]] | None = None,
    ignored: Callable[[str], bool] | None = None,
    base_args: Collection[str] | None = (),
) -> tuple[Finding, ...]:
    """Return the findings in the order of the file.

    ``stages`` are the indexes to look at, all by default. ``base_env`` is the environment of the image that a stage
    starts from; a stage whose image is unknown gets no UndefinedVar. ``ignored`` tells whether a context path is
    excluded by .dockerignore; leave it out when that file has ``!`` patterns. ``base_args`` are the names that ONBUILD
    triggers of base images declare with ARG; None, also for a partial Dockerfile, where not every ARG is known: then no
    build argument is called unknown.
    """
    chosen = options if options is not None else check_options(dockerfile)
    selected = [stage for stage in dockerfile.stages if stages is None or stage.index in stages]
    walk = lint_stages.Walk(dockerfile, automatic or {}, build_args or {}, base_env or {}, ignored)
    unknown = _unknown_build_args(dockerfile, build_args or {}, base_args)
    return wanted(dockerfile, [*_written(dockerfile, selected), *walk.findings(selected), *unknown], chosen)


def wanted(dockerfile: Dockerfile, findings: Iterable[Finding], options: CheckOptions) -> tuple[Finding, ...]:
    """Return those of ``findings`` that are not skipped, each once, in the order of the file."""
    skipped = _inline_skips(dockerfile)
    kept = [item for item in findings if _wanted(item, options, skipped)]
    return tuple(sorted(dict.fromkeys(kept), key=lambda item: item.span.start_line))


def _wanted(finding: Finding, options: CheckOptions, skipped: Mapping[int, frozenset[str]]) -> bool:
    rule = finding.rule
    if rule.experimental and not _lists(options.experimental, rule):
        return False
    return not _lists(options.skip, rule) and not _lists(skipped.get(finding.span.start_line, ()), rule)


def _lists(names: Collection[str], rule: Rule) -> bool:
    return rule.name in names or "all" in names


def _inline_skips(dockerfile: Dockerfile) -> dict[int, frozenset[str]]:
    """Map each line of an instruction below ``# check=skip=...`` to the rules skipped for it."""
    skips: dict[int, frozenset[str]] = {}
    for instruction in _instructions(dockerfile, dockerfile.stages):
        names: set[str] = set()
        for comment in instruction.written.comments:
            match = _INLINE.match(comment)
            if match:
                try:
                    names |= set(parse_check(match[1]).skip)
                except ValueError:
                    continue  # a comment that only looks like an option
        if names:
            for line in range(instruction.span.start_line, instruction.span.end_line + 1):
                skips[line] = frozenset(names)
    return skips


def _instructions(dockerfile: Dockerfile, stages: Iterable[Stage]) -> Iterator[Instruction]:
    yield from dockerfile.global_args
    for stage in stages:
        yield stage.from_
        yield from stage.instructions


def _written(dockerfile: Dockerfile, stages: list[Stage]) -> Iterator[Finding]:
    """Check how things are written, without following any variable."""
    yield from _casing(dockerfile, stages)
    yield from _stage_names(stages)
    for stage in stages:
        yield from _repeated(stage)
    for instruction in _instructions(dockerfile, stages):
        for line in instruction.written.blank_lines:
            yield Finding(rules.NO_EMPTY_CONTINUATION, "blank line in a continued instruction", Span(line, line))
        yield from _one(instruction)


def _unknown_build_args(
    dockerfile: Dockerfile, given: Mapping[str, str | None], base_args: Collection[str] | None
) -> Iterator[Finding]:
    """Report build arguments that nothing declares, at the ARG that was probably meant or the first FROM."""
    from builder.dockerfile.suggest import nearest

    if base_args is None or not dockerfile.stages:
        return
    declared: dict[str, Span] = {}
    for item in _instructions(dockerfile, dockerfile.stages):
        for name in _declared_names(item):
            declared.setdefault(name, item.span)
    known = {*declared, *base_args, *AUTOMATIC_ARGS, *BUILT_IN_ARGS}
    for name in given:
        if name in known or name.upper() in PROXY_ARGS or name.startswith("BUILDKIT_ATTEST_"):
            continue
        meant = nearest(name, declared)
        hint = f" (did you mean {meant}?)" if meant else ""
        span = declared[meant] if meant else dockerfile.stages[0].from_.span
        yield Finding(rules.UNKNOWN_BUILD_ARG, f"no ARG declares the build argument '{name}'{hint}", span)


def _declared_names(item: Instruction) -> list[str]:
    if isinstance(item, Onbuild):
        from builder.dockerfile.parser import parse_trigger

        try:
            return _declared_names(parse_trigger(item.trigger))
        except DockerfileError:
            return []  # reported where it is triggered
    return [one.name for one in item.declarations] if isinstance(item, Arg) else []


def _casing(dockerfile: Dockerfile, stages: list[Stage]) -> Iterator[Finding]:
    keywords = [item.written.keyword for stage in dockerfile.stages for item in (stage.from_, *stage.instructions)]
    lower = sum(word.islower() for word in keywords) > sum(word.isupper() for word in keywords)
    wanted = "lowercase" if lower else "uppercase"
    for stage in stages:
        for item in (stage.from_, *stage.instructions):
            keyword = item.written.keyword
            if not (keyword.islower() if lower else keyword.isupper()):
                detail = f"'{keyword}' should be {wanted}, as most instructions of this file are"
                yield Finding(rules.CONSISTENT_INSTRUCTION_CASING, detail, item.span)


def _stage_names(stages: list[Stage]) -> Iterator[Finding]:
    seen: Counter[str] = Counter()
    for stage in stages:
        from_ = stage.from_
        if from_.name is None:
            continue
        given = BLANKS.split(from_.raw)[-1]
        if given != from_.name:
            yield Finding(rules.STAGE_NAME_CASING, f"stage name '{given}' should be lowercase", from_.span)
        if from_.name in _RESERVED:
            yield Finding(rules.RESERVED_STAGE_NAME, f"'{from_.name}' is a reserved name", from_.span)
        if seen[from_.name]:
            yield Finding(rules.DUPLICATE_STAGE_NAME, f"stage name '{from_.name}' is used twice", from_.span)
        seen[from_.name] += 1
        keyword, second = from_.written.keyword, from_.written.second_keyword
        if (keyword.isupper() and not second.isupper()) or (keyword.islower() and not second.islower()):
            yield Finding(rules.FROM_AS_CASING, f"'{second}' does not match the casing of '{keyword}'", from_.span)


def _repeated(stage: Stage) -> Iterator[Finding]:
    for kind in (Cmd, Entrypoint, HealthCheck):
        found = [item for item in stage.instructions if isinstance(item, kind)]
        for item in found[:-1]:
            detail = f"{kind.__name__.upper()} is given again in this stage, and only the last one is used"
            yield Finding(rules.MULTIPLE_INSTRUCTIONS_DISALLOWED, detail, item.span)


def _one(item: Instruction) -> Iterator[Finding]:
    """Check one instruction on its own."""
    match item:
        case Maintainer():
            yield Finding(rules.MAINTAINER_DEPRECATED, "MAINTAINER is deprecated, use a label", item.span)
        case Env() | Label():
            if item.written.legacy:
                name = type(item).__name__.upper()
                detail = f'write "{name} key=value" instead of "{name} key value"'
                yield Finding(rules.LEGACY_KEY_VALUE_FORMAT, detail, item.span)
            if isinstance(item, Env):
                yield from _secrets("ENV", [key.text for key, _ in item.pairs], item.span)
        case Arg():
            names = [one.name for one in item.declarations]
            yield from _secrets("ARG", names, item.span)
            yield from _description(item, "ARG", names)
        case From(name=str() as name):
            yield from _description(item, "FROM", [name])
        case Expose():
            yield from _exposed(item)
        case Run(command=ShellForm(text="")):
            yield Finding(rules.EMPTY_RUN, "RUN has no command", item.span)
        case _:
            return


def looks_secret(name: str) -> bool:
    """Say whether a variable of this name probably holds a secret."""
    tokens = frozenset(name.strip("'\"").lower().split("_"))
    return bool(tokens & _SECRET) and not tokens & _NOT_SECRET


def _secrets(keyword: str, names: list[str], span: Span) -> Iterator[Finding]:
    for name in names:
        if looks_secret(name):
            detail = f'{keyword} "{name}" looks like a secret, which would stay in the image or its history'
            yield Finding(rules.SECRETS_USED_IN_ARG_OR_ENV, detail, span)


def _description(item: Arg | From, keyword: str, names: list[str]) -> Iterator[Finding]:
    comments = [comment for comment in item.written.comments if not _INLINE.match(comment)]
    if comments and comments[-1].split(" ", 1)[0] not in names:
        name = names[0] if len(names) == 1 else "<name>"
        detail = f"the comment above {keyword} should read `# {name} <description>`"
        yield Finding(rules.INVALID_DEFINITION_DESCRIPTION, detail, item.span)


def _exposed(item: Expose) -> Iterator[Finding]:
    for word in item.ports:
        ports, slash, protocol = word.text.partition("/")
        if slash and "$" not in protocol and protocol != protocol.lower():
            detail = f"protocol '{protocol}' should be lowercase"
            yield Finding(rules.EXPOSE_PROTO_CASING, detail, item.span)
        if ":" in ports and "$" not in ports:
            detail = f"'{word.text}' names a host address or port"
            yield Finding(rules.EXPOSE_INVALID_FORMAT, detail, item.span)
