"""``explain``: what it says of hits and misses, on this store and of builds elsewhere, and that it changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from builder.engine.explaining import Explanation, explain
from builder.engine.request import BuildRequest, EpochChoice
from tests.support.builds import NATIVE, Recording, Workshop

TEXT = """\
FROM scratch AS base
ARG TOP=/top
COPY --chmod=644 src ${TOP}/src
WORKDIR /work
FROM base AS other
COPY one.txt /one
FROM scratch
COPY --from=base /top/src/a.txt /a
COPY <<EOF /doc
text
EOF
COPY two.txt two-link /two/
"""
FILES = {
    "src/a.txt": "a",
    "src/deep/b.txt": "b",
    "one.txt": "1",
    "two.txt": "2",
    "two-link": lambda path: path.unlink(missing_ok=True) or path.symlink_to("two.txt"),
}


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    found = Workshop(tmp_path / "store", tmp_path / "context")
    found.build(TEXT, FILES)
    return found


def explained(shop: Workshop, text: str = TEXT, **options: Any) -> dict[str, Explanation]:
    """Return the explanations by the steps' texts."""
    path = shop.context.parent / "Dockerfile.test"
    path.write_text(text)
    epoch = options.pop("epoch", None)
    request = {
        "context": str(shop.context),
        "platforms": (NATIVE,),
        "build_platform": NATIVE,
        "dockerfile": str(path),
        "epoch": EpochChoice(given=epoch),
        **options,
    }
    with shop.environment(Recording()) as env:
        return {one.vertex.name.partition("] ")[2]: one for one in explain(BuildRequest(**request), env)}


def misses(found: dict[str, Explanation]) -> dict[str, list[str]]:
    """Return what changed, by step, without what is merely below a change."""
    return {
        name: [str(change) for change in one.changes] or [one.cause]
        for name, one in found.items()
        if one.cause not in ("hit", "parent")
    }


def test_what_was_built_is_found(shop: Workshop) -> None:
    found = explained(shop)
    assert {one.cause for one in found.values()} == {"hit"}
    assert len(found) == 5


def change_mode(path: Path) -> None:
    path.chmod(0o755)


def retarget(path: Path) -> None:
    path.unlink()
    path.symlink_to("src/a.txt")


@pytest.mark.parametrize(
    ("files", "text", "said"),
    [
        ({"src/a.txt": "A"}, TEXT, ["file src/a.txt: contents changed"]),
        ({"src/deep/c.txt": "c"}, TEXT, ["file src/deep/c.txt added"]),
        ({"src/deep/b.txt": Path.unlink}, TEXT, ["file src/deep/b.txt removed"]),
        ({"src/a.txt": change_mode}, TEXT, ["file src/a.txt: mode was 644, is 755"]),
        ({}, TEXT.replace("--chmod=644", "--chmod=600"), ["--chmod: was '644', is '600'"]),
        ({}, TEXT.replace("--chmod=644 src", "src"), ["--chmod: was '644', is ''"]),
        ({}, TEXT.replace("--chmod=644", "--chmod=644 --chown=1:2"), ["--chown: was '', is '1:2'"]),
        ({}, TEXT.replace("/top", "/at"), ["destination: was '/top/src', is '/at/src'"]),
        (
            {},
            TEXT.replace("COPY --chmod", "ADD --chmod"),
            ["instruction: was 'COPY', is 'ADD'", "--unpack: was 'false', is ''"],
        ),
        ({}, TEXT.replace("text", "texts"), ["here-document EOF: was 'text\\n', is 'texts\\n'"]),
        ({"two-link": retarget}, TEXT, ["file two-link: contents changed, link target was two.txt, is src/a.txt"]),
        (
            {},
            TEXT.replace("two.txt two-link", "two-link two.txt"),
            ["order of the sources: was 'two.txt two-link', is 'two-link two.txt'"],
        ),
    ],
)
def test_the_change_is_named(shop: Workshop, files: dict[str, Any], text: str, said: list[str]) -> None:
    shop.put(files)
    found = misses(explained(shop, text))
    assert said in found.values(), found
