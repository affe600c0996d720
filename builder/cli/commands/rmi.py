"""``pybuild rmi``: names out of the store, and the bytes that only they kept."""

from __future__ import annotations

import argparse

from builder.cli.answers import answer, answer_json
from builder.cli.parsing import Parser, add_json, base
from builder.cli.session import working
from builder.errors import ImageError
from builder.events import Notice, Warned

EXAMPLES = """
examples:
  pybuild rmi app:1 registry.example/app:1
  pybuild rmi --force 4f53cda18c2b
"""


def parser() -> Parser:
    """Return the grammar."""
    about = """\
Remove names from the store, and the blobs that no other name and no step of a build needs.
While another pybuild works with the store, only names are removed."""
    parser = base("pybuild rmi", about, EXAMPLES)
    parser.elsewhere = dict.fromkeys(("-a", "--all", "-p", "--prune"), "use pybuild cache prune --all")
    parser.add_argument("reference", metavar="REF|ID", nargs="+")
    parser.add_argument(
        "-f", "--force", action="store_true", help="remove all names of an ID; what is not there is only a warning"
    )
    add_json(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Carry it out and return the exit status."""
    from builder.images.naming import names_of, remove

    with working(options) as env:
        records = []
        for text in options.reference:
            try:
                records += names_of(env.store, text, force=options.force)
            except ImageError as error:
                if not options.force or error.exit_code != ImageError.exit_code:
                    raise
                env.reporter.emit(Warned(error.message, "no-such-image"))
        removed = remove(env.store, records)
        if removed.busy:
            env.reporter.emit(Notice("another pybuild works with the store; the images' blobs stay for now"))
    if options.json:
        answer_json({"untagged": list(removed.names), "deleted": list(removed.blobs)})
        return 0
    for name in removed.names:
        answer(f"Untagged: {name}")
    for digest in removed.blobs:
        answer(f"Deleted: {digest}")
    return 0
