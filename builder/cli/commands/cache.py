"""``pybuild cache``: what the store holds, and removing what can go."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from builder.cli.amounts import duration
from builder.cli.answers import answer, answer_json, answer_table
from builder.cli.human import counted, human_age, human_size
from builder.cli.parsing import Parser, add_json, base
from builder.cli.registries import add_registry_options
from builder.cli.reporters import make_reporter
from builder.cli.session import environment, looking
from builder.engine.machine import available_cpus
from builder.errors import UsageError
from builder.events import Reporter, warner

if TYPE_CHECKING:
    from builder.cache.store import Store
    from builder.cache.usage import Item, Kind
    from builder.images.tidying import Tidying

ACTIONS = {
    "du": "say how much of the disk each type of file takes",
    "ls": "list what is in the store, what was used last first",
    "prune": "remove what is neither in use nor needed by an image with a name",
}

_EXAMPLES = {
    "du": """
examples:
  pybuild cache du
  pybuild cache du --json | jq .total
""",
    "ls": """
examples:
  pybuild cache ls --filter type=mount
""",
    "prune": """
examples:
  pybuild cache prune --max-size 20g
  pybuild cache prune --max-age 7d --filter type=layer,unpacked --dry-run
  pybuild cache prune --remote registry.example/team/cache --max-age 30d
""",
}

_ABOUT = {
    "du": "Say how much of the disk the store takes, by type, and how much of that could be removed now.",
    "ls": "List what is in the store with its size and when it was used last.",
    "prune": """\
Remove what running builds do not use and images with names do not need, what was used least recently first. Without
--max-size and --max-age everything of that kind goes, and the next build starts cold. --remote prunes a shared cache in
a registry instead.""",
}

_TYPES = """\
type=TYPE[,TYPE]: image (manifests and configs), layer, unpacked (layers as files, for RUN), toc (tables of contents of
layers), result (what steps gave), mount (of RUN --mount=type=cache), http (files of ADD), parsed (Dockerfiles), stat
(what is known of contexts), record (what explain compares), log (what steps wrote), imported (shared caches),
temporary"""


def parser(action: str) -> Parser:
    """Return the grammar of an action."""
    parser = base(f"pybuild cache {action}", _ABOUT[action], _EXAMPLES[action])
    if action != "du":
        parser.add_argument("--filter", metavar="type=TYPE", action="append", default=[], help=_TYPES)
    if action == "prune":
        parser.add_argument("--max-size", metavar="SIZE", help="keep this much, e.g. 20g")
        parser.add_argument("--max-age", metavar="TIME", help="keep what was used since then, e.g. 36h or 7d")
        parser.add_argument(
            "-a", "--all", action="store_true", help="remove images with names as well, each as a whole"
        )
        parser.add_argument("--dry-run", action="store_true", help="remove nothing, only say what would be removed")
        parser.add_argument(
            "--remote",
            metavar="REF",
            help="prune the cache that --cache-to type=registry,ref=REF writes: what nobody used for --max-age",
        )
    add_json(parser)
    if action == "prune":
        add_registry_options(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Carry it out and return the exit status."""
    if options.action == "prune":
        return _prune(options)
    return _du(options) if options.action == "du" else _ls(options)


@contextmanager
def _tidying(options: argparse.Namespace) -> Iterator[Tidying]:
    from builder.images.tidying import Tidying

    reporter = make_reporter(options.progress, sys.stderr)
    with ExitStack() as closing:
        store = _looked_at(options, reporter)
        if store is None:
            # No lease of ours: what a build says of its own start must not be mistaken for ours.
            store = closing.enter_context(environment(options, reporter, available_cpus())).store
        found = Tidying(store, reporter)
        closing.callback(found.close)
        yield found


def _looked_at(options: argparse.Namespace, reporter: Reporter) -> Store | None:
    """Return a store on a medium that is only read, for who wants to know what is in it."""
    from builder.cache.location import only_readable
    from builder.cli.registries import file_settings
    from builder.settings import chosen_store

    if options.action == "prune" and not options.dry_run:
        return None
    root = only_readable(os.environ, chosen_store(options.root, os.environ, file_settings(options, os.environ)))
    if root is None:
        return None
    from builder.cache.store import Store

    return Store.look(root, warn=warner(reporter, "store"))


