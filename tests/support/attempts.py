"""Attempts to get out of a RUN, or to reach what it must not. A program: ``attempts.py FACTS [NAME...]``
prints what came of each.

Standard library only; everything is imported at the start. FACTS is a JSON file: ``calls`` (number by name of system
call), ``victim`` (a process outside), ``canary`` (a file outside, by its path), ``word`` (what that file and the
builder's environment hold), ``disks`` (numbers of block devices of the machine), ``socket`` and ``port`` (an abstract
socket and a port of loopback that are listened on outside). Each attempt has a process of its own and answers "ok" when
it got through, else the error's name or a short reason.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import select
import signal
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)
SECONDS = 20
NEWNS, NEWUSER, NEWNET = 0x20000, 0x10000000, 0x40000000
ATTEMPTS: dict[str, Callable[[], object]] = {}
FACTS: dict[str, Any] = {}


class Stopped(Exception):  # noqa: N818 -- no error: an attempt that did not get through, in words
    pass


def attempt(function: Callable[[], object]) -> Callable[[], object]:
    ATTEMPTS[function.__name__] = function
    return function


def checked(result: int) -> int:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def call(name: str, *arguments: Any) -> int:
    number = FACTS["calls"][name]
    if number < 0:
        raise OSError(errno.ENOSYS, name)
    longs = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    return checked(LIBC.syscall(ctypes.c_long(number), *longs))


# --- namespaces and mounts


@attempt
def unshare_user() -> None:
    checked(LIBC.unshare(NEWUSER))


@attempt
def unshare_mount() -> None:
    checked(LIBC.unshare(NEWNS))


@attempt
def unshare_network() -> None:
    checked(LIBC.unshare(NEWNET))


@attempt
def clone_user() -> None:
    flags = ctypes.c_ulong(NEWUSER | signal.SIGCHLD)
    number = {"x86_64": 56, "aarch64": 220}[os.uname().machine]
    pid = checked(LIBC.syscall(ctypes.c_long(number), flags, None, None, None, None))
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


@attempt
def clone3() -> None:
    arguments = (ctypes.c_uint64 * 8)(NEWUSER, 0, 0, 0, signal.SIGCHLD, 0, 0, 0)
    pid = checked(LIBC.syscall(ctypes.c_long(435), arguments, ctypes.c_size_t(64)))
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


@attempt
def setns_own() -> None:
    with open("/proc/self/ns/uts") as namespace:
        checked(LIBC.setns(namespace.fileno(), 0))


@attempt
def mount_tmpfs() -> None:
    os.makedirs("/mnt-attempt", exist_ok=True)
    checked(LIBC.mount(b"tmpfs", b"/mnt-attempt", b"tmpfs", ctypes.c_ulong(0), None))


@attempt
def mount_tmpfs_new_api() -> None:
    checked(LIBC.syscall(ctypes.c_long(430), b"tmpfs", ctypes.c_long(0)))  # fsopen


@attempt
def bind_root() -> None:
    os.makedirs("/mnt-attempt", exist_ok=True)
    checked(LIBC.mount(b"/", b"/mnt-attempt", None, ctypes.c_ulong(4096), None))


@attempt
def remount_proc_sys_writable() -> None:
    checked(LIBC.mount(None, b"/proc/sys", None, ctypes.c_ulong(32 | 4096), None))


@attempt
def unmount_masks() -> None:
    checked(LIBC.umount2(b"/proc/kcore", ctypes.c_int(2)))


@attempt
def pivot_root() -> None:
    os.chdir("/")
    call("pivot_root", b".", b".")


# --- interfaces of the kernel


@attempt
def keyring() -> None:
    call("keyctl", 0, -3, 1)  # the session keyring, made if there is none


@attempt
def add_key() -> None:
    call("add_key", b"user", b"pybuild-attempt", b"x", 1, -2)


@attempt
def bpf_map() -> None:
    attributes = (ctypes.c_uint32 * 32)(2, 4, 4, 1)
    os.close(call("bpf", 0, attributes, 128))


@attempt
def perf_event() -> None:
    attributes = ctypes.create_string_buffer(128)
    attributes[0:8] = (1).to_bytes(4, sys.byteorder) + (128).to_bytes(4, sys.byteorder)
    os.close(call("perf_event_open", attributes, 0, -1, -1, 0))


@attempt
def userfaultfd() -> None:
    os.close(call("userfaultfd", 0))


@attempt
def io_uring() -> None:
    os.close(call("io_uring_setup", 1, ctypes.create_string_buffer(256)))


@attempt
def kernel_log() -> None:
    call("syslog", 10, None, 0)  # asks for the size of its buffer


@attempt
def set_time() -> None:
    call("settimeofday", None, None)


@attempt
def accounting() -> None:
    call("acct", None)


@attempt
def kexec_nothing() -> None:
    call("kexec_load", 0, 0, None, 0)


@attempt
def file_handle() -> None:
    handle = ctypes.create_string_buffer((128).to_bytes(4, sys.byteorder), 256)
    mount_id = ctypes.c_int(0)
    call("name_to_handle_at", -100, b"/attack", handle, ctypes.byref(mount_id), 0)


@attempt
def watch_all_files() -> None:
    os.close(call("fanotify_init", 0, 0))


@attempt
def crypto_socket() -> None:
    socket.socket(38, socket.SOCK_SEQPACKET).close()


@attempt
def no_randomisation() -> None:
    checked(LIBC.personality(ctypes.c_ulong(0x0040000)))


# --- /proc and /sys


def opens(path: str, flags: int = os.O_WRONLY) -> None:
    """Open only: nothing is written."""
    os.close(os.open(path, flags))


@attempt
def write_sysrq() -> None:
    opens("/proc/sysrq-trigger")


@attempt
def write_core_pattern() -> None:
    opens("/proc/sys/kernel/core_pattern")


@attempt
def write_domainname() -> None:
    opens("/proc/sys/kernel/domainname")


@attempt
def write_interrupts() -> None:
    opens("/proc/irq/default_smp_affinity")


@attempt
def write_sysfs() -> None:
    opens("/sys/kernel/mm/ksm/run")


@attempt
def write_uevent_helper() -> None:
    opens("/sys/kernel/profiling" if not os.path.exists("/sys/kernel/uevent_helper") else "/sys/kernel/uevent_helper")


@attempt
def write_cgroup() -> None:
    opens("/sys/fs/cgroup/cgroup.procs")


@attempt
def read_memory_image() -> None:
    with open("/proc/kcore", "rb") as file:
        if not file.read(4):
            raise Stopped("empty")


@attempt
def read_keys() -> None:
    with open("/proc/keys", "rb") as file:
        if not file.read(4):
            raise Stopped("empty")


@attempt
def read_timers() -> None:
    with open("/proc/timer_list", "rb") as file:
        if not file.read(4):
            raise Stopped("empty")


# --- devices


def device(kind: int, major: int, minor: int, places: tuple[str, ...]) -> None:
    """Make a device node in each place and open it for reading."""
    reasons = []
    for place in places:
        path = f"{place}/attempt-{major}-{minor}"
        try:
            os.mknod(path, kind | 0o666, os.makedev(major, minor))
            opens(path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            reasons.append(errno.errorcode[error.errno or 0])
        else:
            return
        finally:
            with contextlib.suppress(OSError):
                os.unlink(path)
    raise Stopped(" ".join(sorted(set(reasons))))


EVERYWHERE = ("/", "/dev", "/dev/shm", "/tmp", "/cache", "/tmpfs", "/bound")


@attempt
def open_disk() -> None:
    for major, minor in FACTS["disks"]:
        device(stat.S_IFBLK, major, minor, EVERYWHERE)


@attempt
def open_kernel_messages() -> None:
    device(stat.S_IFCHR, 1, 11, EVERYWHERE)


@attempt
def open_fuse() -> None:
    device(stat.S_IFCHR, 10, 229, EVERYWHERE)


@attempt
def change_null() -> None:
    before = os.stat("/dev/null").st_mode
    os.chmod("/dev/null", 0o600)
    os.chmod("/dev/null", stat.S_IMODE(before))


@attempt
def fill_shared_memory() -> None:
    fill("/dev/shm/attempt", 65)


@attempt
def fill_dev() -> None:
    fill("/dev/attempt", 65)


def fill(path: str, megabytes: int) -> None:
    block = bytes(1 << 20)
    try:
        with open(path, "wb", buffering=0) as file:
            for _ in range(megabytes):
                if file.write(block) < len(block):
                    raise OSError(errno.ENOSPC, "short")
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)


# --- files of the host


def seen(path: str) -> None:
    with open(path, "rb") as file:
        if FACTS["word"].encode() not in file.read(4096):
            raise Stopped("another file")


@attempt
def read_file_of_host() -> None:
    seen(FACTS["canary"])


@attempt
def read_through_dots() -> None:
    seen("/" + "../" * 60 + FACTS["canary"])


@attempt
def read_through_proc() -> None:
    """Look through the roots, directories and open files of every process that can be seen."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for way in ("root", "cwd"):
            with contextlib.suppress(OSError, Stopped):
                return seen(f"/proc/{pid}/{way}{FACTS['canary']}")
    raise Stopped("nowhere")


