"""How the command ends: messages, exit statuses, standard streams that are closed or full, files that are devices."""

from __future__ import annotations

import errno
import io
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from builder.api.results import Recorder
from builder.cli import main as command
from builder.cli.progress.plain import PlainReporter
from builder.cli.reports import ending, failure
from builder.dockerfile.source import DockerfileError
from builder.errors import BuilderError, ContextError
from builder.events import Notice
from builder.registry.errors import RegistryError
from builder.run.spec import CommandFailedError
from builder.streams import OutputError, writing
from tests.support.cli import digest_of, environment, pybuild, write_context

DOCKERFILE = "FROM scratch\nCOPY a /a\n"
LONG = "x" * 300


@pytest.fixture
def context(tmp_path: Path) -> Path:
    return write_context(tmp_path / "context", DOCKERFILE, {"a": "a"})


def _ended(monkeypatch: pytest.MonkeyPatch, error: BaseException, *arguments: str) -> int:
    def fail(_: object) -> int:
        raise error

    monkeypatch.setattr(command, "_build", fail)
    return command.main([*arguments, "."])


@pytest.mark.parametrize("arguments", [(), ("--debug",)])
def test_debug_adds_a_traceback_and_keeps_the_exit_status(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    assert _ended(monkeypatch, ContextError("no such file"), *arguments) == 66

    said = capfd.readouterr().err
    assert "pybuild: error: no such file" in said
    assert ("Traceback" in said) == bool(arguments)


def test_a_bug_of_ours_has_status_70_and_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert _ended(monkeypatch, KeyError("oops")) == 70
    assert "Traceback" in capfd.readouterr().err


def test_a_full_disk_is_no_bug(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    error = OSError(errno.ENOSPC, "No space left on device", "/some/file")

    assert _ended(monkeypatch, error) == 73
    assert capfd.readouterr().err == (
        "pybuild: error: the system refuses: /some/file: No space left on device\nhelp: pybuild help PB7305\n"
    )
    found = failure(error, Recorder(PlainReporter(io.StringIO())), 0)
    assert (found["exit_code"], found["error"]) == (73, "OutputError")


@pytest.mark.parametrize(
    ("error", "said"),
    [(MemoryError(), "Cannot allocate memory"), (RuntimeError("can't start new thread"), "can't start new thread")],
)
def test_what_the_machine_lacks_is_no_bug(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], error: Exception, said: str
) -> None:
    assert _ended(monkeypatch, error) == 73
    err = capfd.readouterr().err
    assert err.startswith(f"pybuild: error: the system refuses: {said}\n")
    assert err.endswith("help: pybuild help PB7305\n")


def test_a_directory_that_was_removed_is_no_bug(store_root: Path, tmp_path: Path) -> None:
    """Whatever needs it first: a user's settings hold paths."""
    gone, settings = tmp_path / "gone", tmp_path / "pybuild.toml"
    gone.mkdir()
    settings.write_text("")
    done = subprocess.run(
        ["sh", "-c", 'rmdir "$PWD"; exec "$@"', "sh", sys.executable, "-m", "builder", "."],
        cwd=gone,
        env=environment(store_root, {"PYBUILD_CONFIG": str(settings)}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 66
    assert done.stderr == (
        "pybuild: error: the current directory does not exist any more\nhint: cd to one that does\n"
        "help: pybuild help PB6601\n"
    )


def test_only_a_failed_command_has_a_command_status() -> None:
    def metadata(error: BuilderError) -> dict[str, object]:
        return failure(error, Recorder(PlainReporter(io.StringIO())), 0)

    assert metadata(CommandFailedError("x", status=3))["command_status"] == 3
    assert "command_status" not in metadata(RegistryError("x", status=404))


def test_the_metadata_says_the_message_without_the_hint() -> None:
    error = DockerfileError("there is no stage x", hint="did you mean y?")
    assert failure(error, Recorder(PlainReporter(io.StringIO())), 0)["message"] == "there is no stage x"


def test_strangers_text_does_not_reach_the_terminal_as_it_is() -> None:
    said = io.StringIO()
    PlainReporter(said).emit(ending(ContextError("cannot read a\x1b[31mb", hint="c\x07")))
    assert said.getvalue() == "pybuild: error: cannot read a\ufffd[31mb\nhint: c\ufffd\nhelp: pybuild help PB6600\n"


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("--jobs", "1" * 5000), 64),
        (("-o", f"type=local,dest={LONG}"), 73),
        (("-o", f"type=docker,dest={LONG}/x"), 64),
        (("--iidfile", "."), 64),
        (("--iidfile", "/"), 64),
        (("--build-context", f"scratch=oci-layout://{LONG}"), (0, 64, 66)),
    ],
)
def test_odd_values_are_messages(context: Path, store_root: Path, arguments: Any, status: Any) -> None:
    pybuild(*arguments, context, root=store_root, status=status, cwd=context)


