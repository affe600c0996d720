"""Real overlay mounts over unpacked layers, and small layer tars written with the standard library."""

from __future__ import annotations

import ctypes
import io
import os
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.need import need, need_root

_MNT_DETACH = 2


@contextmanager
def mounted(where: Path, lowers: Sequence[Path], upper: Path | None = None) -> Iterator[Path]:
    """Mount ``lowers`` (bottom first), and ``upper`` on top to write to, at ``where``/merged."""
    need_root("needs root: overlay mounts")
    libc = ctypes.CDLL(None, use_errno=True)
    merged = where / "merged"
    for path in (merged, where / "work"):
        path.mkdir(parents=True, exist_ok=True)
    top_first = list(reversed([where / "bottom", *lowers]))  # overlay wants two layers, or an upper
    (where / "bottom").mkdir(exist_ok=True)
    options = f"lowerdir={':'.join(str(path) for path in top_first)},userxattr"
    if upper is not None:
        options += f",upperdir={upper},workdir={where / 'work'}"
    status = libc.mount(b"overlay", os.fsencode(merged), b"overlay", 0, os.fsencode(options))
    need(status == 0, f"needs overlay mounts here: {os.strerror(ctypes.get_errno())}")
    try:
        yield merged
    finally:
        libc.umount2(os.fsencode(merged), _MNT_DETACH)


class LayerTar:
    """A layer, entry by entry; every method returns the layer itself."""

    def __init__(self) -> None:
        self._bytes = io.BytesIO()
        self._tar = tarfile.TarFile(fileobj=self._bytes, mode="w", format=tarfile.PAX_FORMAT)

    def add(
        self,
        name: str,
        kind: bytes = tarfile.REGTYPE,
        data: bytes = b"",
        link: str = "",
        mode: int = 0o644,
        owner: tuple[int, int] = (0, 0),
        mtime: int = 1_000_000_000,
        xattrs: dict[str, bytes] | None = None,
        device: tuple[int, int] = (0, 0),
    ) -> LayerTar:
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.mode, info.mtime = kind, link, mode, mtime
        info.uid, info.gid = owner
        info.devmajor, info.devminor = device
        info.size = len(data)
        if xattrs:
            info.pax_headers = {
                f"SCHILY.xattr.{key}": value.decode("utf-8", "surrogateescape") for key, value in xattrs.items()
            }
        self._tar.addfile(info, io.BytesIO(data))
        return self

    def file(self, name: str, data: bytes = b"data", mode: int = 0o644, **more: object) -> LayerTar:
        return self.add(name, data=data, mode=mode, **more)  # type: ignore[arg-type]  # passed on as they are

    def dir(self, name: str, mode: int = 0o755, **more: object) -> LayerTar:
        return self.add(name, tarfile.DIRTYPE, mode=mode, **more)  # type: ignore[arg-type]  # passed on as they are

    def symlink(self, name: str, target: str) -> LayerTar:
        return self.add(name, tarfile.SYMTYPE, link=target, mode=0o777)

    def hardlink(self, name: str, target: str) -> LayerTar:
        return self.add(name, tarfile.LNKTYPE, link=target)

    def whiteout(self, path: str) -> LayerTar:
        parent, _, name = path.rpartition("/")
        return self.add(f"{parent}/.wh.{name}" if parent else f".wh.{name}", mode=0)

    def opaque(self, path: str) -> LayerTar:
        return self.add(f"{path}/.wh..wh..opq" if path else ".wh..wh..opq", mode=0)

    def bytes(self) -> bytes:
        self._tar.close()
        return self._bytes.getvalue()
