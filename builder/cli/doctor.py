"""``pybuild doctor``: what RUN can use on this machine, for people and as JSON."""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from builder.run.doctor import Diagnosis


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
