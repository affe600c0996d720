"""What a command leaves besides its image: result files, the end of a failed build, places of errors, interruptions."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from builder.cli.parsing import value_of
from tests.support import images
from tests.support.cli import environment, pybuild, write_context
from tests.support.need import need_root


@pytest.fixture
def context(tmp_path: Path) -> Path:
    return write_context(tmp_path / "context", "FROM scratch\nCOPY a /a\n", {"a": "a"})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--iidfile", "nosuch/x"], "there is no directory nosuch"),
        (["--metadata-file", "nosuch/x"], "there is no directory nosuch"),
        (["--digest-file", "."], "is a directory"),
        (["--iidfile", "same", "--digest-file", "same"], "--iidfile writes the same file"),
        (["--iidfile", "same", "--metadata-file", "./same"], "--iidfile writes the same file"),
        (["-o", "type=docker,dest=same", "--digest-file", "same"], "--output writes the same file"),
    ],
)
def test_result_files_are_checked_before_any_work(
    context: Path, store_root: Path, arguments: list[str], said: str
) -> None:
    done = pybuild(*arguments, ".", root=store_root, status=64, cwd=context)
    assert said in done.stderr
    assert "#1" not in done.stderr


def test_a_failed_build_leaves_no_old_results(context: Path, store_root: Path, tmp_path: Path) -> None:
    for name in ("iid", "digest"):
        (tmp_path / name).write_text("from an earlier build")
    files = ["--iidfile", tmp_path / "iid", "--digest-file", tmp_path / "digest"]
    pybuild(*files, "--build-arg", "x", "--target", "nosuch", context, root=store_root, status=65)
    assert not (tmp_path / "iid").exists()
    assert not (tmp_path / "digest").exists()


def test_metadata_is_written_also_when_the_command_line_is_wrong(context: Path, tmp_path: Path) -> None:
    pybuild("--metadata-file", tmp_path / "m", "--nosuch", context, root=tmp_path / "store", status=64)
    found = json.loads((tmp_path / "m").read_text())
    assert (found["status"], found["exit_code"], found["error"]) == ("failed", 64, "UsageError")


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["--progress", "json", "."], "json"),
        (["--progress=json"], "json"),
        (["--progress=plain", "--progress", "json"], "json"),
        (["."], ""),
        (["--progress"], ""),
    ],
)
def test_values_of_words_that_were_not_parsed(words: list[str], value: str) -> None:
    assert value_of("--progress", words) == value


@pytest.mark.parametrize("arguments", [["--target", "nosuch", "."], ["--nosuch", "."], ["-t", "UPPER", "."]])
def test_every_line_of_json_progress_is_json(context: Path, store_root: Path, arguments: list[str]) -> None:
    done = pybuild("--progress=json", *arguments, root=store_root, status=(64, 65), cwd=context)
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert events[-1]["event"] == "Failed"
    assert events[-1]["exit_code"] == done.returncode
    assert events[-1]["message"]


@pytest.mark.parametrize(
    ("dockerfile", "status", "said"),
    [
        ("FROM scratch\nCOPY nosuch /\n", 66, 'Dockerfile:2:1: "/nosuch": not found\n2 | COPY nosuch /\n  | ^'),
        ("FROM scratch\nCOPY --chown=me a /\n", 66, "Dockerfile:2:1: "),
        ("FROM 127.0.0.1:1/nosuch:1\nCOPY a /\n", 75, "Dockerfile:1:1: 127.0.0.1:1/nosuch:1: "),
        ("FROM scratch\nCOPY --from=127.0.0.1:1/nosuch a /\n", 75, "Dockerfile:2:1: 127.0.0.1:1/nosuch:latest: "),
    ],
)
def test_errors_of_steps_and_bases_show_their_instruction(
    context: Path, store_root: Path, dockerfile: str, status: int, said: str
) -> None:
    (context / "Dockerfile").write_text(dockerfile)
    assert said in pybuild(".", root=store_root, status=status, cwd=context).stderr


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        ("Data.txt", "did you mean data.txt?"),
        ("below/mian.py", "did you mean below/main.py?"),
        ("link", "it is a link to nowhere, which is not there"),
        ("../data.txt/x", "nothing outside of the build context can be copied: name a wider one"),
        ("nothing-like-it", "check the path, and of a build context the .dockerignore"),
        ("nowhere/at/all", "check the path, and of a build context the .dockerignore"),
        ("--from=other ../nosuch", "check the path, and of a build context the .dockerignore"),
        ("--from=other /data.txt/Main.py", "check the path, and of a build context the .dockerignore"),
        ("--from=other /Data.txt", "did you mean data.txt?"),
    ],
)
def test_a_source_that_is_not_there_has_a_way_out(tmp_path: Path, store_root: Path, source: str, hint: str) -> None:
    text = f"FROM scratch AS other\nCOPY data.txt /\nFROM scratch\nCOPY {source} /\n"
    context = write_context(tmp_path / "context", text, {"data.txt": "", "below/main.py": ""})
    (context / "link").symlink_to("nowhere")
    assert f"\nhint: {hint}" in pybuild(context, root=store_root, status=66).stderr


def test_a_misspelt_stage_that_no_registry_has_is_suggested(context: Path, store_root: Path) -> None:
    (context / "Dockerfile").write_text("FROM scratch AS builder\nFROM scratch\nCOPY --from=bulider a /\n")
    done = pybuild("--pull=never", ".", root=store_root, status=67, cwd=context)
    assert "Dockerfile:3:1: " in done.stderr
    assert "did you mean the stage builder?" in done.stderr


def test_a_stage_that_is_not_there_yet_is_not_suggested(context: Path, store_root: Path) -> None:
    (context / "Dockerfile").write_text("FROM scratch AS base\nFROM buider AS builder\nFROM scratch AS builders\n")
    done = pybuild("--pull=never", "--target=builder", ".", root=store_root, status=67, cwd=context)
    assert "Dockerfile:2:1: " in done.stderr
    assert "did you mean" not in done.stderr


def test_a_failed_run_shows_its_instruction(store_root: Path, busybox_layout: Path, tmp_path: Path) -> None:
    need_root("needs root: RUN")
    folder = write_context(tmp_path / "context", "FROM base\nRUN exit 3\n")
    done = pybuild(f"--build-context=base=oci-layout://{busybox_layout}", folder, root=store_root, status=3)
    assert "Dockerfile:2:1: " in done.stderr
    assert "2 | RUN exit 3\n" in done.stderr


# --- interruptions


def started(arguments: list[str], folder: Path, root: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "builder.cli.main", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
        env=environment(root),
    )


def ended(process: subprocess.Popen[bytes]) -> str:
    """Wait with standard input left open, and return what was said."""
    assert process.stdout is not None
    assert process.stderr is not None
    said = process.stderr.read().decode()
    assert process.wait(timeout=60) == 130, said
    assert process.stdout.read() == b""
    assert "interrupted" in said
    return said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_run_is_interrupted(store_root: Path, busybox_layout: Path, tmp_path: Path, number: int) -> None:
    need_root("needs root: RUN")
    folder = write_context(tmp_path / "context", "FROM base\nRUN echo ready; sleep 600\n")
    arguments = [f"--build-context=base=oci-layout://{busybox_layout}", "--metadata-file=m", "."]
    with started(arguments, folder, store_root) as process:
        assert process.stderr is not None
        while b"| ready" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(number)
        ended(process)
    assert json.loads((folder / "m").read_text())["exit_code"] == 130
    assert not list(store_root.glob("tmp/*"))


def test_waiting_for_a_registry_is_interrupted(store_root: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        folder = write_context(tmp_path / "context", f"FROM 127.0.0.1:{silent.getsockname()[1]}/x\nCOPY Dockerfile /\n")
        with started(["--metadata-file=m", "."], folder, store_root) as process:
            connection, _ = silent.accept()
            with connection:
                process.send_signal(signal.SIGINT)
                ended(process)
    assert json.loads((folder / "m").read_text())["exit_code"] == 130


def test_waiting_for_standard_input_is_interrupted(store_root: Path, tmp_path: Path) -> None:
    with started(["-"], tmp_path, store_root) as process:
        assert process.stdin is not None
        # More than the pipe holds: once this is written, it reads, and then waits for the rest.
        process.stdin.write(images.layer(images.file("large", bytes(4 << 20)))[: 1 << 20])
        process.stdin.flush()
        process.send_signal(signal.SIGTERM)
        ended(process)
