"""The workloads that builders are compared by: seeded contexts, Dockerfiles, and the goal of each row.

A context is made once. ``fresh`` makes it one that no builder has seen: it gets another path, and each file that
counts other bytes, while sizes and how well they compress stay.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

MIB = 1 << 20
_SEED = 7
Kind = Literal["cold", "warm", "push"]

_TEN = """\
FROM {base}
ENV MODE=production
LABEL run={nonce}
WORKDIR /app
COPY a b c ./
RUN true # {nonce}
EXPOSE 8080
STOPSIGNAL SIGINT
USER 1000:1000
ENTRYPOINT ["/app/a"]
CMD ["serve"]
"""
_COPY = """\
FROM {base}
COPY . /src/
"""
# seq writes lines of 9 bytes, which no other run has.
_STAGES = """\
FROM {base} AS build
RUN mkdir /made && cd /made && seq {first} {last} | split -a 3 -l 200 \\
 && find /usr/share -type f | sort | head -n {deleted} | xargs rm
FROM {base}
COPY --from=build /made /made
"""
_UNPACK = """\
FROM {base}
RUN mkdir /root/tree && tar -xf /rootfs.tar -C /root/tree && echo {nonce} > /root/tree/nonce
"""


@dataclass(frozen=True)
class Row:
    """A row of the table: what is measured, and the most it may be as a fraction of buildah's time."""

    name: str
    workload: str
    kind: Kind
    goal: float

    @property
    def title(self) -> str:
        return f"{self.name} {self.kind}"


@dataclass(frozen=True)
class Workload:
    """What is built: its text, the base's name, and what its context is filled with at a scale."""

    text: str
    base: Literal["busybox", "debian", "debian-with-tar"]
    fill: Callable[[Path, float], None]


ROWS = (
    Row("W1", "W1", "cold", 0.28),
    Row("W1", "W1", "warm", 0.10),
    Row("W2", "W2", "cold", 0.09),
    Row("W2", "W2", "warm", 0.02),
    Row("W3", "W3", "cold", 0.26),
    Row("W3", "W3", "warm", 0.06),
    Row("W4", "W4", "cold", 0.13),
    Row("W5", "W5", "cold", 0.19),
    Row("W6", "W3", "push", 0.18),
    Row("W7", "W7", "cold", 0.34),
)
TITLES = {
    "W1": "ten instructions on Debian",
    "W2": "COPY of 20,000 files of about 4 KB",
    "W3": "COPY of one file of 512 MiB, which compresses 2:1",
    "W4": "RUN makes 5,000 files and deletes 2,000; COPY --from into a second stage",
    "W5": "20 RUN that write a file each, on Debian",
    "W6": "push of W3's image to a fresh repository",
    "W7": "RUN unpacks a root filesystem of 250 MB",
}


class Context:
    """A context on the disk and its Dockerfile, which lies beside it."""

    def __init__(self, name: str, folder: Path, base: str, scale: float) -> None:
        self._workload = WORKLOADS[name]
        self._base = base
        self._scale = scale
        self._folder = folder
        self._nonce = 0
        self.path = folder / "0"
        self.path.mkdir(parents=True)
        self.dockerfile = folder / "Dockerfile"
        self._workload.fill(self.path, scale)
        self.fresh()

    def fresh(self) -> None:
        """Make the context new to every builder, without writing all of it again."""
        self._nonce += 1
        self.path = self.path.rename(self._folder / str(self._nonce))
        for file in self.path.rglob("*"):
            if file.is_file():
                with file.open("r+b") as stream:
                    stream.write(b"%08d" % self._nonce)
        count = max(1, int(1_000_000 * self._scale))
        first = 10_000_000 + self._nonce * count
        self.dockerfile.write_text(
            self._workload.text.format(
                base=self._base,
                nonce=self._nonce,
                first=first,
                last=first + count - 1,
                deleted=max(1, int(2000 * self._scale)),
            )
        )


def halves(size: int, numbers: random.Random) -> Iterator[bytes]:
    """Yield ``size`` bytes in pieces of at most 1 MiB; by turns 2 KiB that do not compress, and 2 KiB of words."""
    words = [numbers.randbytes(4).hex().encode() for _ in range(256)]
    text = b" ".join(numbers.choice(words) for _ in range(2000))
    while size > 0:
        count = min(MIB // 4096, -(-size // 4096))
        noise = memoryview(numbers.randbytes(2048 * count))
        at = numbers.randrange(len(text) - 2048)
        piece = b"".join(bytes(noise[2048 * n : 2048 * (n + 1)]) + text[at : at + 2048] for n in range(count))
        yield piece[:size]
        size -= len(piece)


def many_files(folder: Path, count: int) -> None:
    """Write ``count`` files of 2 to 6 KB, a hundred in a directory; half of each is words, so a layer is 49 MB."""
    numbers = random.Random(_SEED)
    words = [numbers.randbytes(4).hex().encode() for _ in range(256)]
    text = b" ".join(numbers.choice(words) for _ in range(2000))
    for number in range(count):
        below = folder / f"package-{number // 1000}" / f"module-{number // 100}"
        if number % 100 == 0:
            below.mkdir(parents=True)
        half = numbers.randrange(1024, 3072)
        at = numbers.randrange(len(text) - half)
        (below / f"file-{number}").write_bytes(numbers.randbytes(half) + text[at : at + half])


def one_file(folder: Path, size: int) -> None:
    """Write one file of ``size`` bytes that compresses 2:1."""
    with (folder / "big").open("wb") as stream:
        for piece in halves(size, random.Random(_SEED)):
            stream.write(piece)


def _three(folder: Path, _: float) -> None:
    for name in ("a", "b", "c"):
        (folder / name).write_text("00000000 a small file\n" * 20)


def _nothing(_folder: Path, _scale: float) -> None:
    """Most workloads have an empty context."""


WORKLOADS = {
    "W1": Workload(_TEN, "debian", _three),
    "W2": Workload(_COPY, "busybox", lambda folder, scale: many_files(folder, max(1, int(20_000 * scale)))),
    "W3": Workload(_COPY, "busybox", lambda folder, scale: one_file(folder, max(1, int(512 * MIB * scale)))),
    "W4": Workload(_STAGES, "debian", _nothing),
    "W5": Workload(
        "FROM {base}\n" + "".join(f"RUN echo {n} > /f{n} # {{nonce}}\n" for n in range(20)), "debian", _nothing
    ),
    "W7": Workload(_UNPACK, "debian-with-tar", _nothing),
}
