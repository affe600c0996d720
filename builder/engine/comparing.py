"""Why a step was not found: its key's components against the records of steps that stood at the same place.

Comparing never decides what is executed and never fails a build. What the components are is ``engine.components``'s
business, how records are kept ``cache.records``'s.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from itertools import islice, zip_longest
from operator import itemgetter
from typing import assert_never

from builder.cache.keys import Component, Identity
from builder.cache.record import Components, Place, Record, Streamed, coarse, grouped, mark_of, pack, unpack
from builder.cache.records import Nearness, Records
from builder.engine.components import (
    CONFIGURED,
    DESTINATION,
    DIRECTORY,
    FILE,
    MOUNT,
    ORDERS,
    PARENT,
    fields_of,
)
from builder.engine.services import Services
from builder.plan.graph import BaseImage, Vertex
from builder.values import dataclass

BASE = "base image"
"""The change that stands for another parent, where that is an image from elsewhere."""

GONE = "its result was recorded and is not there any more"

_CANDIDATES = 4
"""Records that a build compares a step with: it has other things to do."""

_TOLD = 3
"""Changes that one line tells."""

_AROUND, _WIDTH = 12, 48
"""Characters of a long text that are shown before its first difference, and in all."""

_FILES_KEPT = 1000
"""Files whose changes are kept: nobody is shown more."""

_WORDS = {"mode": "mode", "owner": "owner", "target": "link target", "attributes": "extended attributes"}


@dataclass(frozen=True, slots=True)
class Change:
    """A component that differs; None where there is none on that side."""

    component: str
    was: str | None
    now: str | None

    def __str__(self) -> str:
        """Return it for people, without where it matters."""
        name = self.component.removeprefix(FILE) if self.component.startswith(FILE) else self.component
        if self.component == PARENT:
            return "what it is made on changed"
        if self.was is None or self.now is None:
            return f"{self.component} {'added' if self.was is None else 'removed'}"
        if self.component.startswith(FILE):
            return f"file {name}: {_file_change(self.was, self.now)}"
        if self.component.startswith(MOUNT):
            return f"{name}: {_fields_change(self.was, self.now)}"
        if "sha256" in self.was or "sha256" in self.now:
            return f"{name} changed" if self.component != BASE else f"{name}: was {self.was}, is {self.now}"
        return f"{name}: was {_excerpt(self.was, self.now)}, is {_excerpt(self.now, self.was)}"


_ANOTHER = Change(f"{FILE}...", "", "")
"""Stands for one more file that changed."""

_place_in = itemgetter(0)


def named(change: Change, below: str) -> str:
    """Return a change for people who are to read which step lies below."""
    return f"its parent changed: {below}" if change.component == PARENT and below else str(change)


def place_of(vertex: Vertex, project: str) -> Place:
    """Return where a step stands."""
    return Place(project, vertex.stage, type(vertex.operation).__name__, vertex.ordinal)


def telling(identities: Sequence[Identity]) -> Identity:
    """Return the identity that says most: by content, and on the image it is for."""
    exact = [one for one in identities if one.kind != "copy"]
    return exact[0]


def base_of(below: BaseImage | None, services: Services) -> str:
    """Return which image a step is made on, by name, platform and digest; empty for none."""
    if below is None:
        return ""
    source = below.source
    location = source.location.removeprefix("docker-image://").removeprefix("docker.io/library/")
    return f"{location} {source.platform.full} {services.bases.resolve(source).base().digest}"


def remember(vertex: Vertex, identities: Sequence[Identity], services: Services, below: BaseImage | None = None) -> str:
    """Keep what an executed step's key was made of; return why it was executed, empty where nothing is known."""
    records, identity, place = services.store.records, telling(identities), place_of(vertex, services.project)
    base = base_of(below, services)
    data = pack(Record(place, base, Streamed(identity.components)))
    kept = None if data is None else unpack(data, own=True)
    # As they are kept they take the least room, and are made only once.
    components = kept.components if kept is not None and not kept.by_directory else shown(identity)
    reason = ""
    if services.no_cache:
        reason = "--no-cache asks for it"
    elif vertex.fresh:
        reason = f"--no-cache-filter asks for the stage {vertex.stage}"
    elif records.has(identity.key):
        reason = GONE
    else:
        found = nearest(records, place, components, base, most=_CANDIDATES, hurried=True)
        reason = told(found) if found else ""
    if data is not None:
        records.add(identity.key, data, place, mark_of(components), latest=True)
    return reason


