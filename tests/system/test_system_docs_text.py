"""What pages say that no command tells: names that readers copy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tests.support.cli import CHECKOUT

_INSTALLS = re.compile(r"\b(?:pipx?3?|uvx?|poetry|conda|easy_install)\b[^\n`|&;#]*")
_OUR_NAME = re.compile(r"[\"']?pybuild(?:[-_.]oci)?(?:\[[^\]]*\])?(?:[=<>~!@].*)?[\"']?")


def _texts() -> Iterator[Path]:
    """Yield everything that readers copy from: pages, files for CI systems, examples, and hints of the program."""
    yield from CHECKOUT.glob("*.md")
    for folder in ("docs", "testdata/examples", "builder"):
        yield from (one for one in (CHECKOUT / folder).rglob("*") if one.suffix in _READ or one.name == "Dockerfile")


_READ = {".md", ".yml", ".yaml", ".py", ".txt", ".toml"}


def _by_name(text: str) -> list[str]:
    found = [match[0] for match in _INSTALLS.finditer(text) if "--no-index" not in match[0]]
    return [line for line in found if any(map(_OUR_NAME.fullmatch, line.split()[1:]))]


def test_nothing_is_installed_by_a_name_that_is_not_released() -> None:
    """Until a release is in an index, our name there is anybody's, and what is installed by it runs in jobs."""
    assert {str(path.relative_to(CHECKOUT)): lines for path in _texts() if (lines := _by_name(path.read_text()))} == {}


def test_such_lines_are_found() -> None:
    for line in (
        "pipx install pybuild-oci",
        "  - run: pip3 install -U 'pybuild-oci[socks]'",
        "uvx pybuild",
        "pip download --dest wheels pybuild_oci==0.1.0",
    ):
        assert _by_name(line), line
    for line in (
        "pipx install .",
        "pip install --no-index --find-links wheels pybuild-oci",
        "pipx install https://files.example/pybuild_oci-0.1.0-py3-none-any.whl",
        "pip install socksio && pybuild -t app:1 .",
    ):
        assert not _by_name(line), line


def test_stores_are_in_volumes_and_are_none() -> None:
    """What a cluster or runner mounts belongs to root; a store has to be the builder's own, or is put elsewhere."""
    named = [
        (str(page.relative_to(CHECKOUT)), place)
        for page in (CHECKOUT / "docs").rglob("*.*")
        if page.suffix in _READ
        for place in re.findall(r"PYBUILD_ROOT(?:, value)?: *([^\s,}]+)", page.read_text())
    ]
    assert len(named) >= 3
    assert [one for one in named if one[1].count("/") < 2] == []
