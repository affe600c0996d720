"""The process of one RUN (run-sandbox.md 2 and 4): mounts the layers, becomes the command's parent, cleans up after it.

Started inside the worker's namespaces, as ``run.attending`` says. Two processes: the *helper* sees the bare tree, its
child is PID 1 of the step and becomes the user's command.

Standard library only, but for ``run.attending``, and nothing imported late: after pivot_root there is no library.
It decides nothing: users, mounts and filters arrive as plain values.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
import sys

from builder.run import attending
from builder.run.attending import SIGKILL, Failure, attend, frame, receive, send

TYPE_CHECKING = False  # importing typing for it would cost every step a third of its start
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from builder.run.attending import Plan, Stubs

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWNET = 0x20000, 0x02000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC, MS_SLAVE, MS_RELATIME = 32, 4096, 16384, 1 << 19, 1 << 21
MNT_DETACH, AT_EMPTY_PATH, AT_RECURSIVE, O_PATH = 2, 0x1000, 0x8000, 0x200000
PR_SET_PDEATHSIG, PR_SET_KEEPCAPS, PR_CAPBSET_READ, PR_CAPBSET_DROP, PR_CAP_AMBIENT = 1, 8, 23, 24, 47
SECCOMP_LISTENER, SECCOMP_KILLABLE = 8, 32
NR_MOUNT_SETATTR = 442
NR = {
    "x86_64": {"pivot_root": 155, "seccomp": 317, "keyctl": 250, "rt_sigaction": 13},
    "aarch64": {"pivot_root": 41, "seccomp": 277, "keyctl": 219, "rt_sigaction": 134},
}.get(os.uname().machine, {})
LOOKUP = O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
MAX_DATABASE = 10 << 20
MAX_LINKS = 255
NODES = ((b"null", 1, 3), (b"zero", 1, 5), (b"full", 1, 7), (b"random", 1, 8), (b"urandom", 1, 9), (b"tty", 5, 0))
LINKS = ((b"fd", b"/proc/self/fd"), (b"core", b"/proc/kcore"), (b"ptmx", b"pts/ptmx"))
STREAMS = (b"stdin", b"stdout", b"stderr")

libc = ctypes.CDLL(None, use_errno=True)


# -- system calls


def checked(result: int, what: str) -> None:
    """Raise OSError naming ``what`` if a call of libc failed."""
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def mount(source: bytes | None, target: bytes, kind: bytes | None, flags: int, data: bytes | None = None) -> None:
    """Call mount(2)."""
    result = libc.mount(source, target, kind, ctypes.c_ulong(flags), data)
    checked(result, f"mount {os.fsdecode(kind or source or b'')}")


def unshare(flags: int) -> None:
    """Call unshare(2); a kernel without cgroup namespaces goes without."""
    if libc.unshare(flags) == -1:
        checked(libc.unshare(flags & ~CLONE_NEWCGROUP), "unshare")


def prctl(option: int, *arguments: int) -> int:
    """Call prctl(2)."""
    longs = [ctypes.c_ulong(value) for value in (*arguments, 0, 0, 0, 0)][:4]
    return int(libc.prctl(option, *longs))


def by_fd(fd: int) -> bytes:
    """Return a name for ``fd`` that works as long as the host's /proc is there: before pivot_root."""
    return b"/proc/self/fd/%d" % fd


# -- the tree


def walk(root: int, path: bytes, make: str = "", stubs: Stubs | None = None, owner: tuple[int, int] = (0, 0)) -> int:
    """Open ``path`` below ``root`` as if ``root`` were "/": no symlink and no ".." leads out. Returns an O_PATH fd.

    With ``make`` ("dir" or "file") missing components are created, the last one as told; ``stubs`` takes note of them.
    """
    trail = [(b"", root)]
    names = path.split(b"/")[::-1]
    links = 0
    try:
        while names:
            name = names.pop()
            if name in (b"", b"."):
                continue
            if name == b"..":
                leave(trail, len(trail) - 1)
                continue
            last = all(rest in (b"", b".") for rest in names)
            fd = enter(trail, name, make if last or not make else "dir", stubs, owner)
            if not stat.S_ISLNK(os.fstat(fd).st_mode):
                trail.append((name, fd))
                continue
            text = os.readlink(b"", dir_fd=fd)
            os.close(fd)
            links += 1
            if links > MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            if text.startswith(b"/"):
                leave(trail, 1)
            names.extend(reversed(text.split(b"/")))
        return os.dup(trail[-1][1])
    finally:
        leave(trail, 1)


