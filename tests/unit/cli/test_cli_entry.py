"""The program around the command line: signals before it is loaded and after it ended, and those a parent left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.cli import environment, write_context

# Found by every Python that has its directory on PYTHONPATH: Ctrl-C at the moment a module is looked for.
_MEANWHILE = """\
import os, signal, sys

class Meanwhile:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["AT_MODULE"]:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Meanwhile())
"""


def _interrupted(at: str, tmp_path: Path, *words: str) -> tuple[int, str]:
    (tmp_path / "sitecustomize.py").write_text(_MEANWHILE)
    env = environment(tmp_path / "store")
    env |= {"AT_MODULE": at, "PYTHONPATH": f"{tmp_path}{os.pathsep}{env['PYTHONPATH']}"}
    done = subprocess.run(
        [sys.executable, "-m", "builder", *words], env=env, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("module", ["builder.cli.main", "argparse", "builder.api.results", "builder.cli.options"])
def test_ctrl_c_while_the_program_is_loaded_ends_it_without_a_word(module: str, tmp_path: Path) -> None:
    assert _interrupted(module, tmp_path, "images") == (130, "")


@pytest.mark.parametrize("module", ["builder.cli.commands.images", "builder.images.listing"])
def test_ctrl_c_while_a_command_is_loaded_is_told(module: str, tmp_path: Path) -> None:
    status, said = _interrupted(module, tmp_path, "images")
    assert status == 130
    assert "error: interrupted" in said
    assert "Traceback" not in said


def test_ctrl_c_while_the_answer_is_written_ends_it(tmp_path: Path) -> None:
    """The second one comes while what the first one did is being loaded."""
    code = "import builder.cli.entry as e\ndef command():\n    raise KeyboardInterrupt\ne.end_with(command)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(tmp_path), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (130, "")


def test_who_starts_us_may_have_ctrl_c_ignored(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        status, said = _interrupted("builder.cli.main", tmp_path, "--version")
    finally:
        signal.signal(signal.SIGINT, before)
    assert status == 0
    assert said.startswith("pybuild ")


def test_a_program_that_fails_is_heard_of_though_the_parent_ignores_what_children_end(tmp_path: Path) -> None:
    """Ignored signals are inherited; Python then takes every child for one that succeeded."""
    context = write_context(tmp_path / "context", "FROM scratch\nADD https://127.0.0.1:1/a.git /a\n")
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "builder", "--progress=plain", str(context)],
            env=environment(tmp_path / "store"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        signal.signal(signal.SIGCHLD, before)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 75, said
    assert "git ls-remote" in said
