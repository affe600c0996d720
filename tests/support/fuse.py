"""Whether fuse-overlayfs can be used here."""

from __future__ import annotations

import os

from tests.support.need import need, need_root, need_tool


def need_fuse() -> None:
    """Skip, or fail in CI, without fuse-overlayfs and access to its device."""
    need_root("mounting with fuse-overlayfs needs root here")
    need_tool("fuse-overlayfs")
    need(os.access("/dev/fuse", os.R_OK | os.W_OK), "needs access to /dev/fuse")
