"""Errors as values: they go from one process to another, and say what they said."""

from __future__ import annotations

import copy
import pickle

import pytest

from builder.context.gomatch import PatternError
from builder.dockerfile.source import DockerfileError, Source, Span
from builder.engine.layers import SharedCacheError
from builder.errors import BuilderError, InterruptedBuildError, OutputError
from builder.image.validate import InvalidImageError
from builder.registry.errors import AuthenticationError, TransientRegistryError
from builder.rootfs.entry import ContentChangedError
from builder.run.spec import CommandFailedError

_SOURCE = Source("Dockerfile", "FROM scratch\nRUN x\n")
ERRORS = [
    OutputError("full", hint="make room"),
    InterruptedBuildError("stopped"),
    DockerfileError("wrong", source=_SOURCE, span=Span(1, 1)),
    CommandFailedError("RUN x failed", status=7, hint="look"),
    TransientRegistryError("busy", host="h", repository="r", status=503, codes=("A",), retry_after=2.5),
    AuthenticationError("who?", host="h"),
    SharedCacheError("cache", "is gone", lies=True),
    ContentChangedError("f", "changed"),
    InvalidImageError(("one", "two")),
    PatternError("["),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_of_every_kind_is_the_same_in_another_process(error: BuilderError) -> None:
    """A pool of processes that cannot read one is broken for good."""
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(other) is type(error)
        assert (str(other), other.args, vars(other)) == (str(error), error.args, vars(error))
        assert (other.exit_code, other.code) == (error.exit_code, error.code)
