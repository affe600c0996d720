"""``pybuild explore``: what is in an image, layer by layer, as a page for a browser, as JSON, and in a few lines."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from builder.cli.answers import answer, answer_bytes, table
from builder.cli.human import counted, human_size
from builder.cli.parsing import Parser, add_json, base
from builder.cli.platforms import platform_of
from builder.cli.registries import add_registry_options
from builder.cli.reporters import printable
from builder.cli.session import looking
from builder.engine.machine import native_platform
from builder.errors import ContextError, InterruptedBuildError, UsageError

if TYPE_CHECKING:
    from builder.engine.build import Environment
    from builder.explore.counting import LayerCount
    from builder.explore.records import Totals
    from builder.explore.subject import Recipe, Subject
    from builder.image.digest import Digest

EXAMPLES = """
examples:
  pybuild explore app:1      # writes app-1.html
  pybuild explore app:1 -o page.html --file Dockerfile
  pybuild explore app:1 app:2 -o changes.html      # both, and where they differ
  pybuild explore --serve app.tar      # shows the page until Ctrl-C
  pybuild explore --summary app:1      # a few lines, no page
  pybuild explore --json app:1 | jq '.images[0].hidden[:3]'
"""

_SHOWN = 10
_COMMAND = 60
_PIECE = 1 << 16
_ENDINGS = (".gz", ".zst", ".xz", ".bz2", ".tar", ".oci")
_DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
"""Where one of these is set, somebody may see a browser; BROWSER alone where another machine has the windows."""
_HEADER = ("LAYER", "SIZE", "ADDED", "CHANGED", "REMOVED", "HIDDEN LATER", "MADE BY")


def parser() -> Parser:
    """Return the grammar."""
    parser = base(
        "pybuild explore",
        "Show what is in an image: every file by layer, what each layer adds, changes and removes, space that is "
        "wasted, history and config; with OTHER also where the two differ. The page is one file that loads nothing. "
        "All layers are read.",
        EXAMPLES,
    )
    parser.add_argument("image", metavar="IMAGE", help="a name, or a place as pybuild inspect takes it")
    parser.add_argument("other", metavar="OTHER", nargs="?", help="an image to compare with")
    parser.add_argument("--platform", metavar="OS/ARCH", help="which image of an index (default: this machine's)")
    parser.add_argument(
        "-f",
        "--file",
        metavar="FILE",
        help="the Dockerfile, to show the line behind each layer (default: of an image built here, that of then)",
    )
    parser.add_argument("--target", metavar="STAGE", help="the stage of that Dockerfile (default: the last)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "-o", "--output", metavar="PAGE.html", help="default: the image's name, here; - is standard output"
    )
    what.add_argument("--serve", action="store_true", help="show the page in a browser on this machine, until Ctrl-C")
    what.add_argument("--summary", action="store_true", help="a few lines, and no page")
    add_json(parser)
    parser.add_argument("--port", metavar="N", help="port for --serve (default: any that is free)")
    parser.add_argument("--no-open", action="store_true", help="with --serve: print the address, and open no browser")
    add_registry_options(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Carry it out and return the exit status."""
    port = _checked(options)
    recipe = _recipe(options)
    target = None if options.json or options.serve or options.summary else _target(options)
    page: BinaryIO | None = None
    with contextlib.ExitStack() as closing:
        with looking(options) as env:
            subjects = _subjects(options, recipe, env)
            if options.json:
                _answer_json(subjects, env)
            elif options.summary:
                answer("\n".join(_summary(_counted(subjects, env))))
            elif target is not None:
                _write(subjects, target, env)
            else:
                page = closing.enter_context(_page(subjects, env))
        if page is not None:
            _serve(page, port, opening=not options.no_open)
    if isinstance(target, Path):
        answer(str(target))
    return 0


