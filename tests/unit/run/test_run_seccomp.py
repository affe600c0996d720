"""The filter, run by an interpreter of the few instructions it uses, and loaded into a real process."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.run.probe import container_sign
from builder.run.seccomp import DENIED, PRETENDED, RECORDED, denylist, recorded_calls, recorder

ALLOW, EPERM, ENOSYS = 0x7FFF0000, 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS
PRETEND, NOTIFY = 0x50000, 0x7FC00000
X86_64, I386, AARCH64, ARM = 0xC000003E, 0x40000003, 0xC00000B7, 0x40000028
COLUMNS = [("x86_64", X86_64, 0), ("x86_64", I386, 1), ("aarch64", AARCH64, 2), ("aarch64", ARM, 3)]


def judge(program: bytes, arch: int, number: int, argument: int = 0) -> int:
    data = struct.pack("=IIQ6Q", number, arch, 0, argument, 0, 0, 0, 0, 0)
    code = list(struct.iter_unpack("=HBBI", program))
    place, loaded = 0, 0
    while True:
        operation, yes, no, value = code[place]
        place += 1
        match operation:
            case 0x20:
                (loaded,) = struct.unpack_from("=I", data, value)
            case 0x15:
                place += yes if loaded == value else no
            case 0x35:
                place += yes if loaded >= value else no
            case 0x45:
                place += yes if loaded & value else no
            case 0x06:
                return value
            case _:
                raise AssertionError(operation)


def program(machine: str) -> bytes:
    found = denylist(machine)
    assert found is not None
    return found


@pytest.mark.parametrize(("machine", "arch", "column"), COLUMNS)
def test_denied_calls(machine: str, arch: int, column: int) -> None:
    for numbers in DENIED.values():
        if numbers[column] >= 0:
            assert judge(program(machine), arch, numbers[column]) == EPERM


@pytest.mark.parametrize(
    ("number", "argument", "verdict"),
    [
        (0, 0, ALLOW),  # read
        (59, 0, ALLOW),  # execve
        (101, 0, ALLOW),  # ptrace
        (161, 0, ALLOW),  # chroot
        (435, 0, ENOSYS),  # clone3
        (56, 17, ALLOW),  # clone for fork
        (56, 0x3D0F00, ALLOW),  # clone for a thread
        (56, 0x10000000, EPERM),  # clone of a user namespace
        (56, 0x00020000 | 17, EPERM),
        (41, 2, ALLOW),  # socket of the internet
        (41, 16, ALLOW),
        (41, 38, EPERM),  # AF_ALG
        (41, 40, EPERM),  # AF_VSOCK
        (135, 8, ALLOW),  # personality: linux32
        (135, 0xFFFFFFFF, ALLOW),
        (135, 0x40000, EPERM),  # without address randomisation
        (0x40000000, 0, ENOSYS),  # x32
    ],
)
def test_calls_of_x86_64(number: int, argument: int, verdict: int) -> None:
    assert judge(program("x86_64"), X86_64, number, argument) == verdict


@given(st.integers(0, 0xFFFFFFFF), st.integers(0, 0xFFFFFFFF), st.integers(0, 2**64 - 1))
def test_every_call_gets_a_verdict(arch: int, number: int, argument: int) -> None:
    for machine in ("x86_64", "aarch64"):
        assert judge(program(machine), arch, number, argument) in (ALLOW, EPERM, ENOSYS)


@given(st.integers(0, 0xFFFFFFFF).filter(lambda arch: arch not in (X86_64, I386)))
def test_unknown_architectures_can_do_nothing(arch: int) -> None:
    assert judge(program("x86_64"), arch, 0) == ENOSYS


def test_unknown_machines_have_no_filter() -> None:
    assert denylist("pdp11") is None
    assert recorder("pdp11") is None
    assert recorded_calls("pdp11") == {}


@pytest.mark.parametrize(("machine", "arch", "column"), COLUMNS)
def test_changes_of_owners_are_handed_on_and_changes_of_user_pretended(machine: str, arch: int, column: int) -> None:
    program = recorder(machine)
    assert program is not None
    special = {numbers[column]: NOTIFY for numbers in RECORDED.values()}
    special |= {numbers[column]: PRETEND for numbers in PRETENDED.values()}
    for number in range(600):
        assert judge(program, arch, number) == special.get(number, ALLOW)
    handed_on = {number for (its, number), _ in recorded_calls(machine).items() if its == arch}
    assert handed_on == {number for number, verdict in special.items() if verdict == NOTIFY and number >= 0}
    assert judge(program, arch ^ 1, 92) == ALLOW
    assert judge(program, arch, 0x40000000 | 92) == ALLOW  # the denylist has that
    # The kernel takes the stricter of two answers: what is denied stays so.
    assert not set(special) & {numbers[column] for numbers in DENIED.values() if numbers[column] >= 0}


# Needs no right: no_new_privs is set first.
BLOCKED = """
import ctypes, os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from builder.errors import SandboxError
from builder.run import init
from builder.run.sandbox import Sandbox
from builder.run.seccomp import denylist
import builder.run.process
assert init.libc.prctl(38, *[ctypes.c_ulong(value) for value in (1, 0, 0, 0)]) == 0
init.load_filter(denylist(os.uname().machine))
root = Path(sys.argv[1])
counter = iter(range(9))
def scratch():
    path = root / f"{next(counter)}.run"
    path.mkdir()
    return path
try:
    Sandbox(root, scratch=scratch).mode
except SandboxError as error:
    print(error.message)
    print(error.hint)
print(os.listdir(root))
"""


def test_a_kernel_that_refuses_namespaces_gets_a_refusal(tmp_path: Path) -> None:
    if denylist(os.uname().machine) is None:
        pytest.skip("no filter for this machine")
    if os.geteuid() == 0 and container_sign():
        pytest.skip("root of a container goes on without namespaces")
    checkout = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, tmp_path, str(checkout)], capture_output=True, text=True, check=True
    )
    message, hint, left = done.stdout.splitlines()
    assert message.startswith("cannot create a user namespace (")
    assert "unshare user namespace: EPERM" in message
    assert "seccomp=unconfined" in hint
    assert left == "[]"