def enter(trail: list[tuple[bytes, int]], name: bytes, make: str, stubs: Stubs | None, owner: tuple[int, int]) -> int:
    """Open ``name`` in the last directory of ``trail``, made first if it is missing and ``make`` says as what."""
    parent = trail[-1][1]
    try:
        return os.open(name, LOOKUP, dir_fd=parent)
    except FileNotFoundError:
        if not make:
            raise
    create(parent, name, make, owner)
    if stubs is not None and os.fstat(parent).st_dev == os.fstat(trail[0][1]).st_dev:
        stubs.append((b"/".join([*(part for part, _ in trail[1:]), name]), make == "dir"))
    return os.open(name, LOOKUP, dir_fd=parent)


def leave(trail: list[tuple[bytes, int]], depth: int) -> None:
    """Go up until ``depth`` directories are open; the root always is."""
    while len(trail) > max(depth, 1):
        os.close(trail.pop()[1])


def create(parent: int, name: bytes, kind: str, owner: tuple[int, int] = (0, 0)) -> None:
    """Make an empty file or directory; the parent keeps its times."""
    before = os.stat(b".", dir_fd=parent)
    if kind == "dir":
        os.mkdir(name, 0o755, dir_fd=parent)
    else:
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644, dir_fd=parent))
    if owner != (0, 0):
        os.chown(name, *owner, dir_fd=parent, follow_symlinks=False)
    os.utime(b".", ns=(before.st_atime_ns, before.st_mtime_ns), dir_fd=parent)


def remove_stubs(root: int, made: Stubs) -> None:
    """Remove what still is as we made it. The command may have put symlinks anywhere: none is followed."""
    for path, is_dir in reversed(made):
        *parents, name = path.split(b"/")
        parent = os.dup(root)
        try:
            for component in parents:
                below = os.open(component, LOOKUP | os.O_DIRECTORY, dir_fd=parent)
                os.close(parent)
                parent = below
            before = os.stat(b".", dir_fd=parent)
            if is_dir:
                os.rmdir(name, dir_fd=parent)
            else:
                found = os.stat(name, dir_fd=parent, follow_symlinks=False)
                if not stat.S_ISREG(found.st_mode) or found.st_size:
                    continue
                os.unlink(name, dir_fd=parent)
            os.utime(b".", ns=(before.st_atime_ns, before.st_mtime_ns), dir_fd=parent)
        except OSError:
            continue  # not empty any more, or not ours any more: it belongs to the layer
        finally:
            os.close(parent)


def database(root: int, path: bytes) -> bytes | None:
    """Return the contents of a regular file of the image of reasonable size, else None."""
    try:
        fd = walk(root, path)
    except OSError:
        return None
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_DATABASE:
            return None
        with open(by_fd(fd), "rb", buffering=0) as file:
            return file.read(MAX_DATABASE)
    finally:
        os.close(fd)


# -- mounts of the step


