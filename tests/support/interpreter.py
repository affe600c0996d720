"""A layer with this machine's Python and as little else as it needs, for images whose steps run programs of ours."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.commands import run
from tests.support.images import file, layer, symlink
from tests.support.need import need

PYTHON = Path("/usr/bin/python3")
_LOADERS = ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1")
_LOADED = """
import sys, os, {modules}
files = {{os.__file__, *(getattr(module, "__file__", None) or "" for module in list(sys.modules.values()))}}
for line in open("/proc/self/maps"):
    files.update(word for word in line.split() if word.startswith("/"))
print("\\n".join(sorted(filter(None, files))))
"""


def python_layer(modules: str) -> bytes:
    """Return a tar with ``/usr/bin/python3``, able to import ``modules`` (separated by commas) with ``-I -S``."""
    need(PYTHON.exists(), "needs /usr/bin/python3")
    wanted = {
        name: Path(name) for name in run([PYTHON, "-I", "-S", "-c", _LOADED.format(modules=modules)]).stdout.split()
    }
    for path in list(wanted.values()):
        if ".so." in path.name:  # what is mapped is what the name that the loader looks for links to
            wanted.update((str(one), one) for one in path.parent.glob(path.name.partition(".so.")[0] + ".so.*"))
    loader = next(name for name in _LOADERS if os.path.exists(name))
    wanted[loader] = Path(loader)
    members = [file(name.lstrip("/"), path.read_bytes(), mode=0o755) for name, path in sorted(wanted.items())]
    return layer(*members, symlink("usr/bin/python3", PYTHON.resolve().name))
