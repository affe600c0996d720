"""The command ``pybuild``: the only place that reads argv and the environment, prints, and decides exit statuses."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from builder.cli.options import PROGRESS, parse, split_command, value_of
from builder.cli.reporters import make_reporter, print_line
from builder.cli.reports import (
    Recorder,
    ending,
    failure,
    prepare_results,
    success,
    understood,
    write_metadata,
    write_results,
)
from builder.cli.session import environment, open_standard_streams
from builder.errors import BuilderError, OutputError, SandboxError, UsageError
from builder.events import SilentReporter

if TYPE_CHECKING:
    from builder.archive.image import ArchiveImage
    from builder.engine.assemble import BuiltImage
    from builder.engine.bases import Bases
    from builder.engine.build import Environment
    from builder.image.reference import Reference


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    open_standard_streams()
    words = sys.argv[1:] if argv is None else argv
    try:
        command, options = _parsed(words)
        _set_up_logging(options)
        return _COMMANDS[command](options)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  the end of every failure: a message and an exit status
        return _report(error, words)


def _parsed(words: Sequence[str]) -> tuple[str, argparse.Namespace]:
    """Return the command and its options. Raises UsageError, which the metadata file tells too."""
    try:
        command, rest = split_command(words)
        return command, parse(command, rest)
    except UsageError as error:
        path = value_of("--metadata-file", words)
        if path:
            with contextlib.suppress(OutputError):
                write_metadata(path, failure(error, Recorder(SilentReporter()), 0.0))
        raise


def _report(error: BaseException, words: Sequence[str]) -> int:
    """Tell what ended the command and return its exit status; a bug of ours keeps its traceback."""
    known = understood(error)
    if known is None or "--debug" in words:
        import traceback

        print_line(sys.stderr, "".join(traceback.format_exception(error)).rstrip())
    known = known or BuilderError(f"a bug: {error!r}", hint="please report it with the traceback above")
    progress = value_of("--progress", words)
    reporter = make_reporter(progress if progress in PROGRESS else "auto", sys.stderr)
    reporter.emit(ending(known))
    return known.exit_code


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


def _build(options: argparse.Namespace) -> int:
    started = time.monotonic()
    recorder = Recorder(make_reporter(options.progress, sys.stderr))

    def tell(error: BaseException) -> None:
        if options.metadata_file and not isinstance(error, SystemExit):
            with contextlib.suppress(OutputError):
                write_metadata(options.metadata_file, failure(error, recorder, time.monotonic() - started))

    try:
        from builder.cli.calls import carry_out, parse_call
        from builder.cli.requests import make_request
        from builder.engine.build import build

        call = parse_call("check" if options.check else options.call)
        request = make_request(options, os.environ)
        if call.method != "build":
            with environment(options, recorder, request.jobs) as env:
                answer, status = carry_out(call, request, env)
            _answer(answer)
            return status
        prepare_results(options, request)
        with environment(options, recorder, request.jobs, lambda: tell(KeyboardInterrupt())) as env:
            result = build(request, env)
            write_results(options, result)
    except BaseException as error:
        tell(error)
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

    reporter = make_reporter(options.progress, sys.stderr)
    with environment(options, reporter, available_cpus()) as env:
        for reference, image in [built_image(text, env.store, _bases(env)) for text in options.reference]:
            push(image, [reference] if reference else [], env.registry(), reporter)
            _answer(_line(reference, image.digest))
    return 0


def _save(options: argparse.Namespace) -> int:
    from builder.cli.requests import destination
    from builder.engine.outputs import write
    from builder.engine.request import Output
    from builder.engine.stored import built_image

    output = Output(options.type, destination("--output", options.output, directory=False))
    reporter = make_reporter(options.progress, sys.stderr)
    with environment(options, reporter, 1) as env:
        reference, image = built_image(options.reference, env.store, _bases(env))
        write(output, image, [reference] if reference else [], env.store, env.registry, reporter)
    if output.dest is not sys.stdout.buffer:
        _answer(_line(reference, image.digest))
    return 0


def _validate(options: argparse.Namespace) -> int:
    from builder.cli.machine import native_platform
    from builder.engine.stored import built_image, file_image, validate_whole

    reporter = make_reporter(options.progress, sys.stderr)
    with environment(options, reporter, 1) as env:
        if os.path.exists(options.image):
            image: BuiltImage | ArchiveImage = file_image(
                Path(options.image), native_platform(), env.store.directory("tmp")
            )
        else:
            _, image = built_image(options.image, env.store, _bases(env))
        validate_whole(image.raw_manifest, image.raw_config, image.layers)
    _answer(image.digest)
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from builder.cli.doctor import to_json, to_text
    from builder.run.doctor import diagnose

    with environment(options, make_reporter(options.progress, sys.stderr), 1) as env:
        found = diagnose(env.store.root, lambda: env.store.scratch(run=True))
        show = to_json if options.format == "json" else to_text
        _answer(show(found, str(env.store.root)))
    return 0 if found.isolation else SandboxError.exit_code


def _bases(env: Environment) -> Bases:
    from builder.engine.bases import Bases

    return Bases(env.store, env.registry, env.reporter, pull="missing", now=lambda: int(time.time()))


_COMMANDS = {"build": _build, "push": _push, "save": _save, "validate": _validate, "doctor": _doctor}


if __name__ == "__main__":
    sys.exit(main())
