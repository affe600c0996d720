"""SIGTERM while a registry keeps us waiting ends the command soon, with status 130 and nothing left behind."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.support.cli import environment, pybuild, write_context
from tests.support.fake_registry import Fault, Seen, serve


@pytest.mark.parametrize("command", ["pull", "push"])
@pytest.mark.parametrize("answer", ["busy", "broken"])
def test_a_registry_that_makes_us_wait(command: str, answer: str, store_root: Path, tmp_path: Path) -> None:
    context = write_context(tmp_path / "context", "FROM scratch\nCOPY a /a\n", {"a": "a"})
    asked = threading.Event()

    def busy(_: Seen) -> Fault:
        asked.set()
        return Fault(status=503, headers={"Retry-After": "100"}) if answer == "busy" else Fault(swallow=1)

    with serve() as fake:
        fake.plan = busy
        name = f"{fake.host}/app:1"
        arguments = ["push", name]
        if command == "pull":
            write_context(context, f"FROM {name}\nCOPY a /a\n")
            arguments = [str(context)]
        else:
            pybuild("-t", name, context, root=store_root)
        with subprocess.Popen(
            [sys.executable, "-m", "builder.cli.main", *arguments], env=environment(store_root), stderr=subprocess.PIPE
        ) as running:
            assert asked.wait(60)
            running.send_signal(signal.SIGTERM)
            _, said = running.communicate(timeout=60)

    assert running.returncode == 130, said
    assert b"Traceback" not in said
    assert list((store_root / "tmp").iterdir()) == []


@pytest.mark.parametrize("progress", ["plain", "tty"])
def test_a_second_signal_ends_it_though_nobody_reads_what_it_says(
    progress: str, store_root: Path, tmp_path: Path
) -> None:
    """The terminal is gone, or whoever read the pipe."""
    asked, over = threading.Event(), threading.Event()

    def stalls(_: Seen) -> Fault | None:
        asked.set()
        over.wait(60)
        return None

    with serve() as fake:
        fake.plan = stalls
        context = write_context(tmp_path / "context", f"FROM {fake.host}/app:1\nCOPY a /a\n", {"a": "a"})
        ours, theirs = pty.openpty() if progress == "tty" else os.pipe()
        words = [sys.executable, "-m", "builder.cli.main", f"--progress={progress}", str(context)]
        with subprocess.Popen(words, env={**environment(store_root), "TERM": "xterm"}, stderr=theirs) as running:
            try:
                os.close(theirs)
                assert asked.wait(60)
                if progress == "tty":
                    assert os.read(ours, 65536), "something is drawn"
                os.close(ours)
                running.send_signal(signal.SIGTERM)
                running.send_signal(signal.SIGINT)
                assert running.wait(30) == 130
            finally:
                over.set()
                running.kill()