def _checked(options: argparse.Namespace) -> int:
    """Look for options that mean nothing together; return the port. Raises UsageError."""
    if options.json and (options.output or options.serve or options.summary):
        raise UsageError("--json answers instead of a page", hint="drop -o, --serve and --summary")
    if options.target and not options.file:
        raise UsageError("--target is a stage of a Dockerfile", hint="name it with --file")
    for given, flag in ((options.port is not None, "--port"), (options.no_open, "--no-open")):
        if given and not options.serve:
            raise UsageError(f"{flag} goes with --serve")
    if options.port is None:
        return 0
    if not (options.port.isascii() and options.port.isdigit() and 0 < len(options.port) < 6):
        raise UsageError(f"--port {options.port}: expected a number")
    number = int(options.port)
    if number > 0xFFFF:
        raise UsageError(f"--port {options.port}: ports end at 65535")
    return number


def _recipe(options: argparse.Namespace) -> Recipe | None:
    """Read the Dockerfile. Raises ContextError, DockerfileError."""
    if not options.file:
        return None
    from builder.dockerfile.parser import parse
    from builder.explore.subject import Recipe

    try:
        data = Path(options.file).read_bytes()
    except OSError as error:
        raise ContextError(f"cannot read {options.file}: {error.strerror}") from error
    return Recipe(parse(data, options.file), options.target)


def _target(options: argparse.Namespace) -> Path | BinaryIO:
    """Return where the page goes. Raises UsageError."""
    from builder.cli.outputs import destination

    if options.output:
        return destination("--output", options.output, directory=False)
    name = _default_name(options.image)
    if not _replaceable(Path(name)):
        raise UsageError(f"{name} is there, and is no page of pybuild explore", hint="name the page with --output")
    return destination("--output", name, directory=False)


def _replaceable(path: Path) -> bool:
    """Say whether a file whose name nobody chose may be written: a page made earlier, or nothing yet."""
    try:
        with open(path, "rb") as stream:
            return b"<title>pybuild explore</title>" in stream.read(_PIECE)
    except FileNotFoundError:
        return True
    except OSError:
        return False


def _default_name(text: str) -> str:
    """Return ``app-1.html`` for ``registry.example/team/app:1``, ``app.html`` for ``app.tar.gz``."""
    name = text.rstrip("/").rpartition("/")[2].partition("@")[0]
    for ending in _ENDINGS:
        name = name.removesuffix(ending)
    plain = "".join(char if char.isascii() and (char.isalnum() or char in "._-") else "-" for char in name)
    return f"{plain.strip('.-') or 'image'}.html"


def _subjects(options: argparse.Namespace, recipe: Recipe | None, env: Environment) -> list[Subject]:
    """Read what is looked at."""
    from builder.explore.subject import read_subject
    from builder.images.choosing import fitting
    from builder.images.locate import locate

    wanted = platform_of(options)
    texts = [options.image, *([options.other] if options.other else [])]
    env.store.hold_lease()
    scratch = env.store.scratch()
    subjects: list[Subject] = []
    for number, text in enumerate(texts, 1):
        artifact = fitting(locate(text, env), [wanted] if wanted else [])
        image = artifact.image(wanted or native_platform())
        # A Dockerfile is that of the newer image.
        own = (recipe if number == len(texts) else None) or _kept_recipe(env, {artifact.root.digest, image.digest})
        subjects.append(read_subject(text, image, own, scratch, lambda: _go_on(env)))
    return subjects


def _kept_recipe(env: Environment, digests: set[Digest]) -> Recipe | None:
    """Return the Dockerfile of an image that was built here, as it was then."""
    made = env.store.refs.made_from(digests)
    if made is None:
        return None
    from builder.dockerfile.parser import parse
    from builder.dockerfile.source import DockerfileError
    from builder.dockerfile.stages import find_target
    from builder.explore.subject import Recipe

    try:
        dockerfile = parse(made.text.encode("utf-8", "surrogateescape"), made.name)
        find_target(dockerfile, made.target)
    except DockerfileError:  # another version could read it
        return None
    return Recipe(dockerfile, made.target)