class Tree:
    """The root the command will see, while it is being furnished."""

    def __init__(self, root: int, private: bytes) -> None:
        self.root = root
        self.private = private
        self.stubs: Stubs = []
        self.files = 0

    def point(self, target: bytes, make: str) -> int:
        """Return the mount point ``target``, made if it is missing."""
        return walk(self.root, target, make, self.stubs)

    def has(self, directory: bytes) -> bool:
        """Whether the image has this directory."""
        try:
            fd = walk(self.root, directory)
        except OSError:
            return False
        found = os.path.isdir(by_fd(fd))
        os.close(fd)
        return found

    def filesystem(self, op: Plan) -> None:
        """Mount a new file system; a refused one is replaced by the host's (``fallback``) or left out."""
        stubs, fd = len(self.stubs), self.point(op["target"], "dir")
        data = op["data"]
        if op["keep_mode"] and len(self.stubs) == stubs:
            data = b",".join(filter(None, (data, b"mode=%o" % stat.S_IMODE(os.fstat(fd).st_mode))))
        try:
            mount(op["source"], by_fd(fd), op["type"], op["flags"], data)
        except OSError:
            if op["fallback"]:
                # The host's /proc shows processes outside: the command may look at it, and write to none of them.
                flags = op["flags"] | (MS_RDONLY if op["type"] == b"proc" else 0)
                self.attach(op["fallback"], fd, op["target"], flags)
            elif not op["optional"]:
                raise
        finally:
            os.close(fd)

    def bind(self, op: Plan) -> None:
        """Show a host directory or file, or a place inside it."""
        outer = os.open(op["source"], O_PATH | os.O_CLOEXEC)
        source = walk(outer, op["subpath"], op["make"], None, op["owner"]) if op["subpath"] else os.dup(outer)
        kind = "dir" if stat.S_ISDIR(os.fstat(source).st_mode) else "file"
        fd = self.point(op["target"], kind)
        if "mode" in op:  # a socket that is the step's own
            os.chown(by_fd(source), *op["owner"])
            os.chmod(by_fd(source), op["mode"])
        self.attach(by_fd(source), fd, op["target"], op["flags"])
        for each in (outer, source, fd):
            os.close(each)

    def attach(self, source: bytes, point: int, target: bytes, flags: int) -> None:
        """Bind ``source`` with everything below it and then restrict the new mount."""
        mount(source, by_fd(point), None, MS_BIND | MS_REC)
        fd = walk(self.root, target)
        try:
            restrict(fd, flags)
        finally:
            os.close(fd)

    def file(self, op: Plan) -> None:
        """Show a file of ours that lives in memory only; one for a directory (``within``) only where that exists."""
        if "within" in op and not self.has(op["within"]):
            return
        self.files += 1
        name = self.private + b"/f%d" % self.files
        fd = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        data = op["data"]
        while data:
            data = data[os.write(fd, data) :]
        os.fchown(fd, *op["owner"])
        os.fchmod(fd, op["mode"])
        os.close(fd)
        point = self.point(op["target"], "file")
        self.attach(name, point, op["target"], op["flags"])
        os.close(point)

    def overlay(self, op: Plan) -> None:
        """Show directories whose changes are thrown away, ``subpath`` of them at ``target``."""
        base = op["base"]
        if "tree" not in op:
            os.chdir(base)
            mount(b"overlay", b"m", b"overlay", MS_NODEV, op["options"])
            os.chdir(b"/")
        self.bind({**op, "source": op.get("tree", base + b"/m")})

    def devices(self, op: Plan) -> None:
        """Furnish /dev: our own nodes where the kernel lets us make them, else the host's, read-only as inodes."""
        directory = walk(self.root, op["target"])
        for name, major, minor in NODES:
            own = self.private + b"/" + name
            try:
                os.mknod(own, stat.S_IFCHR | 0o666, os.makedev(major, minor))
                flags = MS_NOSUID
            except PermissionError:
                own, flags = b"/dev/" + name, MS_NOSUID | MS_RDONLY
                if not os.path.exists(own):
                    continue
            create(directory, name, "file")
            point = os.open(name, LOOKUP, dir_fd=directory)
            self.attach(own, point, op["target"] + b"/" + name, flags)
            os.close(point)
        for name, text in (*LINKS, *((name, b"/proc/self/fd/%d" % fd) for fd, name in enumerate(STREAMS))):
            os.symlink(text, name, dir_fd=directory)
        for name in filter(lambda name: os.path.exists(b"/dev/" + name), op["more"]):
            point = walk(directory, name, "file")
            self.attach(b"/dev/" + name, point, op["target"] + b"/" + name, MS_NOSUID)
            os.close(point)
        os.close(directory)

    def cover(self, op: Plan) -> None:
        """Make paths of the kernel's file systems read-only, or hide them; a missing one needs neither."""
        empty, null = self.private + b"/empty", self.private + b"/null"
        if not os.path.exists(null):
            null = b"/dev/null"
        for path in op["readonly"]:
            try:
                fd = walk(self.root, path)
            except OSError:
                continue
            self.attach(by_fd(fd), fd, path, MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC)
            os.close(fd)
        for path in op["masked"]:
            try:
                fd = walk(self.root, path)
            except OSError:
                continue
            if stat.S_ISDIR(os.fstat(fd).st_mode):
                self.attach(empty, fd, path, MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC)
            else:
                self.attach(null, fd, path, MS_RDONLY | MS_NOSUID | MS_NOEXEC)
            os.close(fd)


