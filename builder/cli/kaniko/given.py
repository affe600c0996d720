"""The command line of kaniko's executor as values: pflag's grammar, old spellings, and what the environment adds.

pflag lets a value follow a flag or an equals sign, whatever it begins with, and a switch stand alone. A switch that is
followed by ``true`` or ``false`` is understood too, which the executor takes for a subcommand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from builder.cli.kaniko.flags import FLAGS, OLD, SUBCOMMANDS
from builder.cli.parsing import GLOBAL_WITH_VALUE, TRUTHS, truth
from builder.errors import UsageError
from builder.values import dataclass

_SHORT = {flag.short: flag.name for flag in FLAGS.values() if flag.short}
_OWN = ("--debug", "--version", "--help", "-h")


@dataclass(frozen=True, slots=True)
class Given:
    """Flags with their values. ``own`` are the global options, and what stands after ``--`` for our build."""

    values: Mapping[str, tuple[str, ...]]
    own: tuple[str, ...] = ()

    def has(self, name: str) -> bool:
        """Say whether a flag is given."""
        return name in self.values

    def texts(self, name: str) -> tuple[str, ...]:
        """Return every value of a flag, none if it is not given."""
        return self.values.get(name, ())

    def text(self, name: str, usual: str = "") -> str:
        """Return the value that counts."""
        return self.texts(name)[-1] if self.has(name) else usual

    def on(self, name: str, *, usual: bool = False) -> bool:
        """Return what a switch says."""
        return truth(f"--{name}", self.text(name)) if self.has(name) else usual


def read(argv: Sequence[str], environment: Mapping[str, str]) -> Given:
    """Return what is given. Raises UsageError for flags that executors do not have."""
    values: dict[str, tuple[str, ...]] = {}
    own: list[str] = []
    words = list(argv)
    while words:
        word = words.pop(0)
        if word == "--":
            own += words
            break
        if _is_own(word):
            own += [word, *([words.pop(0)] if word in GLOBAL_WITH_VALUE and words else [])]
            continue
        name, value = _divided(word)
        if value is None:
            value = _following(name, words)
        values[name] = (*values.get(name, ()), value)
    return Given(_with_environment(values, environment), tuple(own))


def _is_own(word: str) -> bool:
    return word in (*GLOBAL_WITH_VALUE, *_OWN) or word.startswith(tuple(f"{one}=" for one in GLOBAL_WITH_VALUE))


def _divided(word: str) -> tuple[str, str | None]:
    """Return the flag of a word and the value in it, if there is one. Raises UsageError."""
    if word.startswith("--"):
        name, equals, value = word[2:].partition("=")
        name = OLD.get(name, name)
        if name in FLAGS:
            return name, value if equals else None
    elif word[:1] == "-" and word[1:2] in _SHORT:
        value = word[2:].removeprefix("=")
        return _SHORT[word[1]], value if len(word) > 2 else None
    raise _unknown(word)


def _following(name: str, words: list[str]) -> str:
    """Take the value from the words that follow, if there must be one. Raises UsageError."""
    if FLAGS[name].kind == "switch":
        return words.pop(0) if words and words[0].lower() in TRUTHS else "true"
    if not words:
        raise UsageError(f"--{name} needs a value")
    return words.pop(0)


def _with_environment(values: dict[str, tuple[str, ...]], environment: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    for variable, name in (("KANIKO_REGISTRY_MIRROR", "registry-mirror"), ("KANIKO_REGISTRY_MAP", "registry-map")):
        if environment.get(variable):
            values[name] = (*values.get(name, ()), environment[variable])
    if environment.get("KANIKO_NO_PUSH"):
        truth("KANIKO_NO_PUSH", environment["KANIKO_NO_PUSH"])
        values["no-push"] = (environment["KANIKO_NO_PUSH"],)
    if environment.get("KANIKO_DIR") and "kaniko-dir" not in values:
        values["kaniko-dir"] = (environment["KANIKO_DIR"],)
    return values


def _unknown(word: str) -> UsageError:
    from builder.dockerfile.suggest import nearest

    name = word.partition("=")[0]
    if word in SUBCOMMANDS:
        return UsageError(f"pybuild kaniko builds: {word} is another command", hint=f"use {SUBCOMMANDS[word]}")
    if not word.startswith("-"):
        return UsageError(
            f"pybuild kaniko: {word} belongs to no flag", hint="an executor takes flags only; quote spaces"
        )
    close = nearest(name, [f"--{one}" for one in FLAGS])
    hint = f"did you mean {close}?" if close else "pybuild's own options stand at the end, after --"
    return UsageError(f"pybuild kaniko: an executor has no flag {name}", hint=hint)
