"""How an executor is told to reach registries, in our words: insecure ones, mirrors, maps."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence

from builder.cli.kaniko.given import Given
from builder.cli.kaniko.source import Source
from builder.errors import UsageError
from builder.image.reference import Reference, ReferenceSyntaxError
from builder.patterns import pattern

_NAMED = pattern(
    r"^[ \t]*FROM[ \t]+(?:--\S+[ \t]+)*(\S+)|--from=([^\s,]+)|\bfrom=([^\s,]+)", re.MULTILINE | re.IGNORECASE
)


def registry_words(given: Given, destinations: Sequence[Reference], source: Source) -> list[str]:
    """Return the options for what is not renamed only. Raises UsageError."""
    words: list[str] = []
    hosts = dict.fromkeys(_insecure(given, destinations, source))
    maps, plain = _maps(given)
    for host in dict.fromkeys((*hosts, *plain)):
        words += ["--insecure-registry", host]
    if given.has("registry-mirror") and not given.on("skip-default-registry-fallback"):
        words += [word for mirror in given.texts("registry-mirror") if mirror for word in ("--registry-mirror", mirror)]
    for one in maps:
        words += ["--registry-map", one]
    return words


def _insecure(given: Given, destinations: Sequence[Reference], source: Source) -> Iterator[str]:
    if given.on("insecure") or given.on("skip-tls-verify"):
        yield from (one.registry for one in destinations)
        repository = given.text("cache-repo")
        if given.on("cache") and repository and not repository.startswith("oci:"):
            yield Reference.parse(repository).registry
    for name in ("insecure-pull", "skip-tls-verify-pull"):
        if given.on(name):
            yield from _bases(name, source)
            yield from (_host(text) for text in given.texts("registry-mirror") if text)
            yield from (_host(text.partition("=")[2]) for text in _split_maps(given))


def _bases(option: str, source: Source) -> Iterator[str]:
    """Yield the registries that the Dockerfile names. Raises UsageError where that is not known beforehand."""
    from builder.engine.sources import DOCKERFILE_LIMIT

    path = source.dockerfile or os.path.join(source.context, "Dockerfile")
    path = source.stdin if path == "-" else path
    try:
        if not source.local and source.dockerfile != "-":
            raise OSError("it is not here")
        with open(path, encoding="utf-8", errors="replace") as stream:
            text = stream.read(DOCKERFILE_LIMIT)
    except OSError as error:
        raise UsageError(
            f"--{option}: the registries of base images are not known before the Dockerfile is read",
            hint="name each: --insecure-registry HOST, which an executor has too",
        ) from error
    for found in _NAMED.finditer(text):
        name = found[1] or found[2] or found[3]
        head = name.partition("/")[0]
        if "/" not in name or (not any(mark in head for mark in ".:$") and head != "localhost"):
            continue
        if "$" in head:
            hint = "name the registry: --insecure-registry HOST, which an executor has too"
            raise UsageError(f"--{option}: which registry {name} is in is known when the build runs", hint=hint)
        try:
            yield Reference.parse(name.partition("$")[0].rstrip(":@/-._")).registry
        except ReferenceSyntaxError:
            yield head


def _maps(given: Given) -> tuple[list[str], list[str]]:
    """Return our maps, and the hosts among them that are spoken to in plain http."""
    given_maps = _split_maps(given)
    strict = given.on("skip-default-registry-fallback")
    if strict:
        given_maps += [f"docker.io={mirror}" for mirror in given.texts("registry-mirror") if mirror]
    words: list[str] = []
    plain: list[str] = []
    for text in given_maps:
        place, equals, target = text.partition("=")
        if not equals:
            raise UsageError(f"--registry-map {text}: expected FROM=TO")
        scheme, mark, rest = target.rpartition("://")
        if mark and scheme == "http":
            plain.append(rest.partition("/")[0])
        words.append(f"{place}={rest}")
    if not strict:
        # An executor asks the registry itself at last.
        words += [f"{place}={place}" for place in _places(words)]
    return words, plain


def _split_maps(given: Given) -> list[str]:
    return [one for text in given.texts("registry-map") for one in text.split(";") if one]


def _host(text: str) -> str:
    return text.rpartition("://")[2].rpartition("@")[2].partition("/")[0]


def _places(maps: Iterable[str]) -> Iterator[str]:
    yield from dict.fromkeys(one.partition("=")[0] for one in maps)
