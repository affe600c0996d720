"""Every example that a --help shows (and docs/commands.md) is run as it stands, on one machine, in their order."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from builder.cli.options import COMMANDS, load
from tests.support import docworld
from tests.support.docpages import Block
from tests.support.docworld import Machine

# What examples take for granted: images here and in the registry, archives and layouts of them, and files.
_GRANTED = """
printf '*\\n!main.py\\n' >.dockerignore
pybuild --platform linux/amd64,linux/arm64 -t registry.example/app:1 -t registry.example/app --push .
pybuild --platform linux/amd64,linux/arm64 --label x=1 -t app:1 .
pybuild --label stage=test -t app:2 .
pybuild copy store:app:1 oci-layout://layout:1 && pybuild push oci-layout://./layout:1 app:1
pybuild --platform linux/amd64,linux/arm64 -o type=oci,tar=false,dest=out -t out:1 .
pybuild -o type=oci,tar=false,dest=first -t first:latest . && cp -r first second
pybuild -o type=docker,dest=app.tar -t tarred:1 . && cp app.tar a.tar && pybuild save app:1 --type oci -o app.oci.tar
mkdir -p rootfs/bin config/app ci && tar -czf app.tar.gz main.py && tar -cf fixes.tar main.py && echo secret >token.txt
"""

_BOTH = "--platform linux/amd64,linux/arm64"
_FIRST = {
    "pybuild explain": "cp Dockerfile Dockerfile.ci",
    "pybuild kaniko": "pybuild copy debian:12-slim registry.example/debian:12-slim",
    "pybuild push": "pybuild tag app:1 registry.example/app:1 && rm -rf layout && "
    "pybuild copy docker.io/library/app:1 oci-layout://layout:latest",
    "pybuild copy": f"pybuild {_BOTH} -t registry.example/app:1 --push . && "
    "pybuild copy registry.example/app:1 oci-archive:app.tar",
    "pybuild digest": "rm -rf layout && pybuild copy registry.example/app:1 oci-layout://layout:1",
    "pybuild manifest create": "for one in amd64 arm64 arm; do pybuild --platform linux/$one "
    "-t registry.example/app:1-$one --push --no-base-annotations -f- . <<< 'FROM scratch'; done; "
    "pybuild --platform linux/riscv64 -o type=oci,tar=false,dest=out -t out:1-riscv64 -f- . <<< 'FROM scratch'",
    "pybuild manifest annotate": "pybuild manifest create --amend registry.example/app:1 registry.example/app:1-arm",
    "pybuild manifest rm": "pybuild manifest create --amend registry.example/app:1 registry.example/app:1-amd64",
    "pybuild logout": "echo '{}' >team.json",
    "pybuild config show": "printf '[target.api]\\n[target.web]\\n' >pybuild.toml",
    "pybuild warm": "rm -f pybuild.toml",
    "pybuild append": f"pybuild {_BOTH} -t app:1 .",
    "pybuild convert": "pybuild -o type=docker,dest=app.tar -o type=oci,dest=app.oci.tar -t tarred:1 .",
    "pybuild diff": "pybuild push app:2 registry.example/app:1",
}
"""What examples of one command need besides."""

_NOT_RUN = {
    "pybuild kaniko --context dir:///workspace": "a volume of a cluster is mounted there",
    "pybuild login -u ann": "asks at the terminal; tests/unit/cli/test_cli_login.py answers",
    "pybuild rmi --force 4f53cda18c2b": "the ID of an image of the reader's",
    "pybuild append windows:1": "a layer of Windows, on a server elsewhere; test_cli_changes has one",
    "pybuild catalog --json localhost:5000": "whatever listens there on the reader's machine",
    "pybuild explore --serve": "ends with Ctrl-C only; tests/unit/cli/test_cli_explore.py serves a page",
    "pybuild completion": "writes for all users of the machine; tests/unit/cli/test_cli_completion.py asks the shells",
}

_STATUS = {
    "pybuild diff app:1 app:2": 1,
    "pybuild diff --json app.tar": 1,
    "pybuild diff --ignore path=var/cache": 1,
}
"""Where the end is not 0, as the commands' pages say."""


def _examples() -> dict[str, list[str]]:
    """Return the examples of every command, lines that go on joined."""
    found = {}
    for command in COMMANDS:
        if command == "build":
            continue
        module: Any = load(command)
        actions = getattr(module, "ACTIONS", None)
        for parser in [module.parser(one) for one in actions] if actions else [module.parser()]:
            part = re.search(r"^examples:\n((?:  .*\n?)+)", parser.epilog or "", re.MULTILINE)
            if part:
                found[parser.prog] = re.sub(r"\\\n\s*", "", part[1]).strip().split("\n")
    return found


EXAMPLES = _examples()


def _not_run(example: str) -> str:
    return next((reason for words, reason in _NOT_RUN.items() if example.startswith(words)), "")


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, busybox_rootfs: Path) -> Iterator[Machine]:
    with docworld.served(tmp_path_factory.mktemp("world")) as world:
        docworld.bases(world, busybox_rootfs)
        reader = world.machine("help")
        _run(reader, _GRANTED)
        yield reader


@pytest.mark.parametrize("command", EXAMPLES)
def test_examples(machine: Machine, command: str) -> None:
    _run(machine, _FIRST.get(command, "true"))
    for example in map(str.strip, EXAMPLES[command]):
        if not _not_run(example):
            expected = next((status for words, status in _STATUS.items() if example.startswith(words)), 0)
            _run(machine, example, expected)


def _run(machine: Machine, text: str, expected: int = 0) -> None:
    done = machine.run(Block("--help", 1, "run", text))
    assert done.returncode == expected, f"{text}\nended with {done.returncode}:\n{done.stdout}"
    assert "Traceback" not in done.stdout, done.stdout


def test_how_many_are_run(capsys: pytest.CaptureFixture[str]) -> None:
    every = [example.strip() for examples in EXAMPLES.values() for example in examples]
    left = {example: reason for example in every if (reason := _not_run(example))}
    assert [words for words in _NOT_RUN if not any(one.startswith(words) for one in left)] == []
    with capsys.disabled():
        print(f"\nexamples of --help: {len(every) - len(left)} are run, {len(left)} are not")
        for example, reason in left.items():
            print(f"  {example}: {reason}")
