"""``pybuild tags``: the tags of a repository."""

from __future__ import annotations

import argparse

from builder.cli.answers import answer, answer_json
from builder.cli.parsing import Parser, add_json, add_limit, base, limit_of
from builder.cli.registries import add_registry_options
from builder.cli.session import working
from builder.errors import UsageError

EXAMPLES = """
examples:
  pybuild tags registry.example/app
  pybuild tags --json debian | jq -r .tags[]
"""


def parser() -> Parser:
    """Return the grammar."""
    parser = base("pybuild tags", "List the tags of a repository, in the registry's order.", EXAMPLES)
    parser.add_argument("repository", metavar="REPOSITORY")
    add_limit(parser)
    add_json(parser)
    add_registry_options(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Carry it out and return the exit status."""
    from builder.images.places import registry_name

    limit = limit_of(options)
    reference = registry_name(options.repository)
    if reference.digest is not None or ":" in options.repository.rpartition("/")[2]:
        raise UsageError(f"{options.repository} names an image", hint=f"pybuild tags {reference.name}")
    with working(options) as env:
        found = env.registry().tags(reference)[:limit]
    if options.json:
        answer_json({"name": reference.name, "tags": found})
    elif found:
        answer("\n".join(found))
    return 0
