"""Commands called in this process: their exit status, and what they printed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from builder.cli.main import main


@dataclass(frozen=True)
class Called:
    """How a command ended and what it printed."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Call = Callable[..., Called]


def caller(capfd: pytest.CaptureFixture[str]) -> Call:
    """Return what calls a command with the store that $PYBUILD_ROOT names; it must end with ``status``."""

    def call(*words: str | Path, status: int | Sequence[int] = 0) -> Called:
        capfd.readouterr()
        ended = main([str(word) for word in words])
        out, err = capfd.readouterr()
        assert ended in ([status] if isinstance(status, int) else status), f"ended with {ended}: {out}{err}"
        assert "Traceback" not in err
        return Called(ended, out, err)

    return call
