"""What an option or an argument may be given, known by the word that its help has for it.

Files and stores are looked at as they are: what cannot be read offers nothing. What is offered has no character that a
shell would do something with.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from builder.cli.parsing import value_of
from builder.patterns import pattern
from builder.values import dataclass, field

_SAFE = pattern(r"[A-Za-z0-9_@%+:,./=-]{1,300}", re.ASCII)
_STAGE = pattern(
    r"^[ \t]*FROM[ \t]+(?:--\S+[ \t]+)*(\S+)[ \t]+AS[ \t]+([A-Za-z0-9._-]+)[ \t]*$", re.MULTILINE | re.IGNORECASE
)
_ARG = pattern(r"^[ \t]*ARG[ \t]+(.+)$", re.MULTILINE | re.IGNORECASE)
# A word with its quotes; nothing is tried twice, because a stranger's line may be long.
_WORD = pattern(r"[ \t]*+((?:\"[^\"]*+\"|'[^']*+'|[^\s\"'])++)")
_NAME = pattern(r"[A-Za-z_][A-Za-z0-9_]*")
_READ = 1 << 20
_PLATFORMS = (
    "linux/amd64",
    "linux/arm64",
    "linux/arm/v7",
    "linux/386",
    "linux/riscv64",
    "linux/ppc64le",
    "linux/s390x",
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Texts with descriptions, and ``files`` or ``dirs``; ``start`` is where in the value the texts begin."""

    choices: Mapping[str, str] = field(default_factory=dict)
    files: str = ""
    start: int = 0


@dataclass(frozen=True, slots=True)
class Asked:
    """What is known while a value is written: what there is of it, the Dockerfile and the context, the environment."""

    value: str
    dockerfile: str
    context: str
    words: Sequence[str]
    environment: Mapping[str, str]


Source = Callable[[Asked], Wanted]


def wanted(
    action: argparse.Action, value: str, words: Sequence[str], place: tuple[str, str], environment: Mapping[str, str]
) -> Wanted:
    """Return what an action's value may be, of which ``value`` was written."""
    if action.choices is not None:
        return Wanted({str(one): "" for one in action.choices})
    asked = Asked(value, *place, words, environment)
    for name in (action.dest, *_metavars(action)):
        source = _SOURCES.get(name)
        if source is not None:
            found = source(asked)
            return Wanted(
                {one: told for one, told in found.choices.items() if _SAFE.fullmatch(one)}, found.files, found.start
            )
    return Wanted()


def _metavars(action: argparse.Action) -> list[str]:
    text = action.metavar if isinstance(action.metavar, str) else ""
    first = re.split(r"[\[=|,:]", text)[0]
    return [text, first]


# --- sources


def _files(asked: Asked) -> Wanted:
    del asked
    return Wanted(files="files")


def _directories(asked: Asked) -> Wanted:
    del asked
    return Wanted(files="dirs")


def _context(asked: Asked) -> Wanted:
    from builder.cli.config.names import target_names

    return Wanted(target_names(asked.environment, value_of("--config", asked.words)), files="dirs")


def _stages(asked: Asked) -> Wanted:
    start = asked.value.rfind(",") + 1
    return Wanted({name: f"FROM {base}" for base, name in _STAGE.findall(_dockerfile(asked))}, start=start)


def _arguments(asked: Asked) -> Wanted:
    if "=" in asked.value:
        return Wanted()
    lines = _ARG.findall(_dockerfile(asked))
    names = dict.fromkeys(name for line in lines for name in _names(line))
    return Wanted({f"{name}=": "" for name in names})


def _names(line: str) -> Iterator[str]:
    """Yield the names that an ARG declares."""
    end = 0
    while word := _WORD.match(line, end):
        end = word.end()
        name = word[1].strip("\"'").partition("=")[0]
        if _NAME.fullmatch(name):
            yield name


def _dockerfile(asked: Asked) -> str:
    """Return the beginning of the Dockerfile that would be built, continued lines joined; empty if it is not here."""
    context = asked.context or "."
    path = asked.dockerfile or os.path.join(context.removeprefix("dir://"), "Dockerfile")
    if not os.path.isfile(path) and asked.dockerfile:
        path = os.path.join(context, asked.dockerfile)
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read(_READ).replace("\\\n", " ")
    except (OSError, ValueError):
        return ""


def _references(asked: Asked) -> Wanted:
    return Wanted(dict.fromkeys(_in_store(asked), ""))


def _references_and_files(asked: Asked) -> Wanted:
    return Wanted(dict.fromkeys(_in_store(asked), ""), files="files")


def _repositories(asked: Asked) -> Wanted:
    from builder.image.reference import Reference

    names = (Reference.parse(one) for one in _in_store(asked))
    return Wanted(dict.fromkeys((f"{one.registry}/{one.repository}" for one in names), ""))


def _hosts(asked: Asked) -> Wanted:
    from builder.image.reference import Reference

    return Wanted(dict.fromkeys((Reference.parse(one).registry for one in _in_store(asked)), ""))


