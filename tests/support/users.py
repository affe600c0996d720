"""Ordinary users to run pybuild as, when the tests run as root.

They can reach neither root's home nor, perhaps, the checkout: they get Debian's own Python in a virtual environment
below /var/tmp, and a copy of the package.
"""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.commands import run
from tests.support.need import need, need_root, need_tool, public_directory

CHECKOUT = Path(__file__).resolve().parents[2]
_SYSTEM_PYTHON = Path("/usr/bin/python3")
_SUBUIDS = 65536


@dataclass(frozen=True)
class User:
    """An account of the machine. ``home`` is its own; ``python`` and ``source`` are readable by everybody."""

    name: str
    uid: int
    gid: int
    home: Path
    python: Path
    source: Path

    def run(
        self, *command: str | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as this user, with a login's environment plus ``env``, in its home unless ``cwd`` is given."""
        environment = {
            "HOME": str(self.home),
            "USER": self.name,
            "LOGNAME": self.name,
            "PATH": os.defpath,
            **(env or {}),
        }
        environment.setdefault("PYTHONPATH", str(self.source))
        environment.setdefault("PYTHONDONTWRITEBYTECODE", "1")
        drop = [need_tool("setpriv"), "--reuid", self.name, "--regid", str(self.gid), "--init-groups"]
        return run([*drop, *command], env=environment, cwd=cwd or self.home, check=check)

    def pybuild(
        self, *arguments: str | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run the command line as this user."""
        return self.run(self.python, "-m", "builder.cli.main", *arguments, env=env, cwd=cwd, check=check)


@contextmanager
def account(kind: str, *, subuids: bool, python: Path, source: Path) -> Iterator[User]:
    """Make a user, without or with 65536 subordinate uids and gids, and remove it at the end."""
    need_root("needs root: useradd")
    with _free_name(f"pbtest-{kind}-{os.environ.get('PYTEST_XDIST_WORKER', 'main')}") as name:
        yield from _account(name, subuids, python, source)


def _account(name: str, subuids: bool, python: Path, source: Path) -> Iterator[User]:
    with _accounts_lock():
        if _exists(name):  # of a run that was killed
            run([need_tool("userdel"), "--remove", name], check=False)
        shutil.rmtree(Path("/home", name), ignore_errors=True)  # with the owner it had then
        run([need_tool("useradd"), "--system", "--user-group", "--create-home", "--shell", "/bin/sh", name])
        if subuids:
            need_tool("newuidmap")
            start = 1 + max([165535, *(end for path in ("/etc/subuid", "/etc/subgid") for end in _ends(Path(path)))])
            span = f"{start}-{start + _SUBUIDS - 1}"
            run([need_tool("usermod"), "--add-subuids", span, "--add-subgids", span, name])
    found = pwd.getpwnam(name)
    try:
        yield User(name, found.pw_uid, found.pw_gid, Path(found.pw_dir), python, source)
    finally:
        with _accounts_lock():
            run([need_tool("userdel"), "--remove", name], check=False)


def _exists(name: str) -> bool:
    return any(found.pw_name == name for found in pwd.getpwall())


def _ends(path: Path) -> list[int]:
    """Return the last subordinate id of every range in /etc/subuid or /etc/subgid."""
    if not path.exists():
        return []
    fields = [line.split(":") for line in path.read_text().splitlines() if line.count(":") == 2]
    return [int(start) + int(count) - 1 for _, start, count in fields]


_LOCKS = Path("/run/lock" if os.path.isdir("/run/lock") else "/tmp")


@contextmanager
def _free_name(name: str) -> Iterator[str]:
    """Yield the name of an account that no other run of the tests uses; an account of that name is a dead run's."""
    for number in itertools.count(1):
        candidate = f"{name}{number if number > 1 else ''}"
        with open(_LOCKS / f"pybuild-test-{candidate}", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield candidate
            return


@contextmanager
def _accounts_lock() -> Iterator[None]:
    # useradd gives up when another useradd runs; parallel test workers wait instead.
    with open(_LOCKS / "pybuild-test-accounts", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def public_python() -> Path:
    """Return an interpreter, with the run-time dependencies, that every user can run; made once a machine."""
    need_root("needs root: a virtual environment for other users")
    need(_SYSTEM_PYTHON.exists(), "needs /usr/bin/python3")
    needed = requirements()
    name = hashlib.sha256("\n".join(needed).encode()).hexdigest()[:12]
    directory = Path(f"/var/tmp/pybuild-test-venv-{name}")
    stamp = directory / ".complete"
    lock_path = directory.with_name(directory.name + ".lock")
    with open(lock_path, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or directory.stat().st_uid != 0:
            shutil.rmtree(directory, ignore_errors=True)
            run([_SYSTEM_PYTHON, "-m", "venv", directory])
            run([directory / "bin/python", "-m", "pip", "install", "--quiet", *needed])
            run(["chmod", "-R", "go+rX", directory])
            stamp.touch()
    return directory / "bin/python"


def requirements() -> list[str]:
    """Return what an installation needs, as pyproject.toml has it."""
    import tomllib

    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    return sorted(project["dependencies"])


@contextmanager
def public_source() -> Iterator[Path]:
    """Copy the package to where everybody can read it, until the block ends; yield what to put on PYTHONPATH."""
    with public_directory("source") as root:
        shutil.copytree(CHECKOUT / "builder", root / "builder", ignore=shutil.ignore_patterns("__pycache__"))
        run(["chmod", "-R", "go+rX", root])
        yield root
