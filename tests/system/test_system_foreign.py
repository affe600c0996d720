"""RUN in images for another processor: with an emulator on PATH, with a handler of the kernel's, with neither."""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Mapping
from pathlib import Path

import pytest

from builder.errors import SandboxError
from builder.run import foreign
from builder.run.spec import RunSpec
from tests.support.cli import pybuild, write_context
from tests.support.images import file, layer, write_layout
from tests.support.need import need, need_root, need_tool
from tests.support.users import User

BASE = 0x400000
START = BASE + 64 + 56


def program(code: list[int], data: bytes) -> bytes:
    """Return a static program for aarch64: ``code`` and, right behind it, ``data``."""
    body = b"".join(struct.pack("<I", word) for word in code) + data
    size = 64 + 56 + len(body)
    head = b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 2, 183, 1, START, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    return head + struct.pack("<IIQQQQQQ", 1, 7, 0, BASE, BASE, size, size, 0x1000) + body


def adr(register: int, distance: int) -> int:
    return 0x10000000 | (distance & 3) << 29 | (distance >> 2) << 5 | register


def mov(register: int, value: int) -> int:
    return 0xD2800000 | value << 5 | register


CALL = 0xD4000001


def says(text: bytes, status: int) -> bytes:
    """Return a program that writes ``text`` and ends with ``status``."""
    code = [mov(0, 1), adr(1, 7 * 4), mov(2, len(text)), mov(8, 64), CALL, mov(0, status), mov(8, 93), CALL]
    code[1] = adr(1, (len(code) - 1) * 4)
    return program(code, text)


def becomes(path: bytes) -> bytes:
    """Return a program that executes ``path``, and ends with 9 where that is not possible."""
    code = [adr(0, 8 * 4), adr(1, 0), mov(2, 0), mov(8, 221), CALL, mov(0, 9), mov(8, 93), CALL]
    name = path + bytes(8 - len(path) % 8)
    code[1] = adr(1, (len(code) - 1) * 4 + len(name))
    arguments = struct.pack("<QQ", START + len(code) * 4, 0)
    return program(code, name + arguments)


@pytest.fixture(scope="module")
def emulators() -> Path:
    """A directory with nothing but the emulator."""
    need(os.uname().machine == "x86_64", "needs a machine of another kind than the programs")
    need("qemu-aarch64" not in foreign.handlers(), "the kernel has a handler already")
    return Path(need_tool("qemu-aarch64-static")).parent


def context(folder: Path, dockerfile: str) -> tuple[Path, str]:
    members = [
        file("bin/hello", says(b"hello from elsewhere\n", 0), mode=0o755),
        file("bin/seven", says(b"", 7), mode=0o755),
        file("bin/chain", becomes(b"/bin/hello"), mode=0o755),
        file("bin/garbage", b"\0" * 64, mode=0o755),
    ]
    write_layout(folder / "layout", [layer(*members)], architecture="arm64")
    made = write_context(folder / "context", f"FROM base\n{dockerfile}")
    for path in (folder, folder / "layout", made):
        path.chmod(0o755)
    return made, f"--build-context=base=oci-layout://{folder}/layout:latest"


def run_as(user: User | None, folder: Path, dockerfile: str, status: int, env: Mapping[str, str], *options: str) -> str:
    made, base = context(folder, dockerfile)
    arguments = ["--platform=linux/arm64", "--progress=plain", base, *options, made]
    if user is None:
        done = pybuild(*arguments, root=folder / "store", status=status, env=env)
    else:
        done = user.pybuild("--root", folder / "store", *arguments, env=env, check=False)
        assert done.returncode == status, done.stderr
    return done.stderr


def test_an_emulator_on_path_starts_the_command(tmp_path: Path, emulators: Path) -> None:
    need_root("needs root: RUN")
    env = {"PATH": f"{emulators}:{os.defpath}"}
    said = run_as(None, tmp_path, 'RUN ["/bin/hello"]\n', 0, env, "--isolation=root")
    assert "| hello from elsewhere" in said
    run_as(None, tmp_path, 'RUN ["/bin/seven"]\n', 7, env, "--isolation=root")