def shown(identity: Identity) -> Components:
    """Return the components of an identity, those of one name together."""
    return grouped(identity.components()).items()


def nearest(
    records: Records,
    place: Place,
    components: Components,
    base: str,
    *,
    most: int,
    unknown: Iterable[str] = (),
    taken: Container[str] = (),
    hurried: bool = False,
) -> tuple[Change, ...] | None:
    """Return what differs from the most similar of the ``most`` nearest records, None where there is none.

    Those of the same project come first; of others, only what is much like this step.
    Components whose names begin with one of ``unknown`` do not count, nor do records whose marks are ``taken``. Who is
    ``hurried`` does not look for a better one than the nearest that differs in very many files.
    """
    hidden = tuple(unknown)
    best: tuple[Change, ...] | None = None
    ours = False
    for key, where in islice(records.near(place, mark_of(components), taken), most):
        if where == "elsewhere" and ours:
            break
        record = records.find(key)
        if record is None or not _comparable(where, record, components, hidden):
            continue
        found = changes(record, components, base, hidden)
        ours = where != "elsewhere"
        if best is None or len(found) < len(best):
            best = found
        if len(best) <= (0 if hidden else 1) or (hurried and len(found) > _FILES_KEPT):
            break
    return best


def _comparable(where: Nearness, record: Record, components: Components, hidden: tuple[str, ...]) -> bool:
    """Say whether anybody would take a recorded step for an earlier one of this."""
    match where:
        case "there":
            return True
        case "project":
            return _is_akin(record, components, hidden)
        case "elsewhere":
            return _is_like_ours(record, components, hidden)
        case _:
            assert_never(where)


def _is_akin(record: Record, components: Components, hidden: tuple[str, ...]) -> bool:
    """Say whether a step does the same, as its first component says, on or with the same."""
    if mark_of(record.components) == mark_of(components):
        return True
    equal = (new for _, old, new in _paired(record.components, components) if new is not None and old == new)
    return any((name == PARENT and PARENT not in hidden) or _is_telling(name, text) for name, text in equal)


def _is_like_ours(record: Record, components: Components, hidden: tuple[str, ...]) -> bool:
    """Say whether a step of another project may be one of another checkout of ours.

    It does the same, with files of the same names, or has a file in common. That it begins on the same layers says
    nothing: many projects share a base.
    """
    same = mark_of(record.components) == mark_of(components)
    for _, old, new in _paired(record.components, coarse(components).items() if record.by_directory else components):
        name, text = new or old or ("", "")
        if old == new and _is_telling(name, text):
            return True
        same = same and not (name.startswith(FILE) and FILE not in hidden and None in (old, new))
    return same


def _is_telling(name: str, text: str) -> bool:
    """Say whether a component is a file that is not everywhere, as empty ones are."""
    return name.startswith(FILE) and "sha256=" in text and " size=0 " not in text


def changes(record: Record, components: Components, base: str, hidden: tuple[str, ...] = ()) -> tuple[Change, ...]:
    """Return what differs between a record and ``components``: what is below first, mere orders only if alone."""
    now = coarse(components).items() if record.by_directory else components
    found = _differing(record.components, now, hidden)
    if any(name == DESTINATION for name, _ in islice(now, 1)):
        found = _destined(found)
    below = [one for one in found if one.component == PARENT]
    others = [one for one in found if one.component != PARENT and one.component not in ORDERS]
    if base and record.base and base != record.base and PARENT not in hidden:
        image = Change(BASE, record.base, base)
        if below:
            below = [image]
        elif any(one.component.startswith(CONFIGURED) for one in others):
            others.append(image)
    if others:
        return (*below, *others)
    return (*below, *(one for one in found if one.component in ORDERS))


