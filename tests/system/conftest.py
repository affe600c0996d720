"""Builds in the test's own process on the busybox of the tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.builds import Built, Workshop
from tests.support.need import need_root


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path / "store", tmp_path / "context")


@pytest.fixture
def build(shop: Workshop, busybox_layout: Path) -> Callable[..., Built]:
    """Build a Dockerfile, or lines on ``base``."""
    need_root("needs root: RUN")

    def made(lines: str, files: dict[str, Any] | None = None, **options: Any) -> Built:
        contexts = {"base": f"oci-layout://{busybox_layout}:latest", **options.pop("contexts", {})}
        text = lines if "FROM " in lines else f"FROM base\n{lines}"
        return shop.build(text.lstrip(), files, contexts=contexts, **options)

    return made