@attempt
def leave_chroot() -> None:
    """The classic: a directory that is open outside the new root, then up."""
    jail = f"/tmp/jail-{os.getpid()}"
    os.mkdir(jail)
    top = os.open("/", os.O_RDONLY)
    try:
        os.chroot(jail)
        os.fchdir(top)
    finally:
        os.rmdir(jail.lstrip("/"), dir_fd=top)
    for _ in range(60):
        os.chdir("..")
    os.chroot(".")
    seen(FACTS["canary"])


@attempt
def leftover_descriptors() -> None:
    found = []
    for number in range(3, 1024):
        with contextlib.suppress(OSError):
            fcntl.fcntl(number, fcntl.F_GETFD)
            found.append(number)
    extra = [number for number in found if number != KEPT]
    if not extra:
        raise Stopped("none")


KEPT = -1


# --- processes outside


@attempt
def signal_victim() -> None:
    os.kill(FACTS["victim"], 0)


@attempt
def trace_victim() -> None:
    checked(LIBC.ptrace(16, FACTS["victim"], None, None))


@attempt
def read_memory_of_victim() -> None:
    buffer = ctypes.create_string_buffer(8)
    vector = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), 8)
    result = LIBC.process_vm_readv(FACTS["victim"], vector, ctypes.c_ulong(1), vector, ctypes.c_ulong(1), 0)
    if result == -1 and ctypes.get_errno() == errno.EFAULT:
        return  # let in: only the address was wrong
    checked(result)


