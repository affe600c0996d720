"""``--check`` and ``--call``: what they print, for people and as JSON in the shape of BuildKit's subrequests."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, cast

from builder.cli.answers import table
from builder.dockerfile.source import DockerfileError
from builder.errors import UsageError
from builder.values import dataclass

if TYPE_CHECKING:
    from builder.dockerfile.instructions import Dockerfile
    from builder.dockerfile.rules import Finding
    from builder.dockerfile.source import Source, Span
    from builder.engine.build import Environment
    from builder.engine.inspect import Inspection
    from builder.engine.request import BuildRequest
    from builder.plan.outline import Need, Outline

Method = Literal["build", "check", "outline", "targets"]

_METHODS = ("build", "check", "outline", "targets")
_AROUND = 2
"""Lines of the Dockerfile shown before and after a finding."""


@dataclass(frozen=True, slots=True)
class Call:
    """What ``--call`` asks for. ``json`` is the format; with ``ignore_status`` findings do not count as a failure."""

    method: Method
    json: bool = False
    ignore_status: bool = False


def parse_call(text: str) -> Call:
    """Return the meaning of ``METHOD[,format=text|json][,ignorestatus=true]``. Raises UsageError."""
    from builder.dockerfile.suggest import did_you_mean

    method, *rest = text.split(",")
    method = "check" if method == "lint" else method
    if method not in _METHODS:
        problem = f"--call {text}: unknown method {method!r}{did_you_mean(method, _METHODS)}"
        raise UsageError(problem, hint=f"one of {', '.join(_METHODS)}")
    values = {"format": "text", "ignorestatus": "false"}
    for item in rest:
        key, equals, value = item.partition("=")
        if key not in values:
            raise UsageError(f"--call {text}: unknown option {key!r}{did_you_mean(key, values)}")
        values[key] = value if equals else "true"
    if values["format"] not in ("text", "json") or values["ignorestatus"] not in ("true", "false"):
        raise UsageError(f"--call {text}: format is text or json, ignorestatus is true or false")
    return Call(cast(Method, method), values["format"] == "json", values["ignorestatus"] == "true")


def carry_out(call: Call, request: BuildRequest, env: Environment) -> tuple[str, int]:
    """Return what ``call`` prints and the exit status; findings and mistakes are not 0. Raises BuilderError."""
    from builder.engine import inspect

    if call.method == "check":
        return _check(call, inspect.check(request, env))
    dockerfile = inspect.read(request, env)
    if call.method == "targets":
        return to_json(targets_value(dockerfile)) if call.json else targets_text(dockerfile), 0
    from builder.engine.build import plan_options
    from builder.plan.outline import outline

    shown = outline(dockerfile, plan_options(request)[0])
    return to_json(outline_value(shown, dockerfile.source)) if call.json else outline_text(shown), 0


def _check(call: Call, found: Inspection) -> tuple[str, int]:
    source, error = found.dockerfile.source, found.error
    failed = error is not None or (found.findings and not call.ignore_status)
    status = DockerfileError.exit_code if failed else 0
    if call.json:
        return to_json(check_value(found.findings, source, error)), status
    text = check_text(found.findings, source)
    return text if error is None else f"{text}\n\nERROR: {error}", status


# --- check


def check_text(findings: Sequence[Finding], source: Source) -> str:
    """Return the findings with the lines they are about."""
    parts = []
    for one in findings:
        head = f"WARNING: {one.rule.name}" + (f" - {one.rule.url}" if one.rule.url else "")
        parts.append(f"{head}\n{one.detail}\n{_excerpt(source, one.span)}\n")
    count = len(findings)
    noun = "warning has" if count == 1 else "warnings have"
    parts.append(f"Check complete, {count} {noun} been found!" if count else "Check complete, no warnings found.")
    return "\n".join(parts)


def _excerpt(source: Source, span: Span) -> str:
    first, last = max(1, span.start_line - _AROUND), min(len(source.lines), span.end_line + _AROUND)
    rule = "-" * 20
    lines = [f"{source.name}:{span.start_line}", rule]
    for number in range(first, last + 1):
        mark = ">>>" if span.start_line <= number <= span.end_line else "   "
        text = "".join(char if char == "\t" or char.isprintable() else "\ufffd" for char in source.lines[number - 1])
        lines.append(f"{number:4} | {mark} {text}".rstrip())
    return "\n".join([*lines, rule])


def check_value(
    findings: Iterable[Finding], source: Source | None, error: DockerfileError | None = None
) -> dict[str, object]:
    """Return the findings as a value for JSON; ``error`` is why the Dockerfile could not be checked."""
    value: dict[str, object] = {
        "warnings": [
            {
                "ruleName": one.rule.name,
                "description": one.rule.description,
                **({"url": one.rule.url} if one.rule.url else {}),
                "detail": one.detail,
                "location": _location(one.span),
            }
            for one in findings
        ],
        "sources": []
        if source is None
        else [{"filename": source.name, "language": "Dockerfile", "data": _data(source)}],
    }
    if error is not None:
        place = {} if error.span is None else {"location": _location(error.span)}
        value["buildError"] = {"message": error.message, **place}
    return value


# --- outline and targets


def targets_value(dockerfile: Dockerfile) -> dict[str, object]:
    """Return the stages as a value for JSON."""
    from builder.plan.outline import targets

    listed = [
        {
            **_given(name=one.name, default=one.default, description=one.description, base=one.base),
            **_given(platform=one.platform),
            "location": _location(one.span),
        }
        for one in targets(dockerfile)
    ]
    return {"targets": listed, "sources": [_data(dockerfile.source)]}


def targets_text(dockerfile: Dockerfile) -> str:
    """Return the stages as a table."""
    from builder.plan.outline import targets

    rows = [
        (_target_name(one.name, default=one.default), one.description)
        for one in targets(dockerfile)
        if one.name or one.default
    ]
    return table(("TARGET", "DESCRIPTION"), rows)


def _target_name(name: str, *, default: bool) -> str:
    return " ".join(filter(None, (name, "(default)" if default else "")))


def outline_value(outline: Outline, source: Source) -> dict[str, object]:
    """Return what a target takes from outside, as a value for JSON."""
    args = [
        {"name": one.name, **_given(description=one.description, value=one.value), "location": _location(one.span)}
        for one in outline.args
    ]
    return {
        **_given(name=outline.name, description=outline.description, args=args),
        **_given(secrets=_needs(outline.secrets), ssh=_needs(outline.ssh)),
        **_given(cache=[{"id": one.name, "location": _location(one.span)} for one in outline.caches]),
        "sources": [_data(source)],
    }


def _needs(needs: Iterable[Need]) -> list[dict[str, object]]:
    return [{"name": one.name, **_given(required=one.required), "location": _location(one.span)} for one in needs]


def outline_text(outline: Outline) -> str:
    """Return what a target takes from outside, as tables."""
    parts = []
    if outline.name or outline.description:
        parts.append(
            "\n".join(
                f"{title}{text}"
                for title, text in (("TARGET:      ", outline.name), ("DESCRIPTION: ", outline.description))
                if text
            )
        )
    rows = [(one.name, one.value, one.description) for one in outline.args]
    parts += [table(("BUILD ARG", "VALUE", "DESCRIPTION"), rows)] if rows else []
    for title, needs in (("SECRET", outline.secrets), ("SSH", outline.ssh)):
        if needs:
            parts.append(table((title, "REQUIRED"), [(one.name, str(one.required).lower()) for one in needs]))
    if outline.caches:
        parts.append(table(("CACHE MOUNT",), [(one.name,) for one in outline.caches]))
    return "\n\n".join(parts) or "nothing can be given to this target"


# --- shapes


def to_json(value: Mapping[str, object]) -> str:
    """Return the text of a value."""
    return json.dumps(value, indent=2)


def _given(**fields: object) -> dict[str, object]:
    """Return the fields that say something."""
    return {name: value for name, value in fields.items() if value}


def _location(span: Span) -> dict[str, object]:
    return {"ranges": [{"start": {"line": span.start_line}, "end": {"line": span.end_line}}]}


def _data(source: Source) -> str:
    import base64

    return base64.b64encode(source.text.encode("utf-8", "surrogateescape")).decode()
