"""One page of HTML that holds everything: markup, styles and program are ours, an image's data is packed text.

No byte of an image stands in the markup: the data is gzip in base64, in an element that browsers do not run, and the
program inserts it as text only. The Content-Security-Policy allows just this style and this program, by their hashes,
and no connections at all. Equal images give equal pages.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Iterator, Sequence
from importlib.resources import files

from builder.explore.records import lines
from builder.explore.subject import Subject
from builder.streams import Writable

_SCRIPTS = ("data.js", "text.js", "tree.js", "map.js", "views.js", "start.js")
_LINE = 57 * 1024
"""Bytes of packed data in a line of base64; a browser unpacks line by line. A multiple of three."""


def write_page(subjects: Sequence[Subject], target: Writable) -> None:
    """Write the page of one image, or of two and where they differ. Raises ImageError beyond PATHS_LIMIT."""
    before, after = _shell().split("@DATA@")
    target.write(before.encode())
    for piece in _packed(lines(subjects)):
        target.write(base64.b64encode(piece) + b"\n")
    target.write(after.encode())


def policy() -> str:
    """Return the page's Content-Security-Policy."""
    return _policy(_style(), _script())


def _shell() -> str:
    style, script = _style(), _script()
    shell = _file("page.html").replace("@POLICY@", _policy(style, script))
    return shell.replace("@STYLE@", style).replace("@SCRIPT@", script)


def _policy(style: str, script: str) -> str:
    return (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _style() -> str:
    return _file("page.css")


def _script() -> str:
    return '"use strict";\n(() => {\n' + "".join(_file(name) for name in _SCRIPTS) + "})();\n"


def _file(name: str) -> str:
    return (files("builder.explore") / "assets" / name).read_text(encoding="utf-8")


def _packed(texts: Iterator[str]) -> Iterator[bytes]:
    """Yield gzip of lines, in pieces of equal length but for the last."""
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    pending = bytearray()
    for text in texts:
        pending += packer.compress(text.encode("ascii") + b"\n")
        while len(pending) >= _LINE:
            yield bytes(pending[:_LINE])
            del pending[:_LINE]
    pending += packer.flush()
    while pending:
        yield bytes(pending[:_LINE])
        del pending[:_LINE]