def test_only_the_platform_that_needs_it_is_emulated(tmp_path: Path, emulators: Path) -> None:
    need_root("needs root: RUN")
    text = 'ARG TARGETARCH\nFROM scratch AS amd64\nFROM base AS arm64\nRUN ["/bin/hello"]\nFROM $TARGETARCH\nENV a=b\n'
    made, base = context(tmp_path, "")
    (made / "Dockerfile").write_text(text)
    both = ["--platform=linux/amd64,linux/arm64", "--progress=plain", "--isolation=root", base, made]
    env = {"PATH": f"{emulators}:{os.defpath}"}
    said = pybuild(*both, root=tmp_path / "store", env=env).stderr
    assert '[linux/arm64 arm64 2/2] RUN ["/bin/hello"]' in said
    assert said.count("hello from elsewhere") == 1
    nothing = tmp_path / "nothing"
    nothing.mkdir()
    (made / "Dockerfile").write_text("FROM base\nCOPY Dockerfile /\nWORKDIR /w\n")
    pybuild(*both, root=tmp_path / "other", env={"PATH": str(nothing)})


def test_what_the_command_starts_is_emulated_too_in_a_user_namespace(subuid_user: User, emulators: Path) -> None:
    folder = subuid_user.home / "foreign"
    folder.mkdir()
    os.chown(folder, subuid_user.uid, subuid_user.gid)
    said = run_as(subuid_user, folder, 'RUN ["/bin/chain"]\n', 0, {"PATH": f"{emulators}:{os.defpath}"})
    assert "| hello from elsewhere" in said
    shutil.rmtree(folder)


def test_without_either_the_error_names_both(tmp_path: Path) -> None:
    need_root("needs root: RUN")
    need(os.uname().machine == "x86_64", "needs a machine of another kind than the programs")
    nothing = tmp_path / "nothing"
    nothing.mkdir()
    said = run_as(None, tmp_path, 'RUN ["/bin/hello"]\n', 71, {"PATH": str(nothing)})
    assert 'exec "/bin/hello" in image: it is for aarch64, this machine is x86_64' in said
    assert "binfmt_misc has no handler for it" in said
    assert "qemu-aarch64-static on PATH" in said
    assert "apt-get install qemu-user-static" in said


def test_what_is_no_program_is_no_platform(tmp_path: Path) -> None:
    need_root("needs root: RUN")
    said = run_as(None, tmp_path, 'RUN ["/bin/garbage"]\n', 126, {})
    assert 'exec "/bin/garbage" in image: exec format error\n' in said


# --- the parts


def test_rules_match_the_programs_they_are_for() -> None:
    fields = foreign.rule("aarch64", "/usr/bin/qemu-aarch64-static").decode().split(":")
    assert fields[1:4] == ["pybuild-aarch64", "M", "0"]
    assert fields[6:] == ["/usr/bin/qemu-aarch64-static", "POCF"]
    magic, mask = (bytes.fromhex(text.replace("\\x", "")) for text in fields[4:6])
    assert len(magic) == len(mask) == 20
    head = says(b"", 0)[:20]
    shared = head[:16] + b"\3" + head[17:]
    other = head[:18] + b"\x3e\0"
    for header, matches in ((head, True), (shared, True), (other, False)):
        assert (bytes(a & b for a, b in zip(header, mask, strict=True)) == bytes(
            a & b for a, b in zip(magic, mask, strict=True)
        )) == matches  # fmt: skip


@pytest.mark.parametrize(
    ("header", "machine"),
    [(b"", None), (b"#!/bin/sh\n" + bytes(20), None), (b"\x7fELF" + bytes(20), None), (says(b"", 0)[:20], "aarch64"),
     (b"\x7fELF\2\2\1" + bytes(9) + b"\0\2\0\x16", "s390x")],
)  # fmt: skip
def test_what_programs_say_of_themselves(header: bytes, machine: str | None) -> None:
    assert foreign.machine_of(header) == machine


def test_an_emulator_does_not_search() -> None:
    with pytest.raises(SandboxError) as caught:
        foreign.emulated(RunSpec(args=("hello",)), "/usr/bin/qemu-aarch64-static")
    assert "whole path" in (caught.value.hint or "")
    spec = foreign.emulated(RunSpec(args=("/hello", "x")), "/usr/bin/qemu-aarch64-static")
    assert spec.args == (foreign.EMULATOR, "/hello", "x")
    assert [one.target for one in spec.mounts] == [foreign.EMULATOR]
