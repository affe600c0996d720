"""docs/limits.md says what the code does: every constant it lists has its value, and every limit is listed."""

from __future__ import annotations

import ast
import importlib
import re

from tests.support.cli import CHECKOUT

UNITS = {"": 1, "s": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
ROW = re.compile(r"\| `(?P<module>[a-z_.]+)\.(?P<name>[A-Z_]+)` \| (?P<number>\d+) ?(?P<unit>\w*) \| [^|]+ \|")
LIMIT = re.compile(r"_?(MAX|LARGEST|LONGEST|MOST)_[A-Z_]+|[A-Z_]*_LIMIT|_LIMIT")
OURS = {
    "rootfs.tarheader": "how numbers are read",
    "rootfs.tocwriter": "copies of one small file that are kept; MAX_MEMBER is listed",
    "rootfs.view": "what is kept in memory, and how far hard links chain",
    "rootfs.chunked": "threads",
    "rootfs.tarreader": "device numbers as the kernel has them",
    "rootfs.unpack": "directories kept open",
    "rootfs.restore": "times that the kernel takes",
    "rootfs.tarwriter": "what fits into the fields of a header",
    "run.wire": "descriptors in a message of our own",
    "run.step": "warnings told of one step",
    "run.sandbox": "pipes of our own",
    "cache.locks": "waiting",
    "dockerfile.suggest": "how near a suggestion is",
}
"""Modules with constants that are called so and bound nothing that others send."""


def listed() -> dict[tuple[str, str], int]:
    rows = [line for line in (CHECKOUT / "docs/limits.md").read_text().splitlines() if line.startswith("| `")]
    found = [ROW.fullmatch(row) for row in rows]
    assert all(found), [row for row, match in zip(rows, found, strict=True) if not match]
    return {(one["module"], one["name"]): int(one["number"]) * UNITS[one["unit"]] for one in found if one}


def test_every_listed_limit_has_its_value() -> None:
    limits = listed()
    assert len(limits) > 50
    actual = {key: getattr(importlib.import_module(f"builder.{key[0]}"), key[1], None) for key in limits}
    assert actual == limits


def test_every_limit_is_listed() -> None:
    limits = listed()
    missing = []
    for path in sorted((CHECKOUT / "builder").rglob("*.py")):
        module = ".".join(path.relative_to(CHECKOUT / "builder").with_suffix("").parts)
        for statement in ast.parse(path.read_text()).body:
            target = statement.targets[0] if isinstance(statement, ast.Assign) else getattr(statement, "target", None)
            name = target.id if isinstance(target, ast.Name) else ""
            if LIMIT.fullmatch(name) and (module, name) not in limits and module not in OURS:
                missing.append(f"{module}.{name}")
    assert missing == []
