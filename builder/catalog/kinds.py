"""What an entry of the catalogue is, and which one a failure belongs to.

A code is ``PB``, the exit status of its kind and a number that is never given twice: scripts and people look it up. A
kind is recognised by the class of the error and by its message, of which the entry has the fixed parts; the more
of a message is fixed, the better it fits. Texts are matched without regular expressions: compiling a thousand of them
would take longer than most failures. Nothing here decides an exit status; the classes of errors do. What no text fits
is an omission of ours, and has a code that says so: a number that ends in 00.
"""

from __future__ import annotations

from collections.abc import Iterator

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
    (``cannot read {path}: {reason}``). ``cause`` and ``way_out`` are paragraphs in Markdown.
    """

    code: str
    title: str
    errors: tuple[str, ...]
    texts: tuple[str, ...] = ()
    cause: str
    way_out: str

    def messages(self) -> list[str]:
        """Return the texts as people read them, each on one line: what differs is a word like ``<path>``."""
        shown = str.maketrans("{}\n", "<> ")
        return [text.replace("{suggestion}", "").translate(shown) for text in self.texts]


def kinds() -> Iterator[Kind]:
    """Yield every entry in the order of the codes."""
    from importlib import import_module

    for area in _AREAS:
        yield from import_module(f"builder.catalog.{area}").KINDS


def entry(code: str) -> Kind | None:
    """Return the kind with a code, which may be written as people do: ``pb6401`` or ``6401``."""
    wanted = code.strip().upper().removeprefix("PB")
    found = list(kinds())
    if len(wanted) == 4 and wanted.endswith("00") and any(kind.code[2:4] == wanted[:2] for kind in found):
        return unlisted(wanted[:2])
    return next((kind for kind in found if kind.code == f"PB{wanted}"), None)


def unlisted(status: int | str) -> Kind:
    """Return what a failure with an exit status is called while the catalogue does not know its message."""
    return Kind(
        code=f"PB{status}00",
        title="A failure that the catalogue does not know",
        errors=(),
        cause="The message says what is wrong. That it has no entry here is an omission of ours.",
        way_out="Do what the message says; and report it, so that it gets an entry.",
    )


def find(classes: list[str], message: str, status: int) -> Kind:
    """Return the kind of a message of an error with these classes, the closest one first, and an exit status.

    Whoever passes an error on may put before its message what it is about. What no text fits is the one kind that the
    closest class is, if it is one only.
    """
    everything = list(kinds())
    of_class = [some for name in classes if (some := [kind for kind in everything if name in kind.errors])]
    for text in _tails(message):
        for some in of_class:
            best, kind = max(((fit(kind, text), kind) for kind in some), key=lambda one: one[0])
            if best >= 0:
                return kind
    return of_class[0][0] if of_class and len(of_class[0]) == 1 else unlisted(status)


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
    """Return how many characters of ``message`` are fixed in the text that fits best, -1 if none does."""
    lengths = [sum(map(len, parts)) for parts in map(fixed, kind.texts) if _fits(parts, message)]
    return max(lengths, default=-1)


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
