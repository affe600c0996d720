"""Other interpreters with our dependencies, for tests of what must not depend on Python's version."""

from __future__ import annotations

import os
import pwd
import shutil
import tomllib
from pathlib import Path

import pytest

from tests.support.cli import CHECKOUT
from tests.support.commands import run
from tests.support.need import machine_cache
from tests.support.rootfs import once


def interpreter(version: str) -> Path:
    """Return an interpreter of ``version`` with our dependencies, made once a machine."""
    pyenv = Path(pwd.getpwuid(os.geteuid()).pw_dir) / ".pyenv/versions"  # HOME is the tests' own
    found = [Path(shutil.which(f"python{version}") or "/none"), *pyenv.glob(f"{version}.*/bin/python")]
    question = "import sys; print(*sys.version_info[:2], sep='.')"
    usable = [one for one in found if one.exists() and run([one, "-c", question], check=False).stdout == f"{version}\n"]
    if not usable:
        pytest.skip(f"there is no Python {version}")
    target = machine_cache() / f"venv-{version}"
    with once(target) as missing:
        if missing:
            unfinished = target.with_name(f"{target.name}.unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            run([usable[0], "-m", "venv", unfinished])
            wanted = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["dependencies"]
            made = run([unfinished / "bin/python", "-m", "pip", "install", "--quiet", *wanted], check=False)
            if made.returncode != 0:
                pytest.skip(f"the dependencies cannot be installed for Python {version}: {made.stderr[-300:]}")
            unfinished.rename(target)
    return target / "bin/python"