def _in_store(asked: Asked) -> list[str]:
    """Return the names in the store that a command would use; a store is looked at, never made."""
    from builder.cache.location import candidates
    from builder.cache.store import Store
    from builder.errors import BuilderError
    from builder.image.reference import Reference

    named = value_of("--root", asked.words)
    places = [named] if named else [path for _, path in candidates(asked.environment, os.geteuid())]
    for place in places:
        try:
            store = Store.look(Path(os.path.abspath(place)))
            found = {Reference.parse(record.reference).familiar for record in store.refs.records()}
        except (BuilderError, OSError, ValueError):
            continue
        return sorted(found)
    return []


def _platforms(asked: Asked) -> Wanted:
    start = asked.value.rfind(",") + 1
    return Wanted(dict.fromkeys(("local", *_PLATFORMS), ""), start=start)


def _outputs(asked: Asked) -> Wanted:
    head, equals, _ = asked.value.rpartition("dest=")
    if equals:
        return Wanted(files="files", start=len(head) + len(equals))
    kinds = {
        "type=docker,dest=": "an archive for docker load",
        "type=oci,dest=": "an archive of an OCI layout",
        "type=oci,tar=false,dest=": "a directory with an OCI layout",
        "type=local,dest=": "the files, in a directory",
        "type=tar,dest=": "the files, in an archive",
        "type=registry": "a push",
        "type=image": "the store only",
        "type=cacheonly": "nothing",
    }
    return Wanted(kinds, files="dirs" if "=" not in asked.value else "")


def _caches(way: str) -> Source:
    def source(asked: Asked) -> Wanted:
        head, equals, _ = asked.value.rpartition(f"{way}=")
        if equals:
            return Wanted(files="dirs", start=len(head) + len(equals))
        return Wanted(
            {"type=registry,ref=": "a registry", f"type=local,{way}=": "a directory", "type=inline": "an image"}
        )

    return source


def _secrets(asked: Asked) -> Wanted:
    head, equals, rest = asked.value.rpartition("src=")
    if equals:
        return Wanted(files="files", start=len(head) + len(equals))
    del rest
    return Wanted({"id=": ""} if not asked.value.startswith("id=") else {})


def _annotations(asked: Asked) -> Wanted:
    kinds = ("manifest:", "index:", "manifest-descriptor:", "index-descriptor:")
    keys = ("title", "description", "licenses", "source", "url", "version", "revision", "authors", "documentation")
    head, colon, _ = asked.value.partition(":")
    start = len(head) + 1 if colon else 0
    return Wanted(
        dict.fromkeys((*(kinds if not colon else ()), *(f"org.opencontainers.image.{key}=" for key in keys)), ""),
        start=start,
    )


def _words(*words: str) -> Source:
    return lambda _: Wanted(dict.fromkeys(words, ""))


def _topics(asked: Asked) -> Wanted:
    from builder.cli.commands.help import everything
    from builder.cli.options import COMMANDS, load

    if asked.context in COMMANDS and asked.context != "build":
        return Wanted(getattr(load(asked.context), "ACTIONS", {}))
    return Wanted({} if asked.context else everything())


def _after_equals(asked: Asked) -> Wanted:
    head, equals, _ = asked.value.rpartition("=")
    return Wanted(files="files", start=len(head) + 1) if equals else Wanted()


def _directory_after_equals(asked: Asked) -> Wanted:
    head, equals, _ = asked.value.rpartition("=")
    return Wanted(files="dirs", start=len(head) + 1) if equals else Wanted()


_SOURCES: dict[str, Source] = {
    # by the attribute
    "allow": _words("network.host", "security.insecure"),
    "annotation": _annotations,
    "build_arg": _arguments,
    "build_context": _directory_after_equals,
    "cache_from": _caches("src"),
    "cache_to": _caches("dest"),
    "call": _words("check", "outline", "targets", "check,format=json", "outline,format=json", "targets,format=json"),
    "compression": _words("gzip", "gzip-single-member", "zstd", "uncompressed"),
    "context": _context,
    "insecure_registry": _hosts,
    "no_cache_filter": _stages,
    "type": _outputs,
    "platform": _platforms,
    "registry_certificate": _after_equals,
    "registry_client_cert": _after_equals,
    "secret": _secrets,
    "ssh": _after_equals,
    "topic": _topics,
    # by the word in the help
    "STAGE": _stages,
    "DIR": _directories,
    "FILE": _files,
    "REF": _references,
    "REF|FILE|LAYOUT": _references_and_files,
    "IMAGE": _references_and_files,
    "IMAGE|FILE": _references_and_files,
    "SRC": _references_and_files,
    "DST": _references,
    "LIST": _references,
    "MANIFEST": _references,
    "OTHER": _references_and_files,
    "TAR|DIR": _files,
    "PAGE.html": _files,
    "REPOSITORY": _repositories,
    "REGISTRY": _hosts,
    "OS/ARCH": _platforms,
}
