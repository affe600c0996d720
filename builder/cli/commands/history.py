"""``pybuild history``: how an image came to be, step by step, as ``docker history`` shows it."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from builder.cli.answers import answer_bytes, answer_json, answer_table
from builder.cli.human import human_age, human_size
from builder.cli.parsing import Parser, add_json, base
from builder.cli.platforms import platform_of
from builder.cli.registries import add_registry_options
from builder.cli.session import looking
from builder.engine.machine import native_platform

if TYPE_CHECKING:
    from builder.images.history import Step

EXAMPLES = """
examples:
  pybuild history app:1
  pybuild history --no-trunc --format '{{.CreatedBy}}' docker://registry.example/app:1
  pybuild history --sizes app.tar      # read the layers to know how big their files are
"""

_HEADERS = {"ID": "IMAGE", "CreatedSince": "CREATED", "CreatedBy": "CREATED BY", "Size": "SIZE", "Comment": "COMMENT"}
_MORE_HEADERS = {"CreatedAt": "CREATED AT", "Layer": "LAYER", "StoredSize": "STORED SIZE"}
_MISSING = "<missing>"
_WIDTH = 45
_ID_LENGTH = 12


def parser() -> Parser:
    """Return the grammar."""
    parser = base(
        "pybuild history",
        "Show the steps that made an image, the newest first. A step's size is that of its files where that is known, "
        "else that of its layer as it is stored, and says so.",
        EXAMPLES,
    )
    parser.add_argument("image", metavar="IMAGE", help="a name, or a place as pybuild inspect takes it")
    parser.add_argument("--platform", metavar="OS/ARCH", help="which image of an index (default: this machine's)")
    parser.add_argument("--no-trunc", action="store_true", help="cut nothing off")
    parser.add_argument("-q", "--quiet", action="store_true", help="only the IDs")
    parser.add_argument(
        "--no-human", dest="human", action="store_false", help="bytes and RFC 3339, as --human=false in Docker"
    )
    # Docker's spellings of a flag that is on anyway.
    for spelled in (("-H", "--human", "--human=true"), ("--human=false",)):
        action = "store_true" if "-H" in spelled else "store_false"
        parser.add_argument(*spelled, dest="human", action=action, default=True, help=argparse.SUPPRESS)
    parser.add_argument("--sizes", action="store_true", help="fetch and read layers whose files' size is not known")
    parser.add_argument("--format", metavar="TEMPLATE", help="a Go template, perhaps after the word table, or json")
    add_json(parser)
    add_registry_options(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Carry it out and return the exit status."""
    from builder.images.choosing import fitting
    from builder.images.history import steps
    from builder.images.locate import locate

    platform = platform_of(options)
    with looking(options) as env:
        artifact = fitting(locate(options.image, env), [platform] if platform else [])
        image = artifact.image(platform or native_platform())
        found = list(steps(image, env, read=options.sizes))
    identity = str(image.manifest.config.digest)
    if options.json:
        answer_json([_value(step, identity if not number else _MISSING) for number, step in enumerate(found)])
        return 0
    rows = [_row(options, step, identity if not number else _MISSING) for number, step in enumerate(found)]
    if options.quiet:
        answer_bytes("".join(f"{row['ID']}\n" for row in rows).encode())
    else:
        _show(options, rows)
    return 0


def _show(options: argparse.Namespace, rows: Sequence[dict[str, str]]) -> None:
    if options.format is None:
        answer_table(tuple(_HEADERS.values()), [[row[name] for name in _HEADERS] for row in rows])
        return
    from builder.cli.template import listing

    text = listing(options.format, rows, {**_HEADERS, **_MORE_HEADERS})
    answer_bytes((text + "\n" if text else "").encode("utf-8", "replace"))


def _row(options: argparse.Namespace, step: Step, identity: str) -> dict[str, str]:
    """Return what templates of a listing may name, as text."""
    created_by = step.history.created_by.replace("\t", " ")
    if not options.no_trunc:
        created_by = created_by if len(created_by) <= _WIDTH else created_by[: _WIDTH - 1] + "\u2026"
        identity = identity.removeprefix("sha256:")[:_ID_LENGTH]
    created = step.history.created
    return {
        "ID": identity,
        "CreatedSince": _since(created) if options.human else created or "N/A",
        "CreatedAt": created or "N/A",
        "CreatedBy": created_by,
        "Size": _size(step, human=options.human),
        "Comment": step.history.comment,
        "Layer": step.layer or "",
        "StoredSize": human_size(step.stored) if options.human else str(step.stored),
    }


def _since(created: str) -> str:
    from builder.images.listing import unix_time

    seconds = unix_time(created)
    return "N/A" if seconds is None or seconds <= 0 else human_age(max(0.0, time.time() - seconds))


def _size(step: Step, *, human: bool) -> str:
    size = step.stored if step.size is None else step.size
    text = human_size(size) if human else str(size)
    return f"{text} compressed" if step.size is None else text


def _value(step: Step, identity: str) -> dict[str, object]:
    """Return a step for programs."""
    history = step.history
    return {
        "ID": identity,
        "Created": history.created,
        "CreatedBy": history.created_by,
        "Author": history.author,
        "Comment": history.comment,
        "EmptyLayer": history.empty_layer,
        "Layer": step.layer,
        "Size": step.size,
        "StoredSize": step.stored,
    }
