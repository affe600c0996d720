"""``pybuild completion``: a shell's script, and what that asks. What may be completed is ``cli/completing``'s."""

from __future__ import annotations

import argparse
import os
import signal

from builder.cli.answers import answer
from builder.cli.completing.scripts import SHELLS, TEXTS
from builder.cli.parsing import Parser, base

EXAMPLES = """
examples:
  pybuild completion bash > /usr/share/bash-completion/completions/pybuild
  pybuild completion zsh > /usr/share/zsh/site-functions/_pybuild
  pybuild completion fish > ~/.config/fish/completions/pybuild.fish
"""


def parser() -> Parser:
    """Return the grammar."""
    about = """\
Print what lets a shell complete commands, options, stages of the Dockerfile, targets and images of the store.
For this shell alone: source <(pybuild completion bash), or zsh; pybuild completion fish | source."""
    parser = base("pybuild completion", about, EXAMPLES)
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help=f"one of {', '.join(SHELLS)}")
    parser.add_argument("--line", default=None, help=argparse.SUPPRESS)
    parser.add_argument("--breaks", default=":=", help=argparse.SUPPRESS)
    return parser


def run(options: argparse.Namespace) -> int:
    """Carry it out and return the exit status."""
    if options.line is None:
        answer(TEXTS[options.shell].rstrip("\n"))
        return 0
    before = signal.signal(signal.SIGALRM, lambda *_: os._exit(1))
    signal.setitimer(signal.ITIMER_REAL, _PATIENCE)
    try:
        answer(_asked(options))
    except Exception:  # noqa: BLE001  whoever presses Tab is in the middle of a line: no message could help there
        return 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    return 0


_PATIENCE = 3.0
"""Seconds that a person waits for Tab, with a store on a slow disk or a stranger's file."""


def _asked(options: argparse.Namespace) -> str:
    from builder.cli.completing.engine import complete, words_of
    from builder.cli.completing.scripts import answered

    words = words_of(options.line)[1:]
    return answered(complete(words or [""], os.environ), options.shell, options.breaks)