def test_a_context_whose_name_is_too_long(store_root: Path, tmp_path: Path) -> None:
    pybuild(LONG, root=store_root, status=66, cwd=tmp_path)


# --- standard streams


def _redirected(context: Path, root: Path, *redirections: str) -> subprocess.CompletedProcess[str]:
    line = f'exec "$0" -m builder.cli.main --no-cache "$1" {" ".join(redirections)}'
    return subprocess.run(
        ["sh", "-c", line, sys.executable, str(context)],
        capture_output=True,
        text=True,
        check=False,
        env=environment(root),
        timeout=60,
    )


@pytest.mark.parametrize(
    ("redirections", "status"),
    [
        (("2>/dev/full",), 0),
        (("2>&-",), 0),
        ((">&-",), 0),
        (("<&-", ">&-", "2>&-"), 0),
        ((">/dev/full",), 73),
        ((">/dev/full", "2>/dev/full"), 73),
    ],
)
def test_streams_that_nobody_can_write_to(
    context: Path, store_root: Path, redirections: tuple[str, ...], status: int
) -> None:
    done = _redirected(context, store_root, *redirections)

    assert done.returncode == status
    assert "Traceback" not in done.stderr


def test_a_reporter_outlives_its_stream() -> None:
    reading, writing_end = os.pipe()
    os.close(reading)
    with open(writing_end, "w") as stream:
        reporter = PlainReporter(stream)
        reporter.emit(Notice("nobody reads this"))
        reporter.emit(Notice("nor this"))


# --- outputs that are devices and pipes


def test_a_pipe_named_as_an_output_is_written_to_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with writing(path) as stream:
        stream.write(b"hello")

    assert os.read(reading, 100) == b"hello"
    assert stat.S_ISFIFO(os.stat(path).st_mode)
    assert os.listdir(tmp_path) == ["pipe"]
    os.close(reading)


def test_descriptors_named_as_an_output_are_appended_to(tmp_path: Path) -> None:
    with open(tmp_path / "file", "wb", buffering=0) as target:
        target.write(b"before ")
        with writing(Path(f"/proc/self/fd/{target.fileno()}")) as stream:
            stream.write(b"after")
        (tmp_path / "link").symlink_to(f"/proc/self/fd/{target.fileno()}")
        with writing(tmp_path / "link") as stream:
            stream.write(b" all")

    assert (tmp_path / "file").read_bytes() == b"before after all"
    assert (tmp_path / "link").is_symlink()


def test_a_directory_is_no_output(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="directory"), writing(tmp_path):
        pass


def test_the_id_and_the_metadata_of_a_build(context: Path, store_root: Path, tmp_path: Path) -> None:
    done = pybuild("--iidfile", "/dev/null", "--metadata-file", tmp_path / "m.json", context, root=store_root)

    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert json.loads((tmp_path / "m.json").read_text())["containerimage.digest"] == digest_of(done)


# --- validate


def test_a_damaged_layout_is_said_to_be_damaged(context: Path, store_root: Path, tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    layout.mkdir()
    digest = digest_of(pybuild("-o", f"type=oci,tar=false,dest={layout}", context, root=store_root))
    pybuild("validate", layout, root=store_root)
    (layout / "blobs/sha256" / digest.removeprefix("sha256:")).write_text("{}")

    assert "has digest" in pybuild("validate", layout, root=store_root, status=67).stderr