def _go_on(env: Environment) -> None:
    """Raise InterruptedBuildError if the user wants an end."""
    if env.cancel.is_set():
        raise InterruptedBuildError("interrupted")


class _Output:
    """Passes on what is written until the user wants an end."""

    def __init__(self, env: Environment, stream: BinaryIO | None) -> None:
        self._env = env
        self._stream = stream

    def write(self, data: bytes, /) -> None:
        _go_on(self._env)
        if self._stream is None:
            answer_bytes(data)
        else:
            self._stream.write(data)


@contextlib.contextmanager
def _page(subjects: Sequence[Subject], env: Environment) -> Iterator[BinaryIO]:
    """Yield the page as a file without a name, so that nothing is left of it."""
    from builder.explore.page import write_page

    with open(env.store.temporary(), "w+b") as stream:
        os.unlink(stream.name)
        write_page(subjects, _Output(env, stream))
        stream.flush()
        yield stream


def _write(subjects: Sequence[Subject], target: Path | BinaryIO, env: Environment) -> None:
    from builder.explore.page import write_page
    from builder.streams import writing

    if isinstance(target, Path):
        with writing(target) as stream:
            write_page(subjects, _Output(env, stream))
    else:
        write_page(subjects, _Output(env, None))


def _answer_json(subjects: Sequence[Subject], env: Environment) -> None:
    from builder.explore.records import document

    output, pending = _Output(env, None), bytearray()
    for text in document(subjects):
        pending += text.encode()
        if len(pending) > _PIECE:
            output.write(bytes(pending))
            pending.clear()
    output.write(bytes(pending))


def _serve(page: BinaryIO, port: int, *, opening: bool) -> None:
    from builder.explore.serving import Viewer, open_browser

    viewer = Viewer(page, port)
    # Whoever has the address may end it at once.
    with contextlib.closing(viewer), contextlib.suppress(KeyboardInterrupt):
        answer(viewer.url)
        if opening and sys.stdout.isatty() and any(os.environ.get(name) for name in _DISPLAYS):
            open_browser(viewer.url)
        viewer.run()


# --- a few lines


def _counted(subjects: Sequence[Subject], env: Environment) -> Totals:
    from builder.explore.records import Totals

    totals = Totals(subjects)
    for _ in totals.nodes():
        _go_on(env)
    return totals


def _summary(totals: Totals) -> Iterator[str]:
    for subject, counts in zip(totals.subjects, totals.counts, strict=True):
        stored = sum(one.size for one in subject.image.manifest.layers)
        files, hidden_files = (counted(one, "file", "files") for one in (counts.files, counts.hidden_files))
        yield f"{printable(subject.name)}  {subject.image.digest}"
        yield (
            f"{counted(len(counts.layers), 'layer', 'layers')}, {human_size(stored)} as stored; "
            f"{files} with {human_size(counts.size)}, {counts.efficiency:.1%} of all bytes; "
            f"{human_size(counts.hidden)} in {hidden_files} that later layers hide"
        )
        yield ""
        yield table(_HEADER, _rows(subject, counts.layers))
        hidden = counts.most_hidden()[:_SHOWN]
        if hidden:
            yield ""
            yield "most of what is hidden:"
            for one in hidden:
                verb = "removed" if one.removed else "replaced"
                yield f"  {human_size(one.bytes):>8}  /{printable(one.path)}  {verb} by layer {one.by + 1}"
        yield ""
    if len(totals.subjects) > 1:
        yield "differences: " + ", ".join(f"{number} {kind}" for kind, number in totals.different().items())


def _rows(subject: Subject, layers: Sequence[LayerCount]) -> list[list[str]]:
    return [
        [
            str(number),
            human_size(one.size),
            str(one.added),
            str(one.changed),
            str(one.removed),
            human_size(one.hidden),
            command if len(command) <= _COMMAND else command[: _COMMAND - 1] + "\u2026",
        ]
        for number, (one, command) in enumerate(zip(layers, subject.commands, strict=True), 1)
    ]
