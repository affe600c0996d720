"""The command ``pybuild``: the only place that reads argv and the environment, prints, and decides exit statuses."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from builder.api.results import Recorder
from builder.cli import upkeep
from builder.cli.answers import answer, named
from builder.cli.options import load, parse, split_command
from builder.cli.parsing import value_of
from builder.cli.reporters import (
    PROGRESS,
    Display,
    chosen_progress,
    columns_of,
    make_reporter,
    print_line,
    showing,
)
from builder.cli.reports import (
    ending,
    failure,
    prepare_results,
    shown_name,
    success,
    understood,
    write_metadata,
    write_results,
    write_text,
)
from builder.cli.session import environment, open_standard_streams
from builder.errors import BuilderError, OutputError, UsageError
from builder.events import Reporter, SilentReporter, Warned

if TYPE_CHECKING:
    from builder.api.results import BuildResult
    from builder.cli.calls import Call
    from builder.engine.request import BuildRequest


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    open_standard_streams()
    words = sys.argv[1:] if argv is None else argv
    asked: list[argparse.Namespace] = []
    try:
        command, asked = _parsed(words)
        _set_up_logging(asked[0])
        return _build_all(asked) if command == "build" else load(command).run(asked[0])
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  the end of every failure: a message and an exit status
        return _report(error, words, asked[0].progress if asked else _progress(words))


def _parsed(words: Sequence[str]) -> tuple[str, list[argparse.Namespace]]:
    """Return the command and its options, those of each build. What BuilderError it raises is in the metadata file."""
    try:
        command, rest = split_command(words)
        options = parse(command, rest)
        if command == "build":
            from builder.cli.requests import settle

            asked = settle(options, os.environ)
        else:
            asked = [options]
        for one in asked:
            given = "quiet" if getattr(one, "quiet", False) else one.progress
            one.progress = chosen_progress(given, os.environ)
        return command, asked
    except BuilderError as error:
        path = value_of("--metadata-file", words)
        if path:
            with contextlib.suppress(OutputError):
                write_metadata(path, failure(error, Recorder(SilentReporter()), 0.0))
        raise


def _report(error: BaseException, words: Sequence[str], progress: str) -> int:
    """Tell what ended the command and return its exit status; a bug of ours keeps its traceback."""
    known = understood(error)
    if known is None or "--debug" in words:
        import traceback

        print_line(sys.stderr, "".join(traceback.format_exception(error)).rstrip())
    known = known or BuilderError(f"a bug: {error!r}", hint="please report it with the traceback above")
    make_reporter(progress, sys.stderr).emit(ending(known))
    return known.exit_code


def _progress(words: Sequence[str]) -> str:
    """Return how to show the end of a command whose options may be what is wrong."""
    given = value_of("--progress", words)
    try:
        return chosen_progress(given if given in PROGRESS else "", os.environ)
    except UsageError:
        return "auto"


def _set_up_logging(options: argparse.Namespace) -> None:
    if options.debug:
        import logging

        logging.basicConfig(stream=sys.stderr, level=logging.DEBUG, format="%(name)s: %(message)s")
        # Requests' lines hold URLs with tokens.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        logging.getLogger("httpcore").setLevel(logging.WARNING)


def _call(options: argparse.Namespace) -> Call | None:
    """Return what is asked for instead of a build. Raises UsageError."""
    text = "check" if options.check else options.call
    if text == "build":
        return None
    from builder.cli.calls import parse_call

    call = parse_call(text)
    return None if call.method == "build" else call


def _build_all(asked: Sequence[argparse.Namespace]) -> int:
    """Build each target that was named, or the context; the first that fails ends it."""
    for one in asked:
        status = _build(one)
        if status:
            return status
    return 0


def _build(options: argparse.Namespace) -> int:
    # Log messages come between the lines of other events.
    progress = "plain" if options.debug and options.progress == "auto" else options.progress
    with showing(progress, sys.stderr, os.environ) as display:
        if not options.timings:
            return _shown_build(options, display, display)
        from builder.cli.progress.timings import Timings

        timings = Timings(display)
        try:
            status = _shown_build(options, display, timings)
        except BaseException:
            with contextlib.suppress(OutputError):
                write_text(options.timings, timings.text())
            raise
        write_text(options.timings, timings.text())
        return status


def _warn_of_trust(reporter: Reporter) -> None:
    """Warn whoever has told Docker to take signed images only."""
    if os.environ.get("DOCKER_CONTENT_TRUST", "").lower() in ("1", "t", "true"):
        text = "DOCKER_CONTENT_TRUST is set, and signatures of images are not looked at; name bases by digest"
        reporter.emit(Warned(text, "trust"))


def _shown_build(options: argparse.Namespace, display: Display, reporter: Reporter) -> int:
    started = time.monotonic()
    recorder = Recorder(reporter)

    def tell(error: BaseException) -> None:
        if options.metadata_file and not isinstance(error, SystemExit):
            with contextlib.suppress(OutputError):
                write_metadata(options.metadata_file, failure(error, recorder, time.monotonic() - started))

    def at_last() -> bytes:
        word = display.abandon()
        tell(KeyboardInterrupt())
        return word

    try:
        from builder.api.sessions import Session
        from builder.cli.requests import make_request

        upkeep.check_size(options, os.environ)
        call = _call(options)
        request = make_request(options, os.environ)
        if call is not None:
            from builder.cli.calls import carry_out

            with environment(options, recorder, request.jobs, display.abandon) as env:
                text, status = carry_out(call, request, env)
            display.close()
            answer(text)
            return status
        prepare_results(options, request)
        with environment(options, recorder, request.jobs, at_last) as env:
            display.keep_logs(env.store.root / "logs")
            upkeep.warn_if_low(env)
            _warn_of_trust(env.reporter)
            result = Session(env, os.environ).build(request)
            write_results(options, result)
            upkeep.trim(options, os.environ, env)
    except BaseException as error:
        tell(error)
        raise
    display.close()
    _tell(options, request, result, time.monotonic() - started)
    return 0


def _tell(options: argparse.Namespace, request: BuildRequest, result: BuildResult, seconds: float) -> None:
    """Say what was built, to people and programs. Raises OutputError."""
    answers = not any(one.dest is sys.stdout.buffer for one in request.outputs)
    if options.progress not in ("json", "quiet"):
        from builder.cli.progress.summary import summary

        seen = answers and sys.stdout.isatty()
        width = columns_of(sys.stderr) - 1 if sys.stderr.isatty() else None
        lines = summary(request, result, seconds, width=width, digest=not seen, advice=not os.environ.get("CI"))
        print_line(sys.stderr, "\n".join(lines))
    if options.metadata_file:
        write_metadata(options.metadata_file, {**success(result, seconds), "compat": request.level.number})
    if answers:
        answer(named(shown_name(request, result), result.digest))


if __name__ == "__main__":
    from builder.cli.entry import end_with

    end_with(main)
