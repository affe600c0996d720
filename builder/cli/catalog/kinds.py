"""What an entry of the catalogue is, and which one a failure belongs to.

A code is ``PB``, the exit status of its kind and a number that is never given twice: scripts and people look it up. A
kind is recognised by the class of the error and by its message, of which the entry has the fixed parts; the more
of a message is fixed, the better it fits. Texts are matched without regular expressions: compiling a thousand of them
would take longer than most failures. Nothing here decides an exit status; the classes of errors do.
"""

from __future__ import annotations

from collections.abc import Iterator

from builder.errors import BuilderError
from builder.values import dataclass

_AREAS = (
    "general",
    "usage",
    "giving",
    "naming",
    "dockerfile",
    "context",
    "image",
    "layers",
    "registry",
    "sandbox",
    "output",
    "passing",
    "access",
)
"""The modules with entries, in the order of their codes."""
_TAILS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of failure.

    ``errors`` are the classes it can have, by name. ``texts`` are its messages, with a word in braces for what differs
    (``cannot read {path}: {reason}``); a kind without any is what is left of its classes. ``cause`` and ``way_out`` are
    paragraphs in Markdown.
    """

    code: str
    title: str
    errors: tuple[str, ...]
    texts: tuple[str, ...] = ()
    cause: str
    way_out: str


def kinds() -> Iterator[Kind]:
    """Yield every entry in the order of the codes."""
    from importlib import import_module

    for area in _AREAS:
        yield from import_module(f"builder.cli.catalog.{area}").KINDS


def entry(code: str) -> Kind | None:
    """Return the kind with a code, which may be written as people do: ``pb6401`` or ``6401``."""
    wanted = code.strip().upper().removeprefix("PB")
    return next((kind for kind in kinds() if kind.code == f"PB{wanted}"), None)


def code_of(error: BuilderError) -> str:
    """Return the code of a failure. There always is one: what no text fits is one of its class's others."""
    return find([one.__name__ for one in type(error).__mro__], error.message).code


def find(classes: list[str], message: str) -> Kind:
    """Return the kind of a message of an error with these classes, the closest one first.

    Whoever passes an error on may put before its message what it is about. What no text fits is one of the others of
    the closest class that has them, or the one kind that a class is.
    """
    everything = list(kinds())
    of_class = [[kind for kind in everything if name in kind.errors] for name in classes]
    for text in _tails(message):
        for some in of_class:
            ranked = [(fit(kind, text), kind) for kind in some if kind.texts]
            best, kind = max(ranked, key=lambda one: one[0], default=(-1, everything[0]))
            if best >= 0:
                return kind
    others = [kind for some in of_class for kind in some if not kind.texts]
    return (others or [kind for some in of_class for kind in some])[0]


def _tails(message: str) -> Iterator[str]:
    """Yield a message, and what is left of it without what may have been put before it."""
    yield message
    at = 0
    for _ in range(_TAILS):
        colon, comma = message.find(": ", at), message.find(", and ", at)
        at = min((end for end in (colon + 2 * (colon >= 0), comma + 6 * (comma >= 0)) if end > 0), default=0)
        if not at:
            return
        yield message[at:]


def fit(kind: Kind, message: str) -> int:
    """Return how many characters of ``message`` are fixed in the text that fits best, -1 if none does.

    A kind without texts fits every message, and says nothing of it.
    """
    lengths = [sum(map(len, parts)) for parts in map(fixed, kind.texts) if _fits(parts, message)]
    return max(lengths, default=-1 if kind.texts else 0)


def fixed(text: str) -> list[str]:
    """Return the parts of a text around the words in braces: one more than there are words."""
    first, *others = text.split("{")
    parts = [first]
    for other in others:
        word, brace, rest = other.partition("}")
        if brace and word.replace("_", "").isalpha():
            parts.append(rest)
        else:
            parts[-1] += "{" + other
    return parts


def _fits(parts: list[str], message: str) -> bool:
    """Whether ``message`` is these parts, in this order, with anything between them."""
    first, *middle = parts
    if not middle:
        return message == first
    last = middle.pop()
    if not message.startswith(first) or not message.endswith(last):
        return False
    at, end = len(first), len(message) - len(last)
    for part in middle:
        found = message.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return at <= end
