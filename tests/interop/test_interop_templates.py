"""Templates of ``--format`` against Docker's own program, which fills them in from a context's metadata: no engine."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest

from builder.cli.template import TemplateError, render
from tests.support.need import need_tool
from tests.support.templates import CASES, VALUE, WRONG

_NAME = "values"

_NEWER = ("range $x := 3", "else with", "\\b")
"""What Debian's Docker, built with Go 1.19, does not have or writes in another way."""

_OURS_ONLY = ("plain }}", "100000000", "define", "{{else}}", "|}}")
"""Texts that mean something else inside the action around them here, and what only we limit."""


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a Docker configuration with one context, whose metadata is the value of the tables."""
    config = tmp_path_factory.mktemp("docker-config")
    directory = config / "contexts" / "meta" / hashlib.sha256(_NAME.encode()).hexdigest()
    directory.mkdir(parents=True)
    document = {"Name": _NAME, "Metadata": {"Value": VALUE}, "Endpoints": {}}
    (directory / "meta.json").write_text(json.dumps(document))
    return config


def _docker(config: Path, template: str) -> subprocess.CompletedProcess[bytes]:
    whole = "{{with .Metadata.Metadata.AdditionalFields.Value}}" + template.replace("$.Id", '"sha"') + "{{end}}"
    command = [need_tool("docker"), "context", "inspect", _NAME, "--format", whole]
    environment = {**os.environ, "DOCKER_CONFIG": str(config)}
    environment.pop("DOCKER_CONTEXT", None)
    return subprocess.run(command, capture_output=True, check=False, env=environment)


def test_docker_prints_the_same(context: Path) -> None:
    different = []
    for template, expected in CASES:
        if any(one in template for one in (*_NEWER, *_OURS_ONLY)):
            continue
        done = _docker(context, template)
        if (done.returncode, done.stdout.decode()) != (0, expected + "\n"):
            different.append((template, expected, done.stdout.decode(), done.stderr.decode()))
    assert different == []


def test_docker_refuses_what_we_refuse(context: Path) -> None:
    accepted = [
        template
        for template, _ in WRONG
        if not any(one in template for one in _OURS_ONLY) and _docker(context, template).returncode == 0
    ]
    assert accepted == []


def test_the_tables_are_ours_too() -> None:
    for template, _ in WRONG:
        with pytest.raises(TemplateError):
            render(template, VALUE)
