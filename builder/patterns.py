"""Regular expressions that their first use compiles: a build with everything cached uses few of those it loads."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

__all__ = ["pattern"]

if TYPE_CHECKING:
    from re import compile as pattern
else:

    class pattern:  # noqa: N801  stands in for a function
        """What ``re.compile`` gives for the same arguments, later. ``re.sub`` and the like take no stand-in."""

        def __init__(self, *arguments):
            self._arguments = arguments

        def __getattr__(self, name):
            found = getattr(re.compile(*self._arguments), name)
            setattr(self, name, found)
            return found
