"""Images made to trip whoever shows them, and what a page of ``pybuild explore`` holds, read without a browser."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from pathlib import Path
from typing import Any

from tests.support import images

SCRIPT = "<script>document.documentElement.dataset.owned=1</script>"
IMAGE = '<img src=x onerror="document.documentElement.dataset.owned=1">'

NAMES = (
    IMAGE.partition("/")[0],
    "--><b>bold",
    "quote\"'`&lt;${alert(1)}",
    "new\nline\r\x1b[31mred\x07",
    "\u202egnp.exe",
    "zero\u200bwidth\u2028line",
    "\udc80\udcff not utf-8",
    "\U000e0041tag",
    "__proto__",
    "constructor",
    "n" * 255,
)
"""Names of files; a slash would make directories of them."""


DOCKERFILE = f"FROM scratch\nRUN echo {SCRIPT} \\\n {IMAGE}\u202e\x1b[2J\nCMD x\n"
"""That of the hostile image."""


def hostile_image(target: Path) -> None:
    """Write an image whose names, labels, history and annotations want to be more than text."""
    deep = "/".join(["d" * 250] * 15 + ["end"])
    members = [
        images.directory("bad"),
        *(images.file(f"bad/{name}", name.encode("utf-8", "surrogateescape")) for name in NAMES),
    ]
    members += [
        images.symlink("bad/link", IMAGE + "\u202e" + "t" * 4000),
        images.file(deep, "deep"),
        images.file(f"bad/{SCRIPT}", "1"),
    ]
    members += [images.file("bad/attr", "1", pax_headers={"SCHILY.xattr.user." + IMAGE: "1"})]
    members += [images.hardlink(f"hard{IMAGE}", f"bad/{NAMES[0]}")]
    history = [
        {"created": IMAGE, "created_by": f"RUN echo {SCRIPT}\x1b[2J\u202e\ud800", "author": IMAGE, "comment": SCRIPT},
        {"created_by": "CMD " + "x" * 100_000, "empty_layer": True},
    ]
    container = {
        "Labels": {SCRIPT: IMAGE, "__proto__": "polluted", "rtl": "\u202e\u2066\ud800"},
        "Env": [f"A={IMAGE}", "__proto__=1"],
        "WorkingDir": SCRIPT,
        IMAGE: {"toString": IMAGE},
        "__proto__": {"polluted": "config"},
    }
    images.write_layout(
        target,
        [images.layer(*members)],
        config={"history": history, "author": SCRIPT, "created": IMAGE, "os.version": SCRIPT, "variant": IMAGE},
        container=container,
        manifest={"annotations": {SCRIPT: IMAGE, "__proto__": "\u202e\x1b[2J"}},
    )


def records(page: Path) -> list[Any]:
    """Return what is packed in a page: the facts, paths in batches, what was counted."""
    text = page.read_text()
    packed = re.search(r'<script id="data" type="text/plain">\n(.*?)</script>', text, re.DOTALL)
    assert packed is not None
    raw = b"".join(base64.b64decode(line, validate=True) for line in packed[1].splitlines())
    return [json.loads(line) for line in gzip.decompress(raw).splitlines()]


def markup(page: Path) -> str:
    """Return the page without its data."""
    return re.sub(r'(<script id="data" type="text/plain">\n).*?(</script>)', r"\1\2", page.read_text(), flags=re.DOTALL)


def allowed(page: Path) -> dict[str, list[str]]:
    """Return the page's policy."""
    found = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page.read_text())
    assert found is not None
    return {name: values for name, *values in (one.split() for one in found[1].split(";"))}


def hash_of(text: str) -> str:
    """Return text's hash as policies name it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
