"""Each kind of failure through the command line: its code, and every word of what it prints (testdata/errors).

``--update-golden`` writes what came out instead; then read the diff, as whoever meets that message does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from builder.catalog.kinds import kinds
from tests.support.cli import environment
from tests.support.failing import CASES as PLAIN
from tests.support.failing import FOLDER, Case, filled, serving, shown
from tests.support.need import need_root
from tests.support.troubles import CASES as TROUBLES

CASES = (*PLAIN, *TROUBLES)
BUG = "PB7001"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.code)
def test_a_failure_says_what_where_and_what_to_do(case: Case, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if case.root:
        need_root("needs root: a sandbox that is the same everywhere")
    with serving(case.answer) as host, case.around(tmp_path) as found:
        said = {"work": str(tmp_path), "host": host, "port": host.rpartition(":")[2], **found}
        case.prepare(tmp_path, said)
        for words in case.before:
            first = _run(case, words, tmp_path, said, again=True)
            assert first.returncode == 0, first.stderr.decode()
        case.damage(tmp_path)
        done = _run(case, case.words, tmp_path, said)
    golden, told = FOLDER / f"{case.code}.txt", done.stderr.decode("utf-8", "replace")
    text = f"{shown(case.typed({**said, 'work': '.'}), tmp_path)}\n{shown(told, tmp_path)}"

    assert told.splitlines()[-1] == f"help: pybuild help {case.code}", told
    assert done.returncode == (case.status or int(case.code[2:4]))
    assert ("Traceback" in told) == (case.code == BUG)
    if request.config.getoption("--update-golden"):
        FOLDER.mkdir(exist_ok=True)
        golden.write_text(text)
    assert text == golden.read_text(), "read it, and if it is right: --update-golden"


def _run(
    case: Case, words: tuple[str, ...], folder: Path, said: Mapping[str, str], *, again: bool = False
) -> subprocess.CompletedProcess[bytes]:
    hidden = {} if again else {name[1:]: value for name, value in said.items() if name.startswith("$")}
    known = {**said, "id": (folder / "id").read_text()} if (folder / "id").exists() else said
    told = {} if again else {name: filled(value, said) for name, value in case.env.items()}
    with open(case.stdout or os.devnull, "wb") as target:
        return subprocess.run(
            [
                *(() if again else case.under),
                sys.executable,
                "-m",
                "builder.cli.main",
                *(filled(one, known) for one in words),
            ],
            input=case.stdin,
            stdout=target,
            stderr=subprocess.PIPE,
            check=False,
            cwd=folder,
            env=environment(folder / "store", {"HOME": str(folder), "PYBUILD_PROGRESS": None, **hidden, **told}),
        )


def test_a_process_that_ends_at_once_says_so_in_json_too(tmp_path: Path) -> None:
    git = Case(
        "PB1301",
        ("--progress", "json", "https://localhost:1/app.git"),
        files={"bin/git": "#!/bin/sh\nkill -INT $PPID\nexec sleep 60\n"},
        env={"PATH": f"{tmp_path}/bin:{os.defpath}"},
    )
    git.prepare(tmp_path, {})
    done = _run(git, git.words, tmp_path, {})
    last = [json.loads(line) for line in done.stderr.splitlines()][-1]

    assert done.returncode == 130
    assert (last["event"], last["code"], last["exit_code"]) == ("Failed", "PB1301", 130)


def test_every_kind_is_made() -> None:
    assert sorted(case.code for case in CASES) == sorted(kind.code for kind in kinds())


def test_no_golden_is_left_over() -> None:
    assert {path.stem for path in FOLDER.glob("*.txt")} == {case.code for case in CASES}
