"""Wheels made by hand, for what would come from a package registry: small stand-ins under the real names."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path


def write_wheel(folder: Path, name: str, version: str, files: Mapping[str, str], scripts: Mapping[str, str]) -> Path:
    """Write NAME-VERSION-py3-none-any.whl with ``files``, and ``scripts`` as programs (NAME -> MODULE:FUNCTION)."""
    folder.mkdir(parents=True, exist_ok=True)
    about = f"{name}-{version}.dist-info"
    members = {
        **files,
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/entry_points.txt": "[console_scripts]\n" + "".join(f"{one} = {to}\n" for one, to in scripts.items()),
    }
    record = "".join(f"{path},sha256={_hash(text)},{len(text.encode())}\n" for path, text in members.items())
    members[f"{about}/RECORD"] = f"{record}{about}/RECORD,,\n"
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in members.items():
            archive.writestr(member, text)
    return path


def _hash(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


ITSDANGEROUS = {
    "itsdangerous/__init__.py": """\
class Signer:
    def __init__(self, key):
        self.key = key

    def sign(self, value):
        return f"{value}.{sum(map(ord, self.key + value)):x}".encode()
"""
}
"""Enough of it for testdata/examples/python-without-run."""


def write_examples_wheels(folder: Path) -> Path:
    """Write what the examples need; return the folder, for PIP_FIND_LINKS."""
    write_wheel(folder, "itsdangerous", "2.2.0", ITSDANGEROUS, {"sign": "itsdangerous:Signer"})
    return folder
