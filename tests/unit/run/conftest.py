"""A sandbox per test module, in the strongest mode of the machine; root is needed to test that one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import runbox

from tests.support.need import need, need_root


def make_box(root: Path) -> Iterator[runbox.Box]:
    need_root("running steps in root mode needs root")
    busybox = runbox.busybox()
    need(busybox, "needs a static busybox (Debian: busybox-static)")
    assert busybox is not None
    with runbox.opened(root, Path(busybox), snapshotter=os.environ.get("BOX_SNAPSHOTTER", "auto")) as box:
        yield box


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[runbox.Box]:
    yield from make_box(tmp_path_factory.mktemp("store"))


@pytest.fixture
def fresh_box(tmp_path: Path) -> Iterator[runbox.Box]:
    # The characters overlay and mount(2) give a meaning to.
    root = tmp_path / "a:b,c\\d e"
    root.mkdir()
    yield from make_box(root)