@attempt
def kill_victim() -> None:
    os.kill(FACTS["victim"], signal.SIGKILL)


@attempt
def environment_of_others() -> None:
    """Look for the builder's environment in our own and in that of every process that can be seen."""
    word = FACTS["word"].encode()
    for pid in ("self", *filter(str.isdigit, os.listdir("/proc"))):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb") as file:
            if word in file.read():
                return
    if any(word in os.fsencode(value) for value in os.environ.values()):
        return
    raise Stopped("nowhere")


@attempt
def command_lines_of_others() -> None:
    word = b"builder.cli.main"
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
            if word in file.read():
                return
    raise Stopped("nowhere")


@attempt
def type_into_terminal() -> None:
    fd = os.open("/dev/tty", os.O_RDWR)
    fcntl.ioctl(fd, 0x5412, b"#")


# --- the network


@attempt
def abstract_socket() -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("\0" + FACTS["socket"])


@attempt
def port_of_host() -> None:
    with socket.socket() as client:
        client.settimeout(5)
        client.connect(("127.0.0.1", FACTS["port"]))


@attempt
def sniff() -> None:
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0x0300).close()


@attempt
def interfaces() -> None:
    if socket.if_nameindex() == [(1, "lo")]:
        raise Stopped("lo")


# --- the program


def every_denied_call() -> Iterator[tuple[str, Callable[[], object]]]:
    """Each call of the denylist with arguments that make no sense: only a filter answers EPERM."""
    for name in FACTS["calls"]:
        yield f"call {name}", lambda name=name: call(name, -1, -1, -1, -1, -1, -1)


def outcome(function: Callable[[], object]) -> str:
    global KEPT
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        KEPT = writer
        signal.alarm(SECONDS)
        try:
            function()
            answer = "ok"
        except Stopped as stopped:
            answer = str(stopped)
        except OSError as error:
            answer = errno.errorcode.get(error.errno or 0, repr(error))
        except BaseException as error:  # noqa: BLE001 -- told to whoever reads the results
            answer = repr(error)
        with contextlib.suppress(OSError):
            os.write(writer, answer.encode())
        os._exit(0)
    os.close(writer)
    answer = b""
    while select.select([reader], [], [], SECONDS + 5)[0] and (part := os.read(reader, 4096)):
        answer += part
    os.close(reader)
    with contextlib.suppress(OSError):
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return answer.decode() or "died"


def main() -> None:
    with open(sys.argv[1]) as file:
        FACTS.update(json.load(file))
    todo = {**ATTEMPTS, **dict(every_denied_call())}
    todo = {name: todo[name] for name in sys.argv[2:] or todo}
    print(json.dumps({name: outcome(function) for name, function in todo.items()}), flush=True)


if __name__ == "__main__":
    main()
