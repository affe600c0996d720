"""What holds for a build: the command line before the environment, before a file named with it, before the project's,
before the user's, before the machine's; in each file a target before what it inherits, before ``[build]``.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from builder.cli.config.files import Entry, Level, Section, Source, read_source
from builder.cli.config.keys import BY_DEST, BY_NAME, KEYS, Key
from builder.cli.parsing import truth
from builder.errors import UsageError
from builder.settings import Project
from builder.values import dataclass, field

DEFAULT = "default"
"""The target or group that is built without a name."""


@dataclass(frozen=True, slots=True)
class Found:
    """The files that count: trusted ones, the one that counts most first, and the project's."""

    files: tuple[Path, ...]
    named: bool = False
    project: Project | None = None


@dataclass(frozen=True, slots=True)
class Build:
    """One build: its target's name, or nothing, and its values by key, with the places they come from."""

    target: str
    values: Section = field(default_factory=dict)


_Known = dict[str, tuple[str, ...]]
_DEEPEST = 100
"""Targets that inherit from one another in a row, and groups in groups."""


def _not_too_deep(seen: Sequence[str], place: str) -> None:
    if len(seen) >= _DEEPEST:
        raise UsageError(f"{place}: more than {_DEEPEST} in a row")


@dataclass(frozen=True, slots=True)
class Files:
    """What all files say; those that count most come last. ``folder`` is where targets are built by default."""

    sources: tuple[Source, ...]
    folder: str = ""

    def targets(self) -> dict[str, str]:
        """Return the names of targets and groups, with what they are for."""
        found: dict[str, str] = {}
        for source in self.sources:
            found |= {name: f"builds {', '.join(members)}" for name, members in source.groups.items()}
            for name, target in source.targets.items():
                found[name] = target.description or found.get(name, "")
        return found

    def members(
        self, name: str, seen: tuple[str, ...] = (), where: str = "", known: _Known | None = None
    ) -> tuple[str, ...]:
        """Return the targets that a name stands for, each once. Raises UsageError for a name nobody has.

        ``known`` are the answers so far: a file may name every group in many others.
        """
        known = {} if known is None else known
        if name in known:
            return known[name]
        if any(name in source.targets for source in self.sources):
            return (name,)
        for source in reversed(self.sources):
            if name in source.groups:
                if name in seen:
                    raise UsageError(f"{source.file}: group.{name}: it contains itself")
                place = f"{source.file}: group.{name}"
                _not_too_deep(seen, place)
                inner = (self.members(one, (*seen, name), f"{place}: ", known) for one in source.groups[name])
                found = [each for one in inner for each in one]
                known[name] = tuple(dict.fromkeys(found))
                return known[name]
        raise _no_target(name, self.targets().keys() - set(seen), where)

    def lent(self, name: str) -> tuple[str, Source, str] | None:
        """Return a project's group that ``name`` is or has, a trusted file, and a target of both; None without one.

        A project does not choose for which targets a command gets what others trust one of them with.
        """
        waiting, seen = [name], {name}
        while waiting:
            group = waiting.pop()
            having = [one for one in reversed(self.sources) if group in one.groups]
            if not having or any(group in one.targets for one in self.sources):
                continue
            if having[0].level == "project":
                for each in self.members(group):
                    for one in self.sources:
                        if one.trusted and each in one.targets:
                            return group, one, each
            waiting += [one for one in having[0].groups[group] if one not in seen]
            seen.update(waiting)
        return None

    def trusted_chain(self, name: str, seen: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Return a target and what it inherits from by the word of trusted files, what counts most last."""
        having = [one.targets[name] for one in self.sources if one.trusted and name in one.targets]
        parents = next((one.inherits for one in reversed(having) if one.inherits), ())
        found = dict.fromkeys(
            each for one in parents if one not in seen for each in self.trusted_chain(one, (*seen, name))
        )
        return (*found, name)

    def chain(
        self, name: str, seen: tuple[str, ...] = (), where: str = "", known: _Known | None = None
    ) -> tuple[str, ...]:
        """Return what a target inherits from and itself, what counts most last. Raises UsageError."""
        known = {} if known is None else known
        if name in known:
            return known[name]
        having = [source.targets[name] for source in self.sources if name in source.targets]
        if name in seen:
            raise UsageError(f"{having[-1].place}.inherits: it inherits from itself")
        if not having:
            raise _no_target(name, self.targets().keys() - set(seen), where)
        heir = next((one for one in reversed(having) if one.inherits), having[-1])
        place = f"{heir.place}.inherits"
        _not_too_deep(seen, place)
        inner = (self.chain(one, (*seen, name), f"{place}: ", known) for one in heir.inherits)
        found = [each for one in inner for each in one]
        known[name] = (*dict.fromkeys(found), name)
        return known[name]

    def check(self) -> None:
        """Raise UsageError for groups and targets that name what is not there."""
        members: _Known = {}
        chains: _Known = {}
        for source in self.sources:
            for name in source.groups:
                self.members(name, known=members)
            for name in source.targets:
                self.chain(name, known=chains)


def read_files(found: Found) -> Files:
    """Read every file that counts. Raises UsageError."""
    project = found.project
    sources = [read_source(one, _level(one, found)) for one in found.files]
    folder = ""
    if project is not None:
        folder = os.path.relpath(project.file.parent)
        if not any(_same(project.file, one) for one in found.files):
            at = 1 if found.named else 0
            sources.insert(at, read_source(project.file, "project", project))
    files = Files(tuple(reversed(sources)), folder)
    files.check()
    return files


def _level(file: Path, found: Found) -> Level:
    if found.named:
        return "--config"
    return "system" if file.parts[:2] == ("/", "etc") else "user"


def _same(one: Path, other: Path) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def of_environment(environment: Mapping[str, str]) -> Section:
    """Return what variables say: lists have one entry in each line. Raises UsageError."""
    found: dict[str, tuple[Entry, ...]] = {}
    if environment.get("SOURCE_DATE_EPOCH"):
        # The engine knows what comes before this variable; files do not.
        found["source-date-epoch"] = ()
    for key in KEYS:
        text = environment.get(key.variable, "") if key.variable else ""
        lines = [one for one in text.splitlines() if one] if key.listed else [text] if text else []
        if lines:
            found[key.name] = tuple(Entry(_checked(key, one), key.variable, "environment") for one in lines)
    return found


def _checked(key: Key, text: str) -> str:
    if key.kind == "flag":
        return "true" if truth(key.variable, text) else "false"
    if key.choices and text not in key.choices:
        raise UsageError(f"{key.variable}={text}: expected one of {', '.join(key.choices)}")
    return text


def of_command_line(given: Mapping[str, object]) -> Section:
    """Return what options say, by the names that the parser gives them."""
    found: dict[str, tuple[Entry, ...]] = {}
    for dest, value in given.items():
        key = BY_DEST.get(dest)
        if key is None or (dest == "context" and not value):
            continue
        texts = value if isinstance(value, list | tuple) else [value]
        found[key.name] = tuple(
            Entry(str(one).lower() if isinstance(one, bool) else str(one), key.option, "command line") for one in texts
        )
    return found


def effective(files: Files, target: str, over: Iterable[Section]) -> Build:
    """Return what holds for a target, or without one for a build of a context; ``over`` counts more than files."""
    layers: list[Section] = []
    described: tuple[str, ...] = ()
    trusted: tuple[str, ...] = ()
    if target:
        described, trusted = files.chain(target), files.trusted_chain(target)
        layers.append({"context": (Entry(files.folder or ".", "", "project"),)})
    for source in files.sources:
        layers.append(source.build)
        # A project does not choose which targets inherit what others trust one of them with.
        chain = trusted if source.trusted else described
        layers += [source.targets[one].values for one in chain if one in source.targets]
    values: dict[str, tuple[Entry, ...]] = {}
    for layer in (*layers, *over):
        for name, entries in layer.items():
            values[name] = _merged(BY_NAME[name], values.get(name, ()), entries)
    return Build(target, {name: entries for name, entries in values.items() if entries})


def _merged(key: Key, below: Sequence[Entry], above: tuple[Entry, ...]) -> tuple[Entry, ...]:
    if not key.merged:
        return above
    return tuple({_identity(key, one.text): one for one in (*below, *above)}.values())


def _identity(key: Key, text: str) -> str:
    """Return what two entries have in common of which one replaces the other."""
    if key.name == "secrets":
        words = (word.partition("=") for word in text.split(","))
        return next((value for name, _, value in words if name == "id"), text)
    separator = ":" if key.name == "add-host" and "=" not in text.partition(":")[0] else "="
    return text.partition(separator)[0]


def apply(build: Build, options: argparse.Namespace) -> argparse.Namespace:
    """Return the options with the values set that hold. Raises BuilderError for wrong ones, with their place."""
    from builder.cli.config.checking import check

    made = argparse.Namespace(**vars(options))
    made.places = [
        (BY_NAME[name].option, one.text, one.place)
        for name, entries in build.values.items()
        for one in entries
        if one.level != "command line"
    ]
    for name, entries in build.values.items():
        key = BY_NAME[name]
        texts = [one.text for one in entries]
        for one in entries:
            if one.level != "command line":
                check(key, one)
        if key.kind == "flag":
            setattr(made, key.dest, texts[-1] == "true")
        else:
            setattr(made, key.dest, texts if key.listed else texts[-1])
    return made


def chosen(words: Sequence[str], files: Files) -> tuple[str, ...]:
    """Return the targets that words name; an empty one is a build of a context. Raises UsageError."""
    names = files.targets()
    if not words:
        if DEFAULT not in names:
            return ("",)
        words = [DEFAULT]
    if len(words) == 1 and words[0] not in names:
        word = words[0]
        if names and not os.path.lexists(word) and word.replace("-", "").replace("_", "").isalnum():
            raise _no_target(word, names, "", "neither a target nor a directory")
        return ("",)
    for word in words:
        if lent := files.lent(word):
            group, source, target = lent
            raise UsageError(
                f"{source.file}: target.{target}: a project's file may not say this: that its group {group} has it",
                hint=f"name {target} in the command, or write the group into {source.file.name}",
            )
    return tuple(dict.fromkeys(each for one in words for each in files.members(one)))


def builds(words: Sequence[str], given: Mapping[str, object], files: Files, variables: Section) -> list[Build]:
    """Return what is to be built, in this order. Raises UsageError."""
    targets = chosen(words, files)
    line = dict(of_command_line(given))
    if targets != ("",):
        line.pop("context", None)
    elif words:
        line["context"] = (Entry(words[0], "CONTEXT", "command line"),)
    if len(targets) > 1:
        for name in ("tags", "outputs", "iidfile", "digest-file", "metadata-file", "timings"):
            if name in line:
                _refuse_for_all(BY_NAME[name], targets)
    return [effective(files, one, (variables, line)) for one in targets]


def _refuse_for_all(key: Key, targets: Sequence[str]) -> NoReturn:
    raise UsageError(
        f"{key.option}: {len(targets)} targets are built, and each has its own",
        hint=f"build them one after the other, or say it in the file: target.{targets[0]}.{key.name}",
    )


def _no_target(name: str, known: Iterable[str], where: str, what: str = "no target") -> UsageError:
    from builder.dockerfile.suggest import nearest

    names = sorted(known)
    close = nearest(name, names)
    listed = f"the targets are {', '.join(names)}" if names else "no file describes another"
    return UsageError(f"{where}there is {what} called {name}", hint=f"did you mean {close}?" if close else listed)
