"""What a project's file may say. It may come with a stranger's change, so it describes images and nothing else.

Keys that hand out access, lead elsewhere or loosen the sandbox are refused (``keys`` says which); the others may name
what lies in the project only. Nothing may be written into a repository's own directory, whose hooks git executes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from builder.cli.config.keys import BY_NAME, TABLES, Key
from builder.cli.config.paths import Use, divided, is_path, map_paths
from builder.errors import UsageError
from builder.settings import NAME, Project, Table, is_within

_OWN = frozenset((".git", ".hg", ".svn", ".bzr", ".jj"))
"""Directories of version control, whose contents are executed or believed."""

if TYPE_CHECKING:
    from builder.cli.config.files import Section

_STDOUT = "it would take the place of the answer on standard output, which whoever builds believes"
_FILES = ("docker", "oci", "tar", "local", "image", "cacheonly")
"""Types of outputs that stay on this machine."""


def refuse_file(project: Project) -> None:
    """Raise UsageError for a file that is not the project's own."""
    if project.stranger is not None:
        problem = f"it belongs to user {project.stranger}, and what is built does not"
    elif not is_within(os.path.realpath(project.file), os.path.realpath(project.root)):
        problem = f"it is a link out of the project {project.root}"
    else:
        return
    hint = f"leave it out with --no-project-config, or trust it: --config {os.path.relpath(project.file)}"
    raise UsageError(f"{project.file}: it is not the project's own: {problem}", hint=hint)


def refuse_tables(root: Table, project: Project) -> None:
    """Raise UsageError for settings of registries and the store."""
    why = {path.partition(".")[0]: why for path, why in TABLES.values()}
    for name in root.names():
        if name in why:
            raise root.wrong(name, f"a project's file may not say this: {why[name]}", _hint(project))


def refuse_key(key: Key, place: str, project: Project) -> None:
    """Raise UsageError for a key that a project's file may not have."""
    if key.project == "no":
        instead = f"give {key.option}, set {key.variable}, or "
        raise UsageError(f"{place}: a project's file may not say this: {key.why}", hint=_hint(project, instead))


def refuse_value(key: Key, text: str, place: str, project: Project) -> None:
    """Raise UsageError for a value that leads out of the project."""
    confined = _Confined(key, place, project)
    if key.name == "args" and "=" not in text:
        confined.refuse("it would take the value of a variable of whoever builds it")
    if text == "-":
        written = key.name not in ("context", "dockerfile")
        confined.refuse(_STDOUT if written else "it would read standard input")
    if key.name == "context" and not is_path(text):
        confined.refuse("the context has to be a directory of the project")
    if key.name == "contexts":
        where = text.partition("=")[2]
        if not is_path(where) and not where.startswith(("docker-image://", "oci-layout://", "docker-archive:")):
            confined.refuse("a named context has to be a directory of the project or an image")
    if key.name == "outputs":
        confined.refuse_output(text)
    map_paths(key.name, text, confined.check)


class _Confined:
    """The rules for one value."""

    def __init__(self, key: Key, place: str, project: Project) -> None:
        self._key = key
        self._place = place
        self._project = project

    def refuse(self, problem: str) -> NoReturn:
        """Raise the error."""
        instead = f"give {self._key.option}, or " if self._key.option.startswith("-") else "name it in the command, or "
        raise UsageError(
            f"{self._place}: a project's file may not say this: {problem}", hint=_hint(self._project, instead)
        )

    def check(self, path: str, use: Use) -> str:
        """Refuse a path that is not in the project, also behind symlinks."""
        root = os.path.realpath(self._project.root)
        # A layout's name may end with a tag or a digest.
        ends = [index for index, letter in enumerate(path) if letter in ":@" and index] if use == "read" else []
        for end in (*ends, len(path)):
            found = os.path.realpath(self._project.file.parent / path[:end])
            if not is_within(found, root):
                self.refuse(f"{path} is not in the project {root}")
        if use == "write":
            self._refuse_writing(path, os.path.relpath(found, root), found)
        return path

    def _refuse_writing(self, path: str, name: str, found: str) -> None:
        if name == ".":
            self.refuse("it would write over the project")
        if not _OWN.isdisjoint(part.lower() for part in Path(name).parts):
            self.refuse(f"{path} is version control's own")
        for _, folders, files in os.walk(found):
            if not _OWN.isdisjoint(one.lower() for one in (*folders, *files)):
                self.refuse(f"there is a repository in {path}")

    def refuse_output(self, text: str) -> None:
        """Refuse an output that leaves this machine."""
        words = [word.partition("=") for word in divided("outputs", text)]
        names = [name.strip() for name, equals, _ in words if equals]
        if ("dest", "-") in [(name.strip(), value) for name, _, value in words]:
            self.refuse(_STDOUT)
        kinds = [value for name, _, value in words if name.strip() == "type"]
        if "push" in names or any(one.strip() == "registry" for one in kinds):
            self.refuse("it would push with the account of whoever builds it")
        if names and kinds != [one for one in kinds if one in _FILES]:
            self.refuse(f"the types of outputs are {', '.join(_FILES)} here")


def refuse_meetings(builds: Iterable[Section]) -> None:
    """Raise UsageError if a project's path is in what an output writes, or an output of the project has another path
    in it: the image's files are there by then, and among them are links to anywhere.
    """
    paths = [
        (key, entry, os.path.realpath(path))
        for values in builds
        for name, entries in values.items()
        for key in [BY_NAME[name]]
        for entry in entries
        for path in _paths(name, entry.text)
    ]
    trees = [one for one in paths if one[0].name == "outputs"]
    for key, inner, path in paths:
        for _, outer, tree in trees:
            if path != tree and is_within(path, tree) and "project" in (inner.level, outer.level):
                ours = inner if inner.level == "project" else outer
                other = outer.place if ours is inner else inner.place
                problem = (
                    f"{path} is in what an output writes" if ours is inner else f"{path} would be in what it writes"
                )
                raise UsageError(
                    f"{ours.place}: a project's file may not say this: {problem} ({other})",
                    hint=f"give {key.option} another place" if key.option.startswith("-") else None,
                )


def _paths(name: str, text: str) -> list[str]:
    found: list[str] = []

    def note(path: str, _: Use) -> str:
        found.append(path)
        return path

    map_paths(name, text, note)
    return found


def _hint(project: Project, instead: str = "") -> str:
    named = os.path.relpath(project.file)
    return f"{instead}write it into the user's {NAME}, or trust this file as a whole: --config {named}"


def refuse(key: Key, entries: Sequence[tuple[str, str]], place: str, project: Project) -> None:
    """Raise UsageError if a project's file may not say this; ``entries`` are texts and where they stand."""
    refuse_key(key, place, project)
    if key.project == "inside":
        for text, where in entries:
            refuse_value(key, text, where, project)
