"""Image references: ``[registry/]repository[:tag][@digest]`` (distribution/reference grammar, Docker's defaults)."""

from __future__ import annotations

import re

from builder.errors import ImageError
from builder.image.digest import Digest
from builder.patterns import pattern
from builder.values import dataclass

_DOCKER = "docker.io"
_COMPONENT = pattern(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*", re.ASCII)
TAG = pattern(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
_HOST = pattern(
    r"(?:(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9])"
    r"(?:\.(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9]))*|\[[a-fA-F0-9:]+\])(?::[0-9]{1,5})?",
    re.ASCII,
)
_NAME_LIMIT = 255


class ReferenceSyntaxError(ImageError):
    """Text that is no image reference."""

    exit_code = 64


@dataclass(frozen=True, slots=True)
class Reference:
    """A full reference. ``repository`` has no registry; at least one of ``tag`` and ``digest`` is set."""

    registry: str
    repository: str
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read ``text`` with Docker's defaults: docker.io, ``library/``, ``latest``. Raises ReferenceSyntaxError."""
        rest, at, digest_text = text.partition("@")
        try:
            digest = Digest.parse(digest_text) if at else None
        except ImageError as error:
            raise ReferenceSyntaxError(f"invalid reference {text!r}: {error.message}", hint=error.hint) from error
        name, tag = _split_tag(rest)
        registry, repository = _split_registry(name)
        if tag is not None and not TAG.fullmatch(tag):
            raise ReferenceSyntaxError(f"invalid reference {text!r}: {tag!r} is not a valid tag")
        if not _is_repository(registry, repository):
            hint = "repository names are lower-case" if repository.lower() != repository else None
            scheme, found, _ = text.partition("://")
            hint = f"leave out {scheme}://" if found else hint
            raise ReferenceSyntaxError(
                f"invalid reference {text!r}: {repository!r} is not a repository name", hint=hint
            )
        if len(repository) > _NAME_LIMIT or not _HOST.fullmatch(registry):
            raise ReferenceSyntaxError(f"invalid reference {text!r}: the name is too long or its registry is malformed")
        if registry == _DOCKER and "/" not in repository:
            repository = f"library/{repository}"
        if tag is None and digest is None:
            tag = "latest"
        return cls(registry, repository, tag, digest)

    def __str__(self) -> str:
        return self.name + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    @property
    def name(self) -> str:
        """Registry and repository, without tag and digest."""
        return f"{self.registry}/{self.repository}"

    @property
    def familiar(self) -> str:
        """The short spelling people type: without ``docker.io/library/`` where that names the same image."""
        text = str(self)
        if self.registry != _DOCKER:
            return text
        for prefix in (f"{_DOCKER}/library/", f"{_DOCKER}/"):
            short = text.removeprefix(prefix)
            if short != text and Reference.parse(short) == self:
                return short
        return text


def _is_repository(registry: str, repository: str) -> bool:
    """Say whether the grammar allows it; behind ``localhost/`` stands the whole name an image was built under."""
    first, *rest = parts = repository.split("/")
    if registry == "localhost" and rest and ":" in first and _HOST.fullmatch(first):
        parts = rest
    return all(_COMPONENT.fullmatch(part) for part in parts)


def _split_tag(text: str) -> tuple[str, str | None]:
    name, colon, tag = text.rpartition(":")
    return (name, tag) if colon and "/" not in tag else (text, None)


def _split_registry(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    is_host = slash and ("." in first or ":" in first or first == "localhost" or first.lower() != first)
    if not is_host:
        return _DOCKER, name
    return (_DOCKER if first == "index.docker.io" else first), rest
