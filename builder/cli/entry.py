"""The program ``pybuild``: what holds before the command line is loaded, and after the command ended.

Loads next to nothing, so that hardly any time is left in which Ctrl-C would meet Python's own way of ending.
"""

import os
import signal

TYPE_CHECKING = False  # typing's own costs an import
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

_INTERRUPTED = 130


def run() -> "NoReturn":
    """Be the program: end the process with the exit status."""
    _settle_signals()
    from builder.cli.main import main

    end_with(main)


def end_with(command: "Callable[[], int]") -> "NoReturn":
    """Run a command and end the process with its exit status; Ctrl-C before and after it ends all without a word.

    At the end of a build every file is closed and every thread that matters was waited for. Python would take itself
    apart then, one object after the other, which is a twentieth of a build that has nothing to do.
    """
    heeded = _settle_signals()
    try:
        if heeded:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        status = command()
    except SystemExit as end:  # after --help and --version
        status = int(end.code or 0)
    except KeyboardInterrupt:  # the second, while the first is being told
        status = _INTERRUPTED
    _settle_signals()
    import sys

    from builder.cli.reporters import print_bytes
    from builder.errors import OutputError

    print_bytes(sys.stderr, b"")
    os._exit(OutputError.exit_code if print_bytes(sys.stdout, b"") else status)


def _settle_signals() -> bool:
    """Let Ctrl-C end the process at once, and return whether it is heeded at all: who starts us may have it ignored.

    Who has it ignored that children end would have us take every program that fails for one that succeeds.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    heeded = signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
    if heeded:
        signal.signal(signal.SIGINT, lambda *_: os._exit(_INTERRUPTED))
    return heeded
