"""Untrusted JSON into checked values, with the path of the bad field in the error; and canonical JSON out.

Go's decoders take ``null`` for an absent field, so we do as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from builder.errors import ImageError
from builder.patterns import pattern

JSON_LIMIT = 4 << 20
"""Bytes of a manifest, index or config we are ready to parse; registries accept no more than 4 MiB either."""

_SURROGATES = pattern("[\ud800-\udfff]")


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{text[:20]} is too large a number")
    return value


class Fields:
    """A JSON object under ``path``; getters raise ImageError naming the field."""

    __slots__ = ("path", "value")

    def __init__(self, value: object, path: str) -> None:
        if not isinstance(value, dict):
            raise ImageError(f"{path}: expected an object, found {_kind(value)}")
        self.value: dict[str, object] = value
        self.path = path

    @classmethod
    def parse(cls, raw: bytes, what: str) -> Fields:
        """Parse ``raw``, which must be one JSON object of at most JSON_LIMIT bytes."""
        if len(raw) > JSON_LIMIT:
            raise ImageError(f"{what} is {len(raw)} bytes long; the limit is {JSON_LIMIT}")
        try:
            value = json.loads(raw, parse_constant=_no_constant, parse_float=_finite)
        except (ValueError, RecursionError) as error:
            raise ImageError(f"{what} is not valid JSON: {error}") from error
        return cls(value, what)

    def _bad(self, key: str, expected: str) -> ImageError:
        return ImageError(f"{self.path}.{key}: expected {expected}, found {_kind(self.value.get(key))}")

    def text(self, key: str) -> str:
        """Return a string, empty when absent."""
        value = self.value.get(key)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self._bad(key, "a string")
        return value

    def number(self, key: str, default: int | None = None) -> int:
        """Return an integer >= 0; without a default an absent one is an error."""
        value = self.value.get(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 63:
            raise self._bad(key, "an integer >= 0")
        return value

    def flag(self, key: str) -> bool:
        """Return a boolean, False when absent."""
        value = self.value.get(key)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise self._bad(key, "true or false")
        return value

    def texts(self, key: str) -> tuple[str, ...] | None:
        """Return a list of strings, None when absent or null."""
        value = self.value.get(key)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise self._bad(key, "a list of strings")
        return tuple(value)

    def text_map(self, key: str) -> dict[str, str]:
        """Return an object of strings, empty when absent."""
        value = self.value.get(key)
        if value is None:
            return {}
        if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
            raise self._bad(key, "an object of strings")
        return dict(value)

    def keys_of(self, key: str) -> tuple[str, ...]:
        """Return the names of a Go set (``{"80/tcp": {}}``), empty when absent."""
        value = self.value.get(key)
        if value is None:
            return ()
        if not isinstance(value, dict):
            raise self._bad(key, "an object")
        return tuple(value)

    def child(self, key: str) -> Fields:
        """Return the object under ``key``, an empty one when absent."""
        value = self.value.get(key)
        return Fields({} if value is None else value, f"{self.path}.{key}")

    def children(self, key: str) -> Iterator[Fields]:
        """Yield the objects of the list under ``key``."""
        value = self.value.get(key)
        if value is None:
            return
        if not isinstance(value, list):
            raise self._bad(key, "a list")
        for index, one in enumerate(value):
            yield Fields(one, f"{self.path}.{key}[{index}]")

    def without(self, known: frozenset[str]) -> dict[str, object]:
        """Return the fields nobody read, unchanged."""
        return {key: value for key, value in self.value.items() if key not in known}


def _kind(value: object) -> str:
    if value is None:
        return "nothing"
    return {dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "a number"}.get(
        type(value), f"a {type(value).__name__}"
    )


def to_bytes(value: Mapping[str, object]) -> bytes:
    """Serialise ``value`` in the one form we write: compact, UTF-8, keys in the order given.

    Bytes that were no UTF-8 become U+FFFD, as Go's encoder does. Raises ImageError for what is nested too deeply.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except RecursionError as error:
        raise ImageError("an image's JSON is nested too deeply to be written") from error
    if not text.isascii():
        text = _SURROGATES.sub("\ufffd", text)
    return text.encode()
