"""Parsed Dockerfiles survive JSON, and anything else is refused."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from builder.dockerfile.parser import parse
from builder.dockerfile.serial import from_json, to_json
from builder.dockerfile.source import Source

TEXT = r"""# syntax=docker/dockerfile:1
# check=skip=all
# escape=\
ARG V="1 2" W
# base is one
FROM --platform=$BUILDPLATFORM a:${V%%2*} as Base
RUN --mount=type=cache,target=${D:-/x},ro --network=none echo \

  hello
RUN ["a", "b"]
RUN <<E
#!/bin/sh
E
COPY --from=x --chown=$U --exclude=a --link a "b c" <<E d
$A \$B
E
ADD --checksum=$c --unpack=true --keep-git-dir=false a b
ENV a b
ENV a=${b/c/$d} e='f'
LABEL x=y
CMD []
ENTRYPOINT a
MAINTAINER me
EXPOSE 80 $P
VOLUME ["/a"]
USER u
WORKDIR /w
ONBUILD COPY <<E /x
y
E
STOPSIGNAL TERM
HEALTHCHECK --interval=1s CMD x
HEALTHCHECK NONE
SHELL ["/bin/sh"]
FROM scratch
"""


def test_everything_survives() -> None:
    dockerfile = parse(TEXT.encode())
    data = to_json(dockerfile)
    assert data.isascii()
    assert from_json(data, dockerfile.source) == dockerfile


def test_the_name_may_change() -> None:
    data = to_json(parse(b"FROM a\n", "one"))
    assert from_json(data, Source("two", "FROM a\n")).source.name == "two"


def test_bytes_that_are_not_text_survive() -> None:
    dockerfile = parse(b"FROM a\nCOPY \xff\xfe /b\n")
    assert from_json(to_json(dockerfile), dockerfile.source) == dockerfile


def test_anything_else_is_refused() -> None:
    dockerfile = parse(b"FROM a\nENV a=$b\n")
    good = json.loads(to_json(dockerfile))
    bad: list[bytes] = [b"", b"{}", b"[]", b"null", b"\xff", b"[" * 100000, b'{"a": {"Nope": []}}']
    changes: list[tuple[str, object]] = [
        ("format", 0),
        ("shape", 1),
        ("length", 3),
        ("stages", None),
        ("stages", [1]),
        ("stages", [{"Stage": []}]),
        ("directives", [{"": 1}]),
        ("global_args", [{"Stage": [0, None, []]}]),
    ]
    bad += [json.dumps({**good, key: value}).encode() for key, value in changes]
    for data in bad:
        with pytest.raises(ValueError, match="not a usable parsed Dockerfile"):
            from_json(data, dockerfile.source)


def test_reading_back_loads_no_parser() -> None:
    code = (
        "import sys; from builder.dockerfile.serial import from_json; from builder.dockerfile.source import Source; "
        "from builder.dockerfile.expansion import evaluate; "
        "d = from_json(sys.stdin.buffer.read(), Source('x', 'FROM ${A:-b}')); "
        "assert evaluate(d.stages[0].from_.image, {}).value == 'b'; "
        "sys.exit(any(name in sys.modules for name in ('lark', 'builder.dockerfile.parser')))"
    )
    data = to_json(parse(b"FROM ${A:-b}"))
    assert subprocess.run([sys.executable, "-c", code], input=data, check=False).returncode == 0
