"""The catalogue of errors against the source: every place that makes an error has an entry, and one only."""

from __future__ import annotations

import re

import pytest

from builder.cli.catalog import kinds
from builder.cli.catalog.kinds import Kind, code_of, entry, fit
from builder.errors import BuilderError, OutputError
from tests.support.raises import Site, errors, sites

ALL = list(kinds.kinds())
SITES = sites()
SAMPLES = {"label": "the build context", "source": ".dockerignore"}
PASSED_ON = {
    # file and function -> why the message has its entry elsewhere
}


@pytest.mark.parametrize("site", SITES, ids=lambda site: f"{site.file}:{site.line}")
def test_every_error_has_one_entry(site: Site) -> None:
    for template in site.templates:
        best = _best(site.error, _filled(template))
        print(template, [one.code for one in best])
        if not best and site.passes_on:
            assert f"{site.file}:{site.function}" in PASSED_ON
        else:
            assert len(best) == 1, f"{site.error}: {template!r} is {[one.code for one in best] or 'in no entry'}"


def _filled(template: str) -> str:
    return re.sub(r"\{([a-z_]+)\}", lambda found: SAMPLES.get(found[1], "Xyz"), template)


def _best(error: str, message: str) -> list[Kind]:
    parents = errors()
    while error in parents:
        ranked = [(fit(kind, message), kind) for kind in ALL if error in kind.errors and kind.texts]
        most = max((length for length, _ in ranked), default=-1)
        if most >= 0:
            return [kind for length, kind in ranked if length == most]
        error = parents[error]
    return []
