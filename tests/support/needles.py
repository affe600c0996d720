"""Planted secrets, and looking for them in every form: files, names, links, attributes, inflated layers, messages."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

from tests.support import images


def forms(secret: str) -> list[bytes]:
    """Return what a secret may look like: plain, in a URL, and in base64 wherever it begins."""
    data = secret.encode()
    encoded = [base64.b64encode(b"x" * shift + data)[4:-4] for shift in range(3)]
    return [data, quote(secret).encode(), *encoded]


def contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the names and contents of all files, those of symlinks and extended attributes too, inflated if packed."""
    for directory, names, files in os.walk(folder):
        for name in (*names, *files):
            path = os.path.join(directory, name)
            yield path, os.fsencode(path)
            for attribute in os.listxattr(path, follow_symlinks=False):
                yield f"{path} {attribute}", os.getxattr(path, attribute, follow_symlinks=False)
            if os.path.islink(path):
                yield path, os.fsencode(os.readlink(path))
            elif os.path.isfile(path):
                data = Path(path).read_bytes()
                yield path, data
                if data[:2] in (b"\x1f\x8b", b"\x28\xb5"):
                    yield f"{path} inflated", images.inflate(data)


def found_in(needles: Iterable[bytes], *places: Path | str | bytes) -> list[str]:
    """Return where a planted value was found."""
    wanted, found = list(needles), []
    for place in places:
        texts = contents(place) if isinstance(place, Path) and place.is_dir() else [(str(place)[:80], _read(place))]
        found += [name for name, data in texts for needle in wanted if needle in data]
    return found


def _read(place: Path | str | bytes) -> bytes:
    if isinstance(place, Path):
        return place.read_bytes()
    return place.encode() if isinstance(place, str) else place
