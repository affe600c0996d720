"""Every example that a --help shows (and docs/commands.md) is run as it stands, on one machine, in their order."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from builder.cli.options import COMMANDS, load
from tests.support import docworld
from tests.support.docpages import Block
from tests.support.docworld import Machine

T = TypeVar("T")

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
    "pybuild append": f"pybuild {_BOTH} -t app:1 . && cp app.tar.gz $FILES/layer.tar.gz && "
    "export SIZE=$(stat -c %s app.tar.gz) LAYER=$(sha256sum app.tar.gz | cut -c -64) && "
    "pybuild --platform windows/amd64 -t windows:1 -f- . <<< 'FROM scratch'",
    "pybuild convert": "pybuild -o type=docker,dest=app.tar -o type=oci,dest=app.oci.tar -t tarred:1 .",
    "pybuild diff": "pybuild push app:2 registry.example/app:1",
    "pybuild rmi": "pybuild tag app:1 other:1 && export ID=$(pybuild images -q app:1)",
    "pybuild completion": "cd system && mkdir -p bash-completion/completions zsh/site-functions "
    "~/.config/fish/completions && cd ..",
}
"""What examples of one command need besides."""

_TYPED = {"pybuild login -u ann": "Password of => secret", "pybuild explore --serve": "http:// => ^C"}
"""What a reader types, and when."""

_MEANT = {"4f53cda18c2b": '"$ID"', "sha256:... --size 1234": "sha256:$LAYER --size $SIZE"}
"""Words that are others for each reader."""

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
        for words, meant in _MEANT.items():
            example = example.replace(words, meant)
        _run(machine, example, _of(_STATUS, example, 0), _of(_TYPED, example, ""))


def _of(table: dict[str, T], example: str, otherwise: T) -> T:
    return next((value for words, value in table.items() if example.startswith(words)), otherwise)


def _run(machine: Machine, text: str, expected: int = 0, typed: str = "") -> None:
    done = machine.run(Block("--help", 1, "run", text, typed=typed))
    assert done.returncode == expected, f"{text}\nended with {done.returncode}:\n{done.stdout}"
    assert "Traceback" not in done.stdout, done.stdout


def test_what_is_said_of_examples_is_of_some() -> None:
    """No word here is left over from an example that is not there any more."""
    every = [example.strip() for examples in EXAMPLES.values() for example in examples]
    assert [words for words in (*_TYPED, *_STATUS) if not any(one.startswith(words) for one in every)] == []
    assert [words for words in _MEANT if not any(words in one for one in every)] == []
    assert _FIRST.keys() - EXAMPLES.keys() == set()
