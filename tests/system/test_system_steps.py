"""Steps whose mounts could get in each other's way, in whole builds."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from builder.errors import BuilderError
from builder.run.spec import CommandFailedError
from tests.support.builds import Recording, Workshop
from tests.support.need import need_root


@pytest.fixture
def shop(tmp_path: Path, busybox_layout: Path) -> Workshop:
    need_root("needs root: RUN")
    del busybox_layout
    return Workshop(tmp_path / "store", tmp_path / "context")


@pytest.mark.parametrize("sharing", ["locked", "private", "shared"])
def test_one_cache_mounted_twice_in_a_step_is_one_directory(shop: Workshop, busybox_layout: Path, sharing: str) -> None:
    mounts = " ".join(f"--mount=type=cache,id=x,target={path},sharing={sharing}" for path in ("/a", "/b"))
    seen, ended = Recording(), threading.Event()

    def build() -> None:
        shop.try_build(
            seen,
            f"FROM base\nRUN {mounts} echo 1 >/a/file; cp /b/file /copy\n",
            contexts={"base": f"oci-layout://{busybox_layout}:latest"},
        )
        ended.set()

    threading.Thread(target=build, daemon=True).start()
    assert ended.wait(60), "the step waits for itself"


def test_a_secret_that_no_variable_can_hold_is_a_message(shop: Workshop, busybox_layout: Path) -> None:
    with pytest.raises(BuilderError) as caught:
        shop.build(
            "FROM base\nRUN --mount=type=secret,id=s,env=S true\n",
            contexts={"base": f"oci-layout://{busybox_layout}:latest"},
            secrets={"s": lambda: b"abc\0def"},
        )
    assert not isinstance(caught.value, CommandFailedError)
    assert "abc" not in str(caught.value)
    assert "secret s" in str(caught.value)
