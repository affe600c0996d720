"""The catalogue of errors against the source: every place that makes an error has an entry, and one only."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from builder.catalog import kinds
from builder.catalog.kinds import Kind, entry, fit, fixed
from builder.context.gomatch import PatternError
from builder.dockerfile.source import DockerfileError
from builder.errors import BuilderError, CacheError, ContextError, InterruptedBuildError, OutputError, UsageError
from builder.registry.errors import AuthenticationError, TransientRegistryError, error_from_response
from builder.run.spec import CommandFailedError
from tests.support.raises import Site, errors, sites

ALL = list(kinds.kinds())
SITES = sites()
SAMPLES = {
    "label": "the build context",
    "source": ".dockerignore",
    "variable": "PYBUILD_PROGRESS",
    "digest": "sha256:00",
    "text": "--output x",
    "policy_variable": "V",
    "platform_variable": "V",
}
"""What a name in a message stands for, where that is what the entry tells by."""
PASSED_ON = {
    "builder/cache/location.py:check_readable": "why a directory can be no store",
    "builder/cli/config/files.py:_unknown": "why something is no key",
    "builder/registry/configured.py:_address": "registry.hosts",
    "builder/registry/configured.py:_refuse": "its callers, registry.hosts",
    "builder/settings.py:wrong": "its callers",
    "builder/api/checks.py:refuse_mismatches": "engine.built.unmet",
    "builder/cli/commands/login.py:_log_in": "what the registry answered",
    "builder/cli/commands/manifest.py:_rm": "the messages of several errors",
    "builder/cli/parsing.py:error": "argparse's own",
    "builder/context/tree.py:resolve": "rootfs.rooted, with another class",
    "builder/dockerfile/expansion.py:_checked": "dockerfile.wordtree",
    "builder/dockerfile/lines.py:error": "its callers",
    "builder/dockerfile/lint.py:check_options": "dockerfile.directives",
    "builder/dockerfile/source.py:located": "the same error with a place",
    "builder/dockerfile/statement.py:args_error": "its callers",
    "builder/dockerfile/statement.py:error": "its callers",
    "builder/plan/metadata.py:apply_expose": "dockerfile.ports",
    "builder/plan/metadata.py:apply_stop_signal": "dockerfile.signals",
    "builder/plan/metadata.py:fail": "its callers",
    "builder/plan/references.py:_image": "image.reference",
    "builder/plan/references.py:platform_of": "image.platform",
    "builder/registry/auth.py:_failure": "the same error with another class",
    "builder/registry/download.py:_commit": "image.digest, with what was done",
    "builder/registry/retry.py:_again": "the same error, worth another try",
    "builder/registry/session.py:open": "the same error, of a mirror",
    "builder/registry/upload.py:_as_transient": "the same error, worth another try",
    "builder/run/probe.py:attempts": "why a user has no range of ids",
    "builder/run/spec.py:failure": "what the kernel says of a command that cannot be started",
    "builder/run/step.py:_conclude": "what the sandbox refused",
    "builder/run/worker.py:_answer": "a path and the system's reason",
}
"""Where a message is only passed on, and whose it is."""


@pytest.mark.parametrize("site", SITES, ids=lambda site: f"{site.file}:{site.line}")
def test_every_error_has_one_entry(site: Site) -> None:
    for template in site.templates:
        found = _best(site.error, re.sub(r"\{([a-z_]+)\}", lambda word: SAMPLES.get(word[1], "Xyz"), template))
        if found or not site.passes_on:
            codes = [one.code for one in found]
            assert len(codes) == 1, (
                f"{site.error}: {template!r} is {'in ' + str(codes) if codes else 'in no entry'}: add its text to one "
                "of builder/catalog, and run scripts/docs"
            )
        else:
            assert f"{site.file}:{site.function}" in PASSED_ON, f"{site.error}: whose message is {template!r}?"


def _best(error: str, message: str) -> list[Kind]:
    """Return the kinds that fit a message best: those of the class, or of the nearest above it that has any."""
    parents = errors()
    while error in parents:
        ranked = [(fit(kind, message), kind) for kind in ALL if error in kind.errors]
        most = max((length for length, _ in ranked), default=-1)
        if most >= 0:
            return [kind for length, kind in ranked if length == most]
        error = parents[error]
    return []


def test_nothing_is_listed_as_passed_on_that_is_not() -> None:
    assert set(PASSED_ON) <= {f"{site.file}:{site.function}" for site in SITES if site.passes_on}


def test_codes_are_in_order_and_given_once() -> None:
    codes = sorted(kind.code for kind in ALL)

    assert all(re.fullmatch(r"PB\d{4}", code) for code in codes)
    assert all(one < other for one, other in pairwise(codes))


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.code)
def test_an_entry_is_whole(kind: Kind) -> None:
    known = errors()

    assert set(kind.errors) <= set(known)
    assert kind.texts
    assert len({tuple(fixed(text)) for text in kind.texts}) == len(kind.texts)
    assert not re.search(r"\{[a-z]*_[a-z_]*\}", "".join(kind.texts)), "words that a reader knows, please"
    for text in (kind.title, kind.cause, kind.way_out):
        assert text == text.strip()
        assert text
    assert kind.title[0].isupper() or not kind.title[0].isalpha() or kind.title.startswith(("login", "git"))
    assert not kind.title.endswith(".")
    assert kind.cause.endswith(".")
    assert kind.way_out.endswith((".", "`"))


@pytest.mark.parametrize("kind", [one for one in ALL if one.code[2:4] not in ("10", "13")], ids=lambda kind: kind.code)
def test_the_code_begins_with_the_exit_status(kind: Kind) -> None:
    from tests.unit.test_project import _defined

    defined = _defined()
    assert int(kind.code[2:4]) in {defined[name].exit_code for name in kind.errors}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("--output x: unknown type 'x'"), "PB6405"),
        (UsageError("nothing that anybody wrote down"), "PB6400"),
        (UsageError("unrecognized arguments: --rm"), "PB6401"),
        (DockerfileError("unknown instruction: FORM (did you mean FROM?)"), "PB6503"),
        (UsageError("--port x: expected a number"), "PB6403"),
        (UsageError("p.toml: build.creds: passwords do not belong into files of settings"), "PB6442"),
        (DockerfileError("invalid reference 'A': 'A' is not a repository name"), "PB6532"),
        (TransientRegistryError("cannot pull x: 9 bytes have digest sha256:0, expected sha256:1"), "PB7504"),
        (DockerfileError("NAME: is not allowed to be unset"), "PB6516"),
        (DockerfileError("NAME: say which"), "PB6516"),
        (PatternError("a["), "PB6627"),
        (ContextError(".dockerignore: pattern 'a[': syntax error in pattern"), "PB6606"),
        (OutputError("cannot write /x: No space left on device"), "PB7302"),
        (CommandFailedError("RUN false: exit status 1", status=1), "PB1001"),
        (CommandFailedError("anything", status=127), "PB1001"),
        (InterruptedBuildError("interrupted"), "PB1301"),
        (CacheError("something"), "PB7310"),
        (BuilderError("a bug: KeyError()"), "PB7001"),
        (AuthenticationError("new words"), "PB7700"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_code_of_an_error(error: BuilderError, code: str) -> None:
    assert error.code == code


@pytest.mark.parametrize(("status", "code"), [(404, "PB6901"), (401, "PB7701"), (503, "PB7503")])
def test_the_code_of_an_answer(status: int, code: str) -> None:
    said = {"host": "registry.example", "repository": "app", "status": status, "headers": {}}
    for body in (b"", b'{"errors": [{"code": "NAME_UNKNOWN", "message": "no"}]}'):
        assert error_from_response("cannot pull app", **said, body=body).code == code


@pytest.mark.parametrize("written", ["PB6401", "pb6401", " 6401"])
def test_an_entry_is_found_as_people_write_its_code(written: str) -> None:
    found = entry(written)

    assert found is not None
    assert found.code == "PB6401"
    assert entry("PB9999") is None


def test_what_has_no_entry_has_a_code_that_says_so() -> None:
    error = OutputError("nothing that anybody wrote down")
    found = entry(error.code)

    assert error.code == "PB7300"
    assert found is not None
    assert "does not know" in found.title
    assert entry("PB9900") is None


def test_words_in_braces_divide_a_text() -> None:
    assert fixed("cannot read {path}: {reason}") == ["cannot read ", ": ", ""]
    assert fixed("missing '/' in ${}") == ["missing '/' in ${}"]
    assert fixed("no word {1} and }}") == ["no word {1} and }}"]


def test_parts_do_not_overlap() -> None:
    kind = Kind(code="PB6499", title="T", errors=("UsageError",), texts=("a{x}ab{y}a",), cause="C.", way_out="W.")

    assert fit(kind, "aaba") == 4
    assert fit(kind, "aba") == -1
    assert fit(kind, "a-ab-a") == 4
