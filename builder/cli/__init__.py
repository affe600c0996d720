"""The command line: the only package that prints, reads argv or the environment."""

import gc

_MANY = 100_000
"""Objects that are made before anybody looks for cycles among them: nearly all that a command makes stays to its end,
and looking through classes while they are loaded, or the files of a large context, takes as long as making them."""

gc.set_threshold(_MANY, 50, 1000)
