"""How a benchmark's command line begins: what all of them take, and what all of them need."""

from __future__ import annotations

import argparse
import os
import shutil


class Arguments(argparse.ArgumentParser):
    """The parser of a benchmark of pybuild; ``about`` is its module's docstring."""

    def __init__(self, about: str | None, *, root: bool = True) -> None:
        super().__init__(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
        self._root = root
        self.add_argument("--pybuild", default=shutil.which("pybuild"))

    def ready(self) -> argparse.Namespace:
        """Return the options, or end the process where the benchmark cannot run."""
        options = self.parse_args()
        if not options.pybuild:
            self.error("there is no pybuild on PATH: say --pybuild")
        if self._root and os.geteuid():
            self.error("needs root")
        return options
