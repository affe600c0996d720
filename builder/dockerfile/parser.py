"""Text to typed instructions (dockerfile.md 1.1 to 1.10)."""

from __future__ import annotations

from dataclasses import dataclass

from builder.dockerfile.instructions import Dockerfile, StageInstruction
from builder.dockerfile.source import DockerfileError


@dataclass(frozen=True, slots=True)
class Parsed:
    """What could be parsed, and the error that ended it."""

    dockerfile: Dockerfile
    error: DockerfileError | None


def parse(data: bytes, name: str = "Dockerfile") -> Dockerfile:
    """Parse a Dockerfile; raise DockerfileError at the first mistake."""
    raise NotImplementedError


def parse_partial(data: bytes, name: str = "Dockerfile") -> Parsed:
    """Like ``parse``, but keep what came before the mistake, so that checks can still report on it."""
    raise NotImplementedError


def parse_trigger(text: str, *, name: str = "ONBUILD", escape: str = "\\") -> StageInstruction:
    """Parse the stored text of an ONBUILD trigger; ONBUILD, FROM and MAINTAINER are refused."""
    raise NotImplementedError
