"""--progress json: what docs/schema/progress.schema.json says is what there is, of the classes and of real builds."""

from __future__ import annotations

import inspect
import io
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from builder import events
from builder.cli.progress.jsonlines import JsonReporter
from builder.events import Output, VertexCompleted, VertexStarted
from tests.support.cli import CHECKOUT, pybuild, write_context

SCHEMA = CHECKOUT / "docs/schema/progress.schema.json"
DIGEST = "^([a-z0-9]+:[0-9a-f]+)?$"

TYPES: dict[str, dict[str, Any]] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "bytes": {"type": "string"},
    "Literal['stdout', 'stderr']": {"enum": ["stdout", "stderr"]},
    "Literal['pull', 'push']": {"enum": ["pull", "push"]},
    "tuple[int, int]": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 2, "maxItems": 2},
    "tuple[tuple[str, int], ...]": {
        "type": "array",
        "items": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "minItems": 2},
    },
}


def schema() -> dict[str, Any]:
    """Return what the classes of builder.events say."""
    found = []
    for name, one in vars(events).items():
        if not inspect.isclass(one) or one.__module__ != events.__name__ or not hasattr(one, "__members__"):
            continue
        fields = {member.name: TYPES[member.kind] for member in one.__members__}
        if "layer" in fields:
            fields["layer"] = {"type": "string", "pattern": DIGEST}
        found.append(
            {
                "description": " ".join((one.__doc__ or "").replace("``", "`").split()),
                "properties": {"event": {"const": name}, **fields},
                "required": ["event", "time", *fields],
            }
        )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A line of pybuild --progress json",
        "description": "docs/progress.md says when each comes. New events and fields may come with any release.",
        "type": "object",
        "properties": {
            "event": {"type": "string"},
            "time": {"type": "number", "minimum": 0, "description": "seconds since the command began"},
        },
        "required": ["event", "time"],
        "oneOf": found,
    }


def test_the_schema_is_that_of_the_events(request: pytest.FixtureRequest) -> None:
    text = json.dumps(schema(), indent=2) + "\n"
    if request.config.getoption("--update-golden"):
        SCHEMA.write_text(text)
    assert SCHEMA.read_text() == text, "pytest --update-golden, and docs/progress.md"


def test_every_event_is_in_the_page() -> None:
    page = (CHECKOUT / "docs/progress.md").read_text()
    names = [one["properties"]["event"]["const"] for one in schema()["oneOf"]]
    assert [name for name in names if f"`{name}`" not in page] == []


@pytest.mark.parametrize("end", ["well", "badly"])
def test_what_a_build_says_is_as_the_schema_has_it(store_root: Path, tmp_path: Path, end: str) -> None:
    missing = "" if end == "well" else "COPY missing /\n"
    context = write_context(tmp_path / "context", f"FROM scratch AS a\nCOPY a /a\n{missing}", {"a": "a"})
    done = pybuild("--progress", "json", context, root=store_root, status=0 if end == "well" else 66)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    assert [str(error) for line in lines for error in validator.iter_errors(line)] == []
    said = [line["event"] for line in lines]
    assert said[:3] == ["WorkStarted", "WorkCompleted", "BuildStarted"]
    assert said[-1] == ("BuildFinished" if end == "well" else "Failed")
    completed = next(line for line in lines if line["event"] == "VertexCompleted")
    assert (completed["stage"], completed["lines"], completed["size"] > 0) == ("a", [2, 2], True)
    assert completed["layer"].startswith("sha256:")


def test_nobody_gives_commands_to_a_service_nor_breaks_a_line() -> None:
    said = io.StringIO()
    reporter = JsonReporter(said)
    text = "\n::error::x\n##[add-path]/evil ###vso[x] \x1b[2J\x9b2J\u202e\u2028"
    reporter.emit(VertexStarted("v", f"COPY a\udcff\ud800 {text}"))
    reporter.emit(Output("v", "stdout", text.encode()))
    lines = said.getvalue().split("\n")
    assert lines.pop() == ""
    assert [line[0] for line in lines] == ["{", "{"]
    assert [line for line in lines if "##" in line or not (line.isascii() and line.isprintable())] == []
    assert [json.loads(line).get("data", json.loads(line).get("name")) for line in lines] == [f"COPY a?? {text}", text]


def test_a_failure_is_told_as_the_configuration_says(store_root: Path, tmp_path: Path) -> None:
    context = write_context(tmp_path / "context", "FROM scratch\nCOPY missing /\n")
    (tmp_path / "own.toml").write_text('[build]\nprogress = "json"\n')
    done = pybuild("--config", tmp_path / "own.toml", context, root=store_root, status=66)
    assert json.loads(done.stderr.splitlines()[-1])["event"] == "Failed"


def test_a_character_that_a_write_cuts_comes_whole() -> None:
    said = io.StringIO()
    reporter = JsonReporter(said)
    reporter.emit(VertexStarted("v", "RUN x"))
    for piece in ("ä".encode()[:1], "ä".encode()[1:] + b"!", b"\xff\xe4"):
        reporter.emit(Output("v", "stdout", piece))
    reporter.emit(VertexCompleted("v", "RUN x", 1.0, cached=False))
    lines = [json.loads(line) for line in said.getvalue().splitlines()]
    texts = [line["data"] for line in lines if line["event"] == "Output"]
    assert texts == ["ä!", "\ufffd", "\ufffd"]
    assert lines[-1]["event"] == "VertexCompleted"
