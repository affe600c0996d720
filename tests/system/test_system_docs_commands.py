"""Every command that a page shows is run as it stands, or the page says why not (tests/support/docpages.py).

Each page is read on a machine of its own, from its first block to its last. What a page shows as printed is compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import docworld
from tests.support.cli import CHECKOUT
from tests.support.docpages import Block, blocks_of, difference, pages
from tests.support.docworld import World
from tests.support.need import need_root

BLOCKS = {page: blocks_of(page) for page in pages()}
COMMANDS = [block for blocks in BLOCKS.values() for block in blocks if block.kind == "run"]
_MADE = ("docs/commands.md", "docs/errors.md")
"""Made from code: their examples have a test of their own, and their messages are goldens of another one."""
RUN = {page: blocks for page, blocks in BLOCKS.items() if any(one.kind == "run" and not one.reason for one in blocks)}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, busybox_rootfs: Path) -> Iterator[World]:
    with docworld.served(tmp_path_factory.mktemp("world")) as running:
        docworld.bases(running, busybox_rootfs)
        yield running


@pytest.mark.parametrize("page", RUN)
def test_commands_of_a_page(world: World, page: str, request: pytest.FixtureRequest) -> None:
    commands = "\n".join(one.text for one in BLOCKS[page] if one.kind == "run" and not one.reason)
    if re.search(r"^(.*\| )?docker ", commands, re.MULTILINE):
        need_root("needs root: dockerd")
        world.with_docker(request.getfixturevalue("docker_engine").host)
    if re.search(r"^(pipx?|scripts/demo)\b", commands, re.MULTILINE):
        world.with_wheels()
    machine = world.machine(page.replace("/", "-"))
    printed = ""
    for block in BLOCKS[page]:
        if block.kind == "file":
            machine.write(block)
        elif block.kind == "output":
            assert (block, difference(block.text, printed)) == (block, ""), printed
        elif block.kind in ("run", "first") and not block.reason:
            done = machine.run(block)
            assert done.returncode == 0, f"{block}\nended with {done.returncode}:\n{done.stdout}"
            assert "Traceback" not in done.stdout, f"{block}\n{done.stdout}"
            printed = done.stdout


def test_every_block_is_run_or_says_why_not(capsys: pytest.CaptureFixture[str]) -> None:
    left = [block for block in COMMANDS if block.reason]
    with capsys.disabled():
        print(f"\ncommands in pages: {len(COMMANDS) - len(left)} blocks are run, {len(left)} are not")
        for block in left:
            print(f"  {block.page}:{block.line}: {block.reason}")
    assert all(len(block.reason) > 10 for block in left), "a reason is a sentence"
    assert len(COMMANDS) - len(left) > 10 * len(left)
    here = (CHECKOUT / ".ci/run").read_text()
    for block in left:
        if ".ci/run" in block.reason:
            assert [line for line in block.text.split("\n") if line.split()[0] not in here] == []


@pytest.mark.parametrize("page", BLOCKS)
def test_no_command_hides_in_a_block_of_another_kind(page: str) -> None:
    hidden = [block for block in BLOCKS[page] if block.kind == "text" and block.language == "" and _commands(block)]
    assert hidden == [], "fence them as sh"


@pytest.mark.parametrize("page", [page for page in BLOCKS if page not in _MADE])
def test_no_text_is_what_nobody_prints(page: str) -> None:
    """Text in a block is output, which is compared, or the page says what it is."""
    texts = [block for block in BLOCKS[page] if block.kind == "text" and block.language in ("", "text", "console")]
    assert [block for block in texts if not block.reason] == []


def _commands(block: Block) -> list[str]:
    return [line for line in block.text.split("\n") if line.startswith(("pybuild ", "docker ", "$ "))]