def _differing(was: Components, now: Components, hidden: tuple[str, ...]) -> list[Change]:
    """Return what differs as it is ordered now, then what is gone; files beyond very many only count."""
    found: list[tuple[int, Change]] = []
    files: list[tuple[int, Change]] = []
    more = 0
    for place, old, new in _paired(was, now):
        name, _ = new or old or ("", "")
        if old == new or name.startswith(hidden or "\0"):
            continue
        change = Change(name, None if old is None else old[1], None if new is None else new[1])
        if not name.startswith(FILE):
            found.append((place, change))
            continue
        files.append((place, change))
        if len(files) > 2 * _FILES_KEPT:
            files.sort(key=_place_in)
            more += len(files) - _FILES_KEPT
            del files[_FILES_KEPT:]
    return [*(change for _, change in sorted([*found, *files], key=_place_in)), *([_ANOTHER] * more)]


def _paired(was: Components, now: Components) -> Iterator[tuple[int, Component | None, Component | None]]:
    """Yield components of one name, with where they are now; those that are gone come last.

    Keeps only those without another of their name so far: of a hundred thousand files, as a rule, none.
    """
    gone: dict[str, str] = {}
    added: dict[str, tuple[int, str]] = {}
    place = 0
    for place, (old, new) in enumerate(zip_longest(was, now)):
        if old == new or (old and new and old[0] == new[0]):
            yield place, old, new
            continue
        if new:
            before = gone.pop(new[0], None)
            if before is None:
                added[new[0]] = place, new[1]
            else:
                yield place, (new[0], before), new
        if old:
            after = added.pop(old[0], None)
            if after is None:
                gone[old[0]] = old[1]
            else:
                yield after[0], old, (old[0], after[1])
    yield from ((where, None, (name, text)) for name, (where, text) in added.items())
    yield from ((place + number, old, None) for number, old in enumerate(gone.items(), 1))


def _destined(found: list[Change]) -> list[Change]:
    """Return a COPY's changes with the working directory in place of the destination, or without it, as it matters."""
    places = {one.component: one for one in found if one.component in (DESTINATION, DIRECTORY)}
    match places.get(DESTINATION), places.get(DIRECTORY):
        case Change(_, str(was), str(now)), Change(_, str(before), str(after)):
            apart = was.removeprefix(before.rstrip("/")) != now.removeprefix(after.rstrip("/"))
            needless = None if apart else DESTINATION
        case _:
            needless = DIRECTORY
    return [one for one in found if one.component != needless]


def told(found: Sequence[Change]) -> str:
    """Return changes as one line."""
    texts = [str(one) for one in found[:_TOLD]]
    return "; ".join([*texts, f"and {len(found) - _TOLD} more"] if len(found) > _TOLD else texts)


def _file_change(was: str, now: str) -> str:
    before, after = fields_of(was), fields_of(now)
    if before["kind"] != after["kind"]:
        return f"was a {before['kind']}, is a {after['kind']}"
    differing = [name for name in dict.fromkeys((*after, *before)) if before.get(name) != after.get(name)]
    if "sha256" in differing or "size" in differing:
        differing = ["contents", *(name for name in differing if name not in ("sha256", "size"))]
    said = [
        f"{_WORDS[name]} was {before.get(name, 'none')}, is {after.get(name, 'none')}"
        if name in ("mode", "owner", "target")
        else f"{_WORDS.get(name, name)} changed"
        for name in differing
    ]
    return ", ".join(said) or "changed"


def _fields_change(was: str, now: str) -> str:
    before, after = (dict(one.partition("=")[::2] for one in text.split(",")) for text in (was, now))
    differing = [name for name in dict.fromkeys((*after, *before)) if before.get(name) != after.get(name)]
    return ", ".join(f"{name} was {before.get(name, '')}, is {after.get(name, '')}" for name in differing)


def _excerpt(text: str, other: str) -> str:
    """Return a text in quotes, of a long one what lies around the first difference."""
    common = next((at for at, (one, two) in enumerate(zip(text, other, strict=False)) if one != two), None)
    start = max(0, (min(len(text), len(other)) if common is None else common) - _AROUND)
    start = start if len(text) > _WIDTH else 0
    piece = text[start : start + _WIDTH]
    return repr(f"{'...' if start else ''}{piece}{'...' if start + _WIDTH < len(text) else ''}")
