"""``pybuild images``: what is in the store."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

from builder.cli.answers import answer, answer_json, table
from builder.cli.human import human_age, human_size
from builder.cli.parsing import Parser, add_json, base
from builder.cli.session import working
from builder.errors import ImageError, UsageError

if TYPE_CHECKING:
    from builder.images.listing import Listed

EXAMPLES = """
examples:
  pybuild images
  pybuild images --digests --filter reference='registry.example/*'
  pybuild images -q --filter label=stage=test
  pybuild images --format '{{.Repository}}:{{.Tag}} {{.Size}}'
"""
HEADERS = {
    "ID": "IMAGE ID",
    "Repository": "REPOSITORY",
    "Tag": "TAG",
    "Digest": "DIGEST",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "Size": "SIZE",
    "Platform": "PLATFORM",
    "Source": "SOURCE",
}
_NONE = "<none>"
_SHORT = 12
_ACTIONS = {
    **dict.fromkeys(("ls", "list"), "list all images, use pybuild images alone"),
    **dict.fromkeys(("rm", "remove", "delete"), "remove images, use pybuild rmi"),
    "prune": "remove what nothing needs, use pybuild cache prune",
}
"""Of names without such an image: what who writes them wants."""


def parser() -> Parser:
    """Return the grammar."""
    about = """\
List the images of the store: those built, loaded and tagged here, and those pulled. SIZE is what is stored here.
Of base images of which a build needed only parts, -a tells too."""
    parser = base("pybuild images", about, EXAMPLES)
    parser.add_argument("reference", metavar="REF", nargs="?", help="only these; the same as --filter reference=REF")
    parser.add_argument("-a", "--all", action="store_true", help="base images that are not here as a whole too")
    parser.add_argument("--digests", action="store_true", help="show the digests of manifests")
    parser.add_argument(
        "--filter",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="label=KEY[=VALUE], reference=PATTERN, dangling=true|false, before=IMAGE or since=IMAGE",
    )
    parser.add_argument("--format", metavar="TEMPLATE", help="a Go template, 'table TEMPLATE', or json")
    parser.add_argument("--no-trunc", action="store_true", help="show whole IDs")
    parser.add_argument("-q", "--quiet", action="store_true", help="show IDs only")
    add_json(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Carry it out and return the exit status."""
    from builder.images.filtering import matching, parse_filters
    from builder.images.listing import listed

    if sum(map(bool, (options.json, options.format, options.quiet))) > 1:
        raise UsageError("--json, --format and --quiet exclude each other")
    filters = parse_filters([*options.filter, *([f"reference={options.reference}"] if options.reference else [])])
    with working(options) as env:
        every = list(listed(env.store))
        found = [
            one for one in matching(every, filters, env.store) if options.all or one.record.built_here or one.whole
        ]
    if not found and options.reference in _ACTIONS:
        raise ImageError(f"{options.reference} is not in the store", hint=f"to {_ACTIONS[options.reference]}")
    if options.json:
        answer_json([_value(one) for one in found])
    elif options.quiet:
        _answer_lines(dict.fromkeys(_identity(one, whole=options.no_trunc) for one in found))
    else:
        _answer_rows(options, [_row(one, whole=options.no_trunc) for one in found])
    return 0


def _answer_lines(lines: dict[str, None]) -> None:
    if lines:
        answer("\n".join(lines))


def _answer_rows(options: argparse.Namespace, rows: list[dict[str, str]]) -> None:
    if options.format is None or options.format == "table":
        names = ["Repository", "Tag", *(["Digest"] if options.digests else []), "ID", "CreatedSince", "Size"]
        answer(table([HEADERS[name] for name in names], [[row[name] for name in names] for row in rows]))
        return
    from builder.cli.template import listing

    text = listing(options.format, rows, HEADERS)
    if text:
        answer(text)


def _identity(image: Listed, *, whole: bool) -> str:
    return str(image.identity) if whole else image.identity.hex[:_SHORT]


def _row(image: Listed, *, whole: bool) -> dict[str, str]:
    from builder.images.listing import utc_text

    name, created = image.name, image.created
    repository = _NONE if name is None else name.familiar.partition("@")[0].removesuffix(f":{name.tag}")
    return {
        "ID": _identity(image, whole=whole),
        "Repository": repository,
        "Tag": (name.tag if name is not None else None) or _NONE,
        "Digest": str(image.digest),
        "CreatedSince": "N/A" if created is None else human_age(max(0.0, time.time() - created)),
        "CreatedAt": "N/A" if created is None else utc_text(created),
        "Size": human_size(image.size),
        "Platform": ",".join(image.platforms) or _NONE,
        "Source": "here" if image.record.built_here else "registry",
    }


def _value(image: Listed) -> dict[str, object]:
    name = image.name
    return {
        "reference": None if name is None else str(name),
        "repository": None if name is None else name.name,
        "tag": None if name is None else name.tag,
        "id": image.identity,
        "digest": image.digest,
        "media_type": image.record.descriptor.media_type,
        "created": image.created,
        "size": image.size,
        "platforms": list(image.platforms),
        "labels": dict(image.labels),
        "built_here": image.record.built_here,
        "whole": image.whole,
    }
