"""``pybuild kaniko``: what kaniko's executor was told, built here. ``builder.cli.kaniko`` translates the flags."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.cli.human import plain
from builder.cli.kaniko.flags import GROUPS
from builder.cli.kaniko.given import read
from builder.cli.parsing import Parser, base, value_of
from builder.errors import ContextError, OutputError
from builder.events import Notice, Warned

if TYPE_CHECKING:
    from builder.cli.kaniko.translate import Equivalent

EXAMPLES = """
examples:
  pybuild kaniko --context dir:///workspace --dockerfile Dockerfile --destination registry.example/app:1
  pybuild kaniko -c . -d registry.example/app:1 --cache --cache-repo registry.example/app/cache
  pybuild kaniko -c . -d app:1 --no-push --tar-path app.tar -- --secret id=npm,src=token.txt
"""


class KanikoParser(Parser):
    """Reads an executor's words as its own parser would; argparse only shows the help."""

    # argparse has overloads for namespaces of other types, which nobody asks for here.
    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Return what was meant, in ``given``. Raises UsageError; ``--help`` and ``--version`` print and exit."""
        given = read(args or (), os.environ)
        options = super().parse_args([word for word in given.own if word in ("-h", "--help", "--version")], namespace)
        options.given = given
        return options


def parser() -> Parser:
    """Return the grammar."""
    about = """\
Build as kaniko's executor would with these flags: a CI file changes one word. The command of pybuild's own that does
the same is shown first. Options of pybuild build may follow after --."""
    parser = base("pybuild kaniko", about, EXAMPLES, KanikoParser)
    parser.usage = "pybuild kaniko FLAG... [-- OPTION...]"
    for name, flags in GROUPS.items():
        group = parser.add_argument_group(name)
        for flag in flags:
            names = [*([f"-{flag.short}"] if flag.short else []), f"--{flag.name}"]
            text = plain(flag.here).replace("%", "%%")
            if flag.kind == "switch":
                group.add_argument(*names, action="store_true", help=text)
            else:
                action = "append" if flag.kind == "texts" else "store"
                group.add_argument(*names, action=action, metavar=flag.metavar, help=text)
    return parser


def run(options: argparse.Namespace) -> int:
    """Carry it out and return the exit status."""
    from builder.cli.kaniko.translate import equivalent
    from builder.cli.main import main
    from builder.cli.reporters import chosen_progress, make_reporter

    same = equivalent(options.given, os.environ)
    reporter = make_reporter(chosen_progress(value_of("--progress", same.words), os.environ), sys.stderr)
    reporter.emit(Notice(f"the same as {same.shown}"))
    for text in same.notices:
        reporter.emit(Warned(text, "kaniko"))
    os.environ.update(same.environment)
    for path in filter(None, (value_of("--digest-file", same.words), same.names, same.tagged)):
        if not same.dry:
            _make_folder(path)
    words = list(same.words)
    metadata = value_of("--metadata-file", words)
    if (same.names or same.tagged) and not metadata:
        # In memory: a pod may have no place for temporary files.
        metadata = f"/proc/self/fd/{os.memfd_create('metadata')}"
        words[:0] = ["--metadata-file", metadata]
    with _standard_input(same.stdin):
        status = main(["explain", *words] if same.dry else words)
    if status == 0 and (same.names or same.tagged):
        _write_names(same, metadata)
    return status


def _make_folder(path: str) -> None:
    """An executor makes the folders of such files."""
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the directory of {path}: {error.strerror}") from error


@contextlib.contextmanager
def _standard_input(path: str) -> Iterator[None]:
    """Let a file be standard input, as the shell does."""
    if not path:
        yield
        return
    try:
        given = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise ContextError(f"cannot read {path}: {error.strerror}") from error
    before = os.dup(0)
    try:
        os.dup2(given, 0)
        os.close(given)
        yield
    finally:
        os.dup2(before, 0)
        os.close(before)


def _write_names(same: Equivalent, metadata: str) -> None:
    import json

    from builder.cli.reports import write_text

    digest = json.loads(Path(metadata).read_bytes())["containerimage.digest"]
    if same.names:
        write_text(same.names, "".join(f"{one.name}@{digest}\n" for one in same.destinations))
    if same.tagged:
        write_text(same.tagged, "".join(f"{one.name}:{one.tag}@{digest}\n" for one in same.destinations))
