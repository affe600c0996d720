"""``pybuild doctor``: what RUN can use on this machine, for people and as JSON."""

from __future__ import annotations

import argparse
import json
import textwrap
from typing import TYPE_CHECKING

from builder.cli.answers import answer
from builder.cli.parsing import Parser, base
from builder.cli.session import looking
from builder.errors import SandboxError

if TYPE_CHECKING:
    from builder.run.doctor import Diagnosis

EXAMPLES = """
examples:
  pybuild doctor
  pybuild doctor --json | jq .isolation
"""


def parser() -> Parser:
    """Return the grammar."""
    about = "Try every way to isolate a RUN, and what else it can use, on this machine."
    parser = base("pybuild doctor", about, EXAMPLES)
    parser.add_argument("--format", choices=("text", "json"), default="text", help="for people or for programs")
    parser.add_argument("--json", action="store_const", dest="format", const="json", help="--format json")
    return parser


def run(options: argparse.Namespace) -> int:
    """Carry it out and return the exit status."""
    from builder.run.doctor import diagnose

    with looking(options) as env:
        found = diagnose(env.store.root, lambda: env.store.scratch(run=True))
        show = to_json if options.format == "json" else to_text
        answer(show(found, str(env.store.root)))
    return 0 if found.isolation else SandboxError.exit_code


def to_text(found: Diagnosis, store: str) -> str:
    """Return the probes as lines: what works, what does not with errno's name, and what to change."""
    if found.isolation:
        head = f"RUN works here: --isolation={found.isolation}, --snapshotter={found.snapshotter}."
    else:
        head = "RUN does not work here; Dockerfiles without RUN do."
    lines = [head, f"The store is {store}.", ""]
    width = max(len(one.name) for one in found.probes)
    for one in found.probes:
        error = f" [{one.error}]" if one.error else ""
        lines.append(f"{'yes' if one.works else 'no ':3}  {one.name:{width}}  {one.said}{error}")
        if one.hint:
            indent = " " * (width + 7)
            lines += textwrap.wrap(f"-> {one.hint}", 110, initial_indent=indent, subsequent_indent=indent + "   ")
    return "\n".join(lines)


def to_json(found: Diagnosis, store: str) -> str:
    """Return the same as a JSON object."""
    probes = [
        {"name": one.name, "works": one.works, "said": one.said, "errno": one.error or None, "hint": one.hint or None}
        for one in found.probes
    ]
    value = {
        "isolation": found.isolation or None,
        "snapshotter": found.snapshotter or None,
        "store": store,
        "probes": probes,
    }
    return json.dumps(value, indent=2)
