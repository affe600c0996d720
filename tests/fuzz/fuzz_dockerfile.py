#!/usr/bin/env python3
"""Coverage-guided fuzzing of the Dockerfile language with atheris, which is no dependency of the tests:

    python3 -m venv /tmp/fuzz && /tmp/fuzz/bin/pip install atheris lark
    nice -n 10 /tmp/fuzz/bin/python tests/fuzz/fuzz_dockerfile.py -max_total_time=600 -seed=1 /tmp/fuzz/corpus

Without a corpus directory it starts from testdata/dockerfiles. Any input must give a Dockerfile or a DockerfileError;
a Dockerfile must be the same after printing and after JSON, and its words, checks and plan must end or be refused.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

with atheris.instrument_imports(include=["builder"]):
    from builder.dockerfile.directives import CheckOptions, require_built_in_frontend
    from builder.dockerfile.expansion import evaluate, evaluate_words
    from builder.dockerfile.instructions import Dockerfile, Onbuild, Run
    from builder.dockerfile.lint import lint
    from builder.dockerfile.lint_stages import expanded_words
    from builder.dockerfile.mounts import resolve_mount
    from builder.dockerfile.parser import parse, parse_partial, parse_trigger
    from builder.dockerfile.printer import format_dockerfile
    from builder.dockerfile.serial import from_json, to_json
    from builder.dockerfile.source import DockerfileError
    from builder.errors import BuilderError
    from builder.image.platform import Platform
    from builder.plan.lower import lower
    from builder.plan.references import PlanOptions, base_references

ENVIRONMENT = {"A": "a b", "EMPTY": "", "UNSET": None}


def try_one(data: bytes) -> None:
    """Hold one input against the laws; the fuzzer reports what escapes."""
    parsed = parse_partial(data)
    if parsed.error is not None:
        str(parsed.error).encode()
    dockerfile = parsed.dockerfile
    assert from_json(to_json(dockerfile), dockerfile.source) == dockerfile
    if not dockerfile.stages:
        return
    printed = format_dockerfile(dockerfile)
    assert format_dockerfile(parse(printed.encode("utf-8", "surrogateescape"))) == printed
    expand(dockerfile)
    for read in (require_built_in_frontend, check, plan):
        try:
            read(dockerfile.source if read is require_built_in_frontend else dockerfile)
        except BuilderError:
            pass


def expand(dockerfile: Dockerfile) -> None:
    """Expand every word, mount and trigger."""
    for stage in dockerfile.stages:
        for item in stage.instructions:
            for word in expanded_words(item):
                try:
                    evaluate(word, ENVIRONMENT)
                    evaluate_words(word, ENVIRONMENT)
                except DockerfileError:
                    pass
            try:
                if isinstance(item, Onbuild):
                    parse_trigger(item.trigger)
                if isinstance(item, Run):
                    for flag in item.mounts:
                        resolve_mount(flag, ENVIRONMENT)
            except DockerfileError:
                pass


def check(dockerfile: Dockerfile) -> None:
    """Run every check."""
    everything = CheckOptions(experimental=("all",))
    lint(dockerfile, options=everything, build_args={"A": "1"}, base_env={0: {}}, ignored=lambda _: True)
    lint(dockerfile)


def plan(dockerfile: Dockerfile) -> None:
    """Name the images, and plan what needs none."""
    platform = Platform.parse("linux/amd64")
    options = PlanOptions(platform=platform, build_platform=platform, build_args={"A": "1"})
    if not base_references(dockerfile, options, {}):
        lower(dockerfile, options, {})


def main(arguments: list[str]) -> None:
    """Fuzz until told to stop, starting from the golden Dockerfiles if no corpus is named."""
    if not any(not argument.startswith("-") for argument in arguments[1:]):
        corpus = Path(tempfile.mkdtemp(prefix="fuzz-dockerfile-"))
        for index, path in enumerate(sorted((ROOT / "testdata" / "dockerfiles").glob("*/Dockerfile"))):
            (corpus / str(index)).write_bytes(path.read_bytes())
        arguments = [*arguments, str(corpus)]
    atheris.Setup(arguments, try_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
