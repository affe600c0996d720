"""Each kind of failure through the command line: its code, and every word of what it prints (testdata/errors).

``--update-golden`` writes what came out instead; then read the diff, as whoever meets that message does.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.catalog.kinds import entry, kinds
from tests.support.cli import environment
from tests.support.failed import ELSEWHERE, NOWHERE
from tests.support.failing import CASES, FOLDER, Case, serving, shown
from tests.support.need import need_root


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.code)
def test_a_failure_says_what_where_and_what_to_do(case: Case, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if case.root:
        need_root("needs root: a sandbox that is the same everywhere")
    with serving(case.answer) as host:
        case.prepare(tmp_path, host)
        for words in case.before:
            _run(case, words, tmp_path)
        status, said = _run(case, case.words, tmp_path)
    golden = FOLDER / f"{case.code}.txt"
    text = f"{case.shown}\n{shown(said, tmp_path)}"

    assert said.splitlines()[-1] == f"help: pybuild help {case.code}", said
    assert status == (case.status or int(case.code[2:4]))
    assert "Traceback" not in said
    if request.config.getoption("--update-golden"):
        FOLDER.mkdir(exist_ok=True)
        golden.write_text(text)
    assert text == golden.read_text(), "read it, and if it is right: --update-golden"


def _run(case: Case, words: tuple[str, ...], folder: Path) -> tuple[int, str]:
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-m", "builder.cli.main", *words],
        input=case.stdin,
        capture_output=True,
        check=False,
        cwd=folder,
        env=environment(folder / "store", {"HOME": str(folder), "PYBUILD_PROGRESS": None, **case.env}),
    )
    return done.returncode, done.stderr.decode("utf-8", "replace")


def test_every_kind_is_made_by_a_test() -> None:
    here = [case.code for case in CASES]
    known = [kind.code for kind in kinds()]

    assert sorted([*here, *ELSEWHERE, *NOWHERE]) == sorted(known)


@pytest.mark.parametrize("code", ELSEWHERE)
def test_the_test_that_makes_a_kind_exists(code: str) -> None:
    file, _, name = ELSEWHERE[code].partition("::")
    path = FOLDER.parents[1] / "tests" / file

    assert entry(code) is not None
    assert not name or f"def {name}(" in path.read_text()


def test_no_golden_is_left_over() -> None:
    assert {path.stem for path in FOLDER.glob("*.txt")} == {case.code for case in CASES}
