"""The command ``pybuild``: the only place that reads argv and the environment, prints, and decides exit statuses."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from builder.cli.options import parse, split_command
from builder.cli.reporters import make_reporter, print_line
from builder.cli.reports import (
    Recorder,
    describe,
    failure,
    success,
    understood,
    write_metadata,
    write_results,
)
from builder.errors import BuilderError, OutputError
from builder.events import Reporter, Warned

if TYPE_CHECKING:
    from builder.archive.image import ArchiveImage
    from builder.engine.assemble import BuiltImage
    from builder.engine.bases import Bases
    from builder.engine.build import Environment
    from builder.image.reference import Reference
    from builder.registry.client import Registry


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    _open_standard_streams()
    words = sys.argv[1:] if argv is None else argv
    try:
        command, rest = split_command(words)
        options = parse(command, rest)
        _set_up_logging(options)
        return _COMMANDS[command](options)
    except KeyboardInterrupt:
        print_line(sys.stderr, "pybuild: interrupted")
        return 130
    except Exception as error:  # noqa: BLE001  the end of every failure: it becomes a message and an exit status
        return _report(error, debug="--debug" in words)


def _report(error: Exception, *, debug: bool) -> int:
    """Print what ended the command and return its exit status; a bug of ours keeps its traceback."""
    known = understood(error)
    if known is None or debug:
        import traceback

        print_line(sys.stderr, "".join(traceback.format_exception(error)).rstrip())
    if known is None:
        return BuilderError.exit_code
    print_line(sys.stderr, f"pybuild: error: {describe(known)}")
    return known.exit_code


def _open_standard_streams() -> None:
    """Let standard streams that were closed lead nowhere: the next file opened would have their descriptors."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115  open until the process ends


def _answer(line: str) -> None:
    """Print the result. Raises OutputError when it cannot be written."""
    if not print_line(sys.stdout, line):
        raise OutputError(f"cannot write to standard output: {line}")


def _set_up_logging(options: argparse.Namespace) -> None:
    if options.debug:
        import logging

        logging.basicConfig(stream=sys.stderr, level=logging.DEBUG, format="%(name)s: %(message)s")
        # Requests' lines hold URLs with tokens.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        logging.getLogger("httpcore").setLevel(logging.WARNING)


@contextlib.contextmanager
def _environment(options: argparse.Namespace, reporter: Reporter, jobs: int) -> Iterator[Environment]:
    from builder.cache.location import choose_root
    from builder.cache.store import Store
    from builder.engine.build import Environment

    def warn(message: str) -> None:
        reporter.emit(Warned(message, "store"))

    explicit = Path(options.root) if options.root else None
    root = choose_root(os.environ, explicit, os.geteuid(), warn=warn)
    with contextlib.ExitStack() as closing:
        store = closing.enter_context(Store.open(root, warn=warn))
        cancel = threading.Event()
        make, close = _registry(os.environ, reporter, jobs, cancel)
        closing.callback(close)
        closing.enter_context(_signals(cancel))
        yield Environment(store, make, reporter, cancel)


def _registry(
    environment: Mapping[str, str], reporter: Reporter, jobs: int, cancel: threading.Event
) -> tuple[Callable[[], Registry], Callable[[], None]]:
    """Return what makes the registry client once, when it is needed, and what closes it."""
    made: list[Registry] = []
    lock = threading.Lock()

    def make() -> Registry:
        from builder.registry.client import Registry
        from builder.registry.credentials import ConfiguredCredentials

        with lock:
            if not made:
                credentials = ConfiguredCredentials(environment)
                made.append(
                    Registry(credentials, jobs=max(2, jobs), environment=environment, reporter=reporter, cancel=cancel)
                )
            return made[0]

    def close() -> None:
        for one in made:
            one.close()

    return make, close


@contextlib.contextmanager
def _signals(cancel: threading.Event) -> Iterator[None]:
    """Let SIGINT and SIGTERM ask the build to stop; a second one ends the process at once."""

    def stop(number: int, _: FrameType | None) -> None:
        if cancel.is_set():
            os._exit(128 + number)
        cancel.set()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _build(options: argparse.Namespace) -> int:
    started = time.monotonic()
    recorder = Recorder(make_reporter(options.progress, sys.stderr))
    try:
        from builder.cli.requests import make_request
        from builder.engine.build import build

        request = make_request(options, os.environ)
        with _environment(options, recorder, request.jobs) as env:
            result = build(request, env)
            write_results(options, result)
    except BaseException as error:
        if options.metadata_file and not isinstance(error, SystemExit):
            with contextlib.suppress(OutputError):
                write_metadata(options.metadata_file, failure(error, recorder, time.monotonic() - started))
        raise
    if options.metadata_file:
        write_metadata(options.metadata_file, success(request, result, recorder, time.monotonic() - started))
    if not any(one.dest is sys.stdout.buffer for one in request.outputs):
        _answer(_line(request.tags[0] if request.tags else None, result.image.digest))
    return 0


def _line(reference: Reference | None, digest: str) -> str:
    return f"{reference.familiar}@{digest}" if reference is not None else digest


def _push(options: argparse.Namespace) -> int:
    from builder.cli.machine import available_cpus
    from builder.engine.outputs import push
    from builder.engine.stored import built_image
    from builder.image.reference import Reference

    references = [Reference.parse(text) for text in options.reference]
    reporter = make_reporter(options.progress, sys.stderr)
    with _environment(options, reporter, available_cpus()) as env:
        for reference in references:
            image = built_image(reference, env.store, _bases(env))
            push(image, [reference], env.registry(), reporter)
            _answer(_line(reference, image.digest))
    return 0


def _save(options: argparse.Namespace) -> int:
    from builder.cli.requests import destination
    from builder.engine.outputs import write
    from builder.engine.request import Output
    from builder.engine.stored import built_image
    from builder.image.reference import Reference

    reference = Reference.parse(options.reference)
    output = Output(options.type, destination("--output", options.output, directory=False))
    reporter = make_reporter(options.progress, sys.stderr)
    with _environment(options, reporter, 1) as env:
        image = built_image(reference, env.store, _bases(env))
        write(output, image, [reference], env.store, env.registry, reporter)
    if output.dest is not sys.stdout.buffer:
        _answer(_line(reference, image.digest))
    return 0


def _validate(options: argparse.Namespace) -> int:
    from builder.cli.machine import native_platform
    from builder.engine.stored import built_image, file_image, validate_whole
    from builder.image.reference import Reference

    reporter = make_reporter(options.progress, sys.stderr)
    with _environment(options, reporter, 1) as env:
        if os.path.exists(options.image):
            image: BuiltImage | ArchiveImage = file_image(
                Path(options.image), native_platform(), env.store.directory("tmp")
            )
        else:
            image = built_image(Reference.parse(options.image), env.store, _bases(env))
        validate_whole(image.raw_manifest, image.raw_config, image.layers)
    _answer(image.digest)
    return 0


def _bases(env: Environment) -> Bases:
    from builder.engine.bases import Bases

    return Bases(env.store, env.registry, env.reporter, pull="missing", now=lambda: int(time.time()))


_COMMANDS = {"build": _build, "push": _push, "save": _save, "validate": _validate}


if __name__ == "__main__":
    sys.exit(main())