def restrict(fd: int, flags: int) -> None:
    """Add ``flags`` (MS_*) to the mount ``fd`` is the root of, and to those below."""
    # MS_RDONLY, NOSUID, NODEV and NOEXEC have the same values as their MOUNT_ATTR_* namesakes.
    attributes = (ctypes.c_uint64 * 4)(flags, 0, 0, 0)
    if libc.syscall(NR_MOUNT_SETATTR, fd, b"", AT_EMPTY_PATH | AT_RECURSIVE, attributes, ctypes.c_size_t(32)) == 0:
        return
    if ctypes.get_errno() != errno.ENOSYS:
        checked(-1, "mount_setattr")
    present = os.fstatvfs(fd).f_flag
    kept = present & 0xC0F | (MS_RELATIME if present & 4096 else 0)
    mount(None, by_fd(fd), None, MS_REMOUNT | MS_BIND | flags | kept)


def furnish(plan: Plan) -> tuple[Tree, int]:
    """Build the command's root in a mount namespace of its own; return it and the command's working directory."""
    checked(libc.unshare(CLONE_NEWNS), "unshare")
    private = plan["scratch"] + b"/p"
    mount(b"tmpfs", private, b"tmpfs", MS_NOSUID, b"mode=0700")
    os.mkdir(private + b"/empty", 0o755)
    root = os.open(plan["scratch"] + b"/m", O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    tree = Tree(root, private)
    for op in plan["mounts"]:
        try:
            getattr(tree, op["op"])(op)
        except OSError as error:
            where = os.fsdecode(op["target"]) or "/"
            what = os.fsdecode(error.filename or op["op"])
            raise Failure("setup", 71, f"cannot mount {where}: {error.strerror} ({what})") from error
    try:
        cwd = walk(root, plan["cwd"], "dir", None, plan["identity"][:2])
        if not stat.S_ISDIR(os.fstat(cwd).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    except OSError as error:
        raise Failure("setup", 71, f"working directory {os.fsdecode(plan['cwd'])}: {error.strerror}") from error
    return tree, cwd


# -- PID 1


def command(plan: Plan, report: int) -> NoReturn:
    """Be the step's first process: set everything up, then become the command. Raises OSError, Failure."""
    prctl(PR_SET_PDEATHSIG, SIGKILL)
    os.setsid()
    os.umask(0)
    if plan["cgroup"]:
        join_cgroup(plan["cgroup"])
    if plan["namespaces"] & CLONE_NEWNET:
        loopback_up()
    tree, cwd = furnish(plan)
    libc.sethostname(plan["hostname"], ctypes.c_size_t(len(plan["hostname"])))
    pivot(tree.root)
    os.fchdir(cwd)
    os.umask(0o022)
    surrender(plan)
    send(report, ("stubs", tree.stubs))  # fails if the helper died before PDEATHSIG could tell
    execute(plan["args"], dict(plan["env"]))


def join_cgroup(processes: bytes) -> None:
    """Move this process into the group whose ``cgroup.procs`` is ``processes``, and see nothing above it."""
    fd = os.open(processes, os.O_WRONLY | os.O_CLOEXEC)
    os.write(fd, b"0")
    os.close(fd)
    libc.unshare(CLONE_NEWCGROUP)  # where that is allowed


def loopback_up() -> None:
    """Bring up the only interface of a new network namespace."""
    sock = libc.socket(2, 2, 0)
    request = ctypes.create_string_buffer(b"lo".ljust(16, b"\0") + (0x1 | 0x40).to_bytes(2, sys.byteorder), 40)
    checked(libc.ioctl(sock, ctypes.c_ulong(0x8914), request), "bring up lo")
    os.close(sock)


def pivot(root: int) -> None:
    """Make ``root`` the root directory and let go of the old one."""
    old = os.open(b"/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    os.fchdir(root)
    checked(libc.syscall(NR["pivot_root"], b".", b"."), "pivot_root")
    os.fchdir(old)
    mount(None, b".", None, MS_REC | MS_SLAVE)
    checked(libc.umount2(b".", MNT_DETACH), "umount of the old root")
    os.chdir(b"/")
    os.close(old)


def surrender(plan: Plan) -> None:
    """Give up every right the command must not have. The order matters: each call needs what a later one takes."""
    uid, gid, groups, _ = plan["identity"]
    for fd in (1, 2):
        try:
            os.fchown(fd, uid, gid)  # so that the command can open /dev/stdout
        except OSError:
            pass
    libc.syscall(NR["keyctl"], 1, None)  # a session keyring of its own: ours may hold the user's keys
    if plan["seccomp"]:
        load_filter(plan["seccomp"])
    set_limits(plan["limits"])
    if plan["recorder"]:
        # With it the calls below that change ids and capabilities only seem to. There is nothing to change: the only
        # uid stays root's, who at execve gets what is left in the bounding set, and has nothing to inherit.
        pass_on(plan["channel"], ("recorder",), listener(plan["recorder"]))
    keep = reduce_bounding_set(plan["capabilities"])
    set_capabilities(keep, keep if plan["insecure"] else 0)
    prctl(PR_SET_KEEPCAPS, int(plan["insecure"]))
    try:
        os.setgroups(groups)
    except PermissionError:
        if plan["strict_ids"]:
            raise
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if plan["insecure"]:
        set_capabilities(keep, keep)
        for capability in range(keep.bit_length()):
            prctl(PR_CAP_AMBIENT, 2, capability)  # raise it, if it is there
    prctl(PR_SET_PDEATHSIG, SIGKILL)  # changing credentials has cleared it
    for number in range(1, 65):  # by the system call: libc keeps two signals to itself, ignored by posix_spawn
        libc.syscall(NR["rt_sigaction"], number, (ctypes.c_ulong * 4)(), None, ctypes.c_size_t(8))
    libc.sigprocmask(2, (ctypes.c_uint64 * 16)(), None)


def set_limits(limits: list[tuple[int, str, int, int]]) -> None:
    """Set resource limits: number, name, soft, hard. Raises Failure for one that is not ours to raise."""
    for number, name, soft, hard in limits:
        before = (ctypes.c_uint64 * 2)()
        libc.getrlimit(number, before)
        if libc.setrlimit(number, (ctypes.c_uint64 * 2)(soft, hard)) == -1:
            why = os.strerror(ctypes.get_errno()).lower()
            highest = "unlimited" if before[1] == (1 << 64) - 1 else before[1]
            raise Failure("setup", 71, f"--ulimit {name}: {why}; the highest limit possible here is {highest}")


def set_capabilities(keep: int, inherit: int) -> None:
    """Make ``keep`` the effective and the permitted set. Without ``inherit`` the ambient set gets empty too."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    words = [half for shift in (0, 32) for half in (keep >> shift, keep >> shift, inherit >> shift)]
    checked(libc.capset(header, (ctypes.c_uint32 * 6)(*(word & 0xFFFFFFFF for word in words))), "capset")


def reduce_bounding_set(keep: int) -> int:
    """Drop what is not in ``keep``; return what is left."""
    left = 0
    for capability in range(64):
        present = prctl(PR_CAPBSET_READ, capability)
        if present < 0:
            break
        if not keep >> capability & 1:
            prctl(PR_CAPBSET_DROP, capability)
        elif present:
            left |= 1 << capability
    return left


def load_filter(program: bytes, flags: int = 0) -> int:
    """Install a seccomp filter; needs CAP_SYS_ADMIN, because no_new_privs stays off. Returns 0 or the listener."""
    buffer = ctypes.create_string_buffer(program, len(program))

    class Program(ctypes.Structure):
        """``struct sock_fprog``."""

        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    argument = Program(len(program) // 8, ctypes.addressof(buffer))
    result = int(libc.syscall(NR["seccomp"], 1, flags, ctypes.byref(argument)))
    checked(result, "seccomp")
    return result


def listener(program: bytes) -> int:
    """Install a filter whose waiting calls somebody else answers; return the descriptor to do it with."""
    why = ""
    # A signal must not interrupt what is being answered, and have it done twice; Linux before 5.19 cannot promise it.
    for flags in (SECCOMP_LISTENER | SECCOMP_KILLABLE, SECCOMP_LISTENER):
        try:
            return load_filter(program, flags)
        except OSError as error:
            why = str(error.strerror).lower()
    raise Failure("setup", 71, f"with one uid owners are recorded, which the system refuses (seccomp listener: {why})")


def pass_on(channel: int, value: Any, fd: int) -> None:
    """Send a small framed value together with a descriptor, which is closed here."""
    data = frame(value)
    text = ctypes.create_string_buffer(data, len(data))
    vector = (ctypes.c_size_t * 2)(ctypes.addressof(text), len(data))
    control = struct.pack("=QiiiI", 20, 1, 1, fd, 0)  # SOL_SOCKET, SCM_RIGHTS
    rights = ctypes.create_string_buffer(control, len(control))
    header = (ctypes.c_size_t * 7)(0, 0, ctypes.addressof(vector), 1, ctypes.addressof(rights), len(control), 0)
    checked(libc.sendmsg(channel, header, 0), "sendmsg")
    os.close(fd)


def execute(args: list[bytes], env: dict[bytes, bytes]) -> NoReturn:
    """Become the command, found through its own PATH. Raises Failure with 127 or 126, as a shell would exit."""
    name = args[0] if args else b""
    candidates = [name]
    if b"/" not in name:
        candidates = [(place or b".") + b"/" + name for place in env.get(b"PATH", b"").split(b":")] if name else []
    problem = errno.ENOENT
    for candidate in candidates:
        try:
            os.execve(candidate, args, env)
        except OSError as error:
            number = error.errno or errno.EIO
            if number in (errno.ENOENT, errno.ENOTDIR) and not os.path.lexists(candidate):
                continue
            problem = number
            if number != errno.EACCES:
                break
    text = f'exec "{os.fsdecode(name)}" in image: {os.strerror(problem).lower()}'
    if problem == errno.ENOENT and any(os.path.exists(candidate) for candidate in candidates):
        text += " (the file is there, its interpreter is not)"
    if problem == errno.ENOEXEC:  # run.foreign looks at what it is
        text += f" [{os.pread(os.open(candidate, os.O_RDONLY), 20, 0).hex()}]"
    raise Failure("exec", 127 if problem in (errno.ENOENT, errno.ENOTDIR) else 126, text)


# -- the helper


def open_root(plan: Plan) -> int:
    """Mount the layers where nobody else sees them; return their root."""
    os.chdir(plan["scratch"])
    unshare(CLONE_NEWNS)
    if "tree" in plan:
        mount(plan["tree"], b"m", None, MS_BIND)
    else:
        mount(b"overlay", b"m", b"overlay", plan["root_flags"], plan["overlay"])
    root = os.open(b"m", O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    if "tree" in plan:
        restrict(root, plan["root_flags"])
    return root


def identify(plan: Plan, channel: int, root: int) -> bool:
    """Ask the worker who the user is, by the accounts of the image; say whether there is one."""
    send(channel, ("accounts", database(root, b"etc/passwd"), database(root, b"etc/group")))
    plan["identity"] = receive(channel)
    if plan["identity"] is None:
        return False
    if all(name != b"HOME" for name, _ in plan["env"]):
        plan["env"].append((b"HOME", plan["identity"][3]))
    return True


def helper(plan: Plan, channel: int, life: int) -> None:
    """Mount the layers, start the command, wait for it, leave the tree as the command left it."""
    root = open_root(plan)
    if not identify(plan, channel, root):
        return
    unshare(plan["namespaces"])
    stubs, result = attend(life, plan["timeout"], command, plan)
    remove_stubs(root, stubs)
    send(channel, ("result", *result))


def main() -> None:
    """Carry out one RUN."""
    attending.main(helper)
