"""What is said when the first of several pushes are done and another one fails: registries know no way back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from builder.errors import BuilderError, CacheError
from builder.events import Reporter, Warned
from builder.image.reference import Reference


@contextlib.contextmanager
def telling_of_some(reporter: Reporter) -> Iterator[list[Reference]]:
    """Yield a list for what has been pushed. If the block fails, people are told what is there all the same."""
    pushed: list[Reference] = []
    try:
        yield pushed
    except CacheError:
        # The build begins again, and may push all of it.
        raise
    except BuilderError:
        if pushed:
            names = ", ".join(one.familiar for one in dict.fromkeys(pushed))
            reporter.emit(Warned(f"pushed before what failed, and there now: {names}", "registry"))
        raise
