"""Values of files and of the environment, tried before any work: what is wrong with one is said with its place."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from builder.cli.config.files import Entry
from builder.cli.config.keys import Key
from builder.errors import BuilderError


def check(key: Key, entry: Entry) -> None:
    """Raise the error that the value would be in the end, with its place instead of the option's name."""
    try:
        _CHECKS.get(key.name, _nothing)(entry.text)
    except BuilderError as error:
        message = error.message.removeprefix(f"{key.option} {entry.text}: ").removeprefix(f"{key.option} ")
        error.message = f"{entry.place}: {message}"
        error.args = (error.message,)
        raise


def blame(error: BuilderError, places: Iterable[tuple[str, str, str]]) -> None:
    """Let a mistake name the place of its value instead of the option; ``places`` are options, texts and places."""
    for option, text, place in places:
        starts = [f"{option} {text}: ", f"{option} {text} ", f"{option}: "]
        if option == "--compression-level":
            starts.append("--compression: ")
        for start in starts:
            if error.message.startswith(start):
                error.message = f"{place}: {error.message.removeprefix(start)}"
                error.args = (error.message,)
                return


def _nothing(_: str) -> None:
    pass


def _tag(text: str) -> None:
    from builder.image.reference import Reference

    Reference.parse(text)


def _platform(text: str) -> None:
    from builder.cli.platforms import several_platforms

    several_platforms(text)


def _annotation(text: str) -> None:
    from builder.cli.annotations import parse_annotation

    parse_annotation(text)


def _level(text: str) -> None:
    from builder.levels import level_of

    level_of(text, text)


def _cache_from(text: str) -> None:
    from builder.cli.caching import sources

    sources([text])


def _cache_to(text: str) -> None:
    from builder.cli.caching import targets

    targets([text])


def _output(text: str) -> None:
    from builder.cli.outputs import output

    output(text)


def _allow(text: str) -> None:
    from builder.cli.granting import permissions

    permissions([text])


def _host(text: str) -> None:
    from builder.cli.granting import hosts

    hosts([text])


def _ulimit(text: str) -> None:
    from builder.cli.granting import ulimits

    ulimits([text])


def _memory(text: str) -> None:
    from builder.cli.granting import provision

    provision(text, None, (), ())


def _cpus(text: str) -> None:
    from builder.cli.granting import provision

    provision(None, text, (), ())


def _shm_size(text: str) -> None:
    from builder.cli.granting import shm_size

    shm_size(text)


def _dns(text: str) -> None:
    from builder.cli.granting import provision

    provision(None, None, (text,), ())


def _dns_search(text: str) -> None:
    from builder.cli.granting import provision

    provision(None, None, (), (text,))


_CHECKS: dict[str, Callable[[str], None]] = {
    "tags": _tag,
    "platforms": _platform,
    "annotations": _annotation,
    "compat": _level,
    "cache-from": _cache_from,
    "cache-to": _cache_to,
    "outputs": _output,
    "allow": _allow,
    "add-host": _host,
    "ulimits": _ulimit,
    "memory": _memory,
    "cpus": _cpus,
    "shm-size": _shm_size,
    "dns": _dns,
    "dns-search": _dns_search,
}
"""Keys whose values can be tried one by one; those of the others are tried together, when the build is put together."""