def _du(options: argparse.Namespace) -> int:
    from builder.cache.usage import KINDS, total

    with _tidying(options) as tidying:
        items = tidying.items()
        free = {id(one) for one in tidying.removable(items)}
        root = str(tidying.root)
    rows = []
    for kind in KINDS:
        own = [one for one in items if one.kind == kind]
        if own:
            rows.append((kind, len(own), total(own), total(one for one in own if id(one) in free)))
    whole, reclaimable = total(items), sum(row[3] for row in rows)
    if options.json:
        types = [{"type": kind, "count": n, "size": size, "reclaimable": free} for kind, n, size, free in rows]
        answer_json({"root": root, "total": whole, "reclaimable": reclaimable, "types": types})
        return 0
    cells: list[tuple[str, ...]] = [(kind, str(n), human_size(size), human_size(free)) for kind, n, size, free in rows]
    cells.append(("total", str(len(items)), human_size(whole), human_size(reclaimable)))
    answer_table(["TYPE", "COUNT", "SIZE", "RECLAIMABLE"], cells)
    return 0


def _ls(options: argparse.Namespace) -> int:
    kinds = _kinds(options.filter)
    with _tidying(options) as tidying:
        items = [one for one in tidying.items() if one.kind in kinds]
    items.sort(key=lambda one: (-one.used, one.kind, one.name))
    if options.json:
        answer_json([_value(one) for one in items])
        return 0
    now = time.time()
    rows = [
        (one.kind, one.name, human_size(one.size), _age(now, one.used), "yes" if one.named else "") for one in items
    ]
    answer_table(["TYPE", "NAME", "SIZE", "LAST USED", "KEPT BY A NAME"], rows)
    return 0


def _prune_remote(options: argparse.Namespace) -> int:
    if options.max_age is None or options.max_size is not None or options.filter or options.all:
        raise UsageError("--remote goes with --max-age, and with no other limit", hint="e.g. --max-age 30d")
    from builder.engine.sharing import prune_remote

    age = duration("--max-age", options.max_age)
    with looking(options, available_cpus()) as env:
        done = prune_remote(options.remote, age, env, dry_run=options.dry_run)
    if options.json:
        counts = {"entries": done.entries, "records": done.records, "kept": done.kept}
        answer_json({**counts, "written": done.written, "dry_run": options.dry_run})
        return 0
    would = "would remove" if options.dry_run else "removed"
    gone = f"{counted(done.entries, 'entry', 'entries')} and {counted(done.records, 'result', 'results')}"
    answer(f"{would} {gone}; {counted(done.kept, 'result is', 'results are')} left")
    return 0


def _prune(options: argparse.Namespace) -> int:
    if options.remote is not None:
        return _prune_remote(options)
    from builder.cache.prune import Limits
    from builder.cache.usage import total

    limits = Limits(
        size=None if options.max_size is None else _size("--max-size", options.max_size),
        age=None if options.max_age is None else duration("--max-age", options.max_age),
        kinds=_kinds(options.filter),
    )
    with _tidying(options) as tidying:
        done = tidying.prune(limits, names=options.all, act=not options.dry_run)
    if options.json:
        removed = [_value(one) for one in done.removed]
        answer_json({"removed": removed, "size": done.size, "busy": len(done.busy), "dry_run": options.dry_run})
        return 0
    for kind in dict.fromkeys(one.kind for one in done.removed):
        own = [one for one in done.removed if one.kind == kind]
        answer(f"{kind}: {len(own)}, {human_size(total(own))}")
    answer(f"{'would free' if options.dry_run else 'freed'} {human_size(done.size)}")
    return 0


def _size(option: str, text: str) -> int:
    from builder.cli.amounts import size

    return size(option, text)


def _kinds(texts: Sequence[str]) -> frozenset[Kind]:
    """Return the kinds that filters name, all without one. Raises UsageError."""
    from builder.cache.usage import KINDS
    from builder.dockerfile.suggest import did_you_mean

    found: set[Kind] = set()
    for text in texts:
        key, equals, value = text.partition("=")
        if key != "type" or not equals:
            raise UsageError(f"--filter {text}: expected type=TYPE", hint=f"TYPE is one of {', '.join(KINDS)}")
        for name in value.split(","):
            kind = next((one for one in KINDS if one == name), None)
            if kind is None:
                hint = did_you_mean(name, KINDS).strip() or f"one of {', '.join(KINDS)}"
                raise UsageError(f"--filter {text}: there is no type {name!r}", hint=hint)
            found.add(kind)
    return frozenset(found or KINDS)


def _age(now: float, used: float) -> str:
    return human_age(max(0.0, now - used)) if used else "unknown"


def _value(item: Item) -> dict[str, object]:
    return {
        "type": item.kind,
        "name": item.name,
        "path": str(item.path),
        "size": item.size,
        "last_used": int(item.used),
        "kept_by_name": item.named,
    }
