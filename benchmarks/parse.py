#!/usr/bin/env python3
"""How long reading and planning Dockerfiles takes, against the limits of the project.

    /tmp/wheel/bin/pip install . && python3 benchmarks/parse.py --python /tmp/wheel/bin/python

PYTHON should have the wheel installed, with compiled bytecode (PYTHONDONTWRITEBYTECODE unset). Each figure is the best
of --repeat runs. "plain words" needs no grammar, "variables" does, and "known from parsed/" is the latter read back
from the JSON in the store. All three are measured in fresh interpreters, their imports included, once from inside and
once as the whole process less an empty one. The 2,000 lines are read by a process that has the grammar already. Ends
with status 1 if a figure is over its limit; --factor multiplies the limits, for slow machines.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time

PLAIN = """\
FROM scratch AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN --mount=type=cache,target=/root/.cache go build -o /out/app ./cmd/app
FROM scratch
LABEL title=app
ENV PORT=8080 MODE=production
COPY --from=build /out/app /usr/bin/app
EXPOSE 8080
USER 1000:1000
HEALTHCHECK --interval=30s CMD ["/usr/bin/app", "check"]
ENTRYPOINT ["/usr/bin/app"]
CMD ["serve"]
"""
WORDS = """\
ARG VERSION="1.2"
FROM scratch AS build
ARG VERSION TARGETARCH=amd64
WORKDIR /src/${VERSION%%.*}
ENV PATH="/opt/bin:$PATH" FLAGS='-s -w'
COPY go.mod go.sum ./
RUN --mount=type=cache,id=go-$TARGETARCH,target=/root/.cache go build -o /out/app ./cmd/app
FROM scratch
ARG VERSION
LABEL title="the app" version="${VERSION:-none}"
COPY --from=build --chown=${UID:-1000}:1000 /out/app /usr/bin/app
COPY <<EOF /etc/app.conf
version = $VERSION
EOF
EXPOSE 8080
ENTRYPOINT ["/usr/bin/app"]
"""
LARGE = "FROM scratch\nARG V=1\n" + "".join(
    f'ENV A{n}="value $V of {n}" B{n}=b{n}\n'
    f"COPY --chown=$V:$V file{n} ${{DIR:-/opt}}/{n}/\n"
    f"LABEL l{n}='label {n}'\n"
    f"WORKDIR /w/$V/{n}\n"
    f"EXPOSE {1000 + n}\n"
    for n in range(400)
)

COMMON = "import argparse, sys, os, re, json, dataclasses, pathlib\n"
READ = """
from builder.dockerfile.parser import parse
dockerfile = parse(TEXT)
"""
READ_BACK = """
from builder.dockerfile.serial import from_json
from builder.dockerfile.source import Source
dockerfile = from_json(PARSED, Source("Dockerfile", TEXT.decode()))
"""
LOWER = """
from builder.image.platform import Platform
from builder.plan.lower import lower
from builder.plan.references import PlanOptions, base_references
platform = Platform.parse("linux/amd64")
options = PlanOptions(platform=platform, build_platform=platform)
assert not base_references(dockerfile, options, {})
assert lower(dockerfile, options, {}).steps
"""
BEGIN = "import time\nbegan = time.perf_counter()\n"
END = "\nprint(time.perf_counter() - began, 'lark' in sys.modules)\n"


def run(python: str, code: str) -> list[str]:
    """Run code in a fresh interpreter, away from this checkout, and return the words it printed."""
    done = subprocess.run([python, "-I", "-c", code], stdout=subprocess.PIPE, text=True, check=True, cwd="/")
    return done.stdout.split()


def inside(python: str, code: str, lark: bool, repeat: int) -> float:
    """Return the best time in ms that ``code`` and planning take in a fresh interpreter, their imports included."""
    best = float("inf")
    for _ in range(repeat):
        seconds, loaded = run(python, COMMON + BEGIN + code + LOWER + END)
        if loaded != str(lark):
            raise SystemExit(f"lark loaded: {loaded}")
        best = min(best, float(seconds))
    return best * 1000


def whole(python: str, code: str, repeat: int) -> float:
    """Return the best wall time in ms of a whole process, less that of an empty one; they take turns."""
    best = {code: float("inf"), "": float("inf")}
    for _ in range(repeat):
        for one in best:
            began = time.perf_counter()
            run(python, COMMON + one)
            best[one] = min(best[one], time.perf_counter() - began)
    return (best[code] - best[""]) * 1000


def large(python: str, repeat: int) -> float:
    """Return the best time in ms for the 2,000 lines, with lark and the grammars loaded."""
    warm = f"import time\nTEXT = {WORDS.encode()!r}{READ}"
    loop = f"TEXT = {LARGE.encode()!r}\nbest = 9e9\nfor _ in range({repeat}):"
    body = "".join(f"\n    {line}" for line in (BEGIN + READ + LOWER).split("\n"))
    last = "\n    best = min(best, time.perf_counter() - began)\nprint(best)"
    return float(run(python, COMMON + warm + loop + body + last)[0]) * 1000


def measure(python: str, repeat: int) -> list[tuple[str, float, float]]:
    """Return what was measured: name, ms, limit in ms."""
    plain, words = f"TEXT = {PLAIN.encode()!r}{READ}", f"TEXT = {WORDS.encode()!r}{READ}"
    stored = "from builder.dockerfile.serial import to_json\nprint(to_json(dockerfile).hex())"
    back = f"TEXT = {WORDS.encode()!r}\nPARSED = bytes.fromhex({run(python, COMMON + words + stored)[0]!r}){READ_BACK}"
    return [
        ("plain words, parse and plan", inside(python, plain, False, repeat), 30),
        ("known from parsed/, read and plan", inside(python, back, False, repeat), 30),
        ("variables, parse and plan", inside(python, words, True, repeat), 120),
        ("2,000 lines, parse and plan, lark loaded", large(python, min(repeat, 5)), 200),
        ("plain words, process less an empty one", whole(python, plain + LOWER, repeat), 30),
        ("parsed/, process less an empty one", whole(python, back + LOWER, repeat), 30),
        ("variables, process less an empty one", whole(python, words + LOWER, repeat), 120),
    ]


def main() -> int:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--repeat", type=int, default=15)
    parser.add_argument("--factor", type=float, default=1.0)
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    figures = measure(options.python, options.repeat)
    over = 0
    for name, value, limit in figures:
        bad = value > limit * options.factor
        over += bad
        print(f"{name:42} {value:7.1f} ms   at most {limit * options.factor:5.0f} ms{'   TOO SLOW' if bad else ''}")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as target:
            json.dump([{"name": name, "ms": value, "limit": limit} for name, value, limit in figures], target)
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
