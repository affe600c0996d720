"""A small corpus whose digests never change at a compatibility level: streams to compress, and contexts to build.

    python -m tests.support.corpus LEVEL [KIND...]       prints the digests that this machine gives, as JSON

KINDS are compressions, at their usual efforts; without any, all of them and some more.

Everything in it is made by hand or from seeds; no step is executed, and nothing depends on who makes it. The expected
digests are in ``testdata/goldens/level-N.json``, written by ``scripts/goldens``: what identifies an image once, what
depends on a compressor by its fingerprint. Imports neither pytest nor a network client: it also runs under emulators.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.cache.store import Store
from builder.cli.options import parse
from builder.cli.requests import make_request
from builder.engine.build import Environment, build
from builder.engine.recompress import coding_of
from builder.engine.request import CompressionChoice
from builder.events import SilentReporter
from builder.image.manifest import Manifest, parse_manifest
from builder.levels import LEVELS, Level
from builder.rootfs.coding import Coding
from builder.rootfs.compression import decompress
from builder.values import replace
from tests.support import images

GOLDENS = Path(__file__).resolve().parents[2] / "testdata" / "goldens"
EPOCH = 1600000000
MIB = 1 << 20

CHOICES = (
    CompressionChoice("gzip"),
    CompressionChoice("gzip-single-member"),
    CompressionChoice("zstd"),
    CompressionChoice("uncompressed"),
)
"""How the images are written."""

EFFORTS = (*CHOICES, CompressionChoice("gzip", 9), CompressionChoice("zstd", 9))
"""How the streams are."""

Digests = dict[str, Any]


def noise(seed: int, size: int) -> bytes:
    """Return bytes that do not compress."""
    return random.Random(seed).randbytes(size)


def prose(seed: int, size: int) -> bytes:
    """Return words."""
    words = [noise(seed * 1000 + number, 1 + number % 7).hex().encode() for number in range(500)]
    chosen = noise(seed, size // 4)
    return b" ".join(words[byte] if byte < 250 else b"\n" for byte in chosen)[:size].ljust(size, b".")


STREAMS: dict[str, Callable[[], bytes]] = {
    "empty": bytes,
    "a byte": lambda: b"x",
    "noise of a chunk": lambda: noise(1, MIB),
    "prose of a chunk and a byte": lambda: prose(2, MIB + 1),
    "zeros of two chunks": lambda: bytes(2 * MIB),
    "a mixture of chunks": lambda: prose(3, 900_000) + noise(4, 300_000) + bytes(200_000) + prose(3, 900_000),
}


@dataclass(frozen=True)
class Case:
    """A context and how it is built. ``prepare`` fills the folder, which has a Dockerfile then."""

    prepare: Callable[[Path], object]
    options: tuple[str, ...] = ()


def _write(folder: Path, name: str | bytes, data: bytes = b"", mode: int = 0o644, time: int = 1) -> bytes:
    path = os.path.join(os.fsencode(folder), os.fsencode(name))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as target:
        target.write(data)
    os.chmod(path, mode)
    os.utime(path, (time, time))
    return path


def _files(folder: Path) -> None:
    """Every kind of file that a context can have without rights, large and small, with names of every kind."""
    _write(folder, "Dockerfile", b"FROM scratch\nCOPY tree /\nCOPY --chown=1:2 --chmod=711 tree/small /deep/down/\n")
    tree = folder / "tree"
    for name, data in (("empty", b""), ("small", b"text\n"), ("chunk", noise(5, MIB)), ("large", prose(6, 2_600_000))):
        _write(tree, name, data, time=2_000_000_000)
    _write(tree, "bin/tool", b"#!/bin/sh\n", 0o700)
    _write(tree, "Straße/naïve ﬁle", b"composed")
    _write(tree, "Strasse/a\N{COMBINING DIAERESIS}", b"decomposed")
    _write(tree, b"latin-1 \xe9", b"no UTF-8")
    _write(tree, "long/" + "/".join(["component" * 5] * 4) + "/name", b"beyond ustar's fields")
    _write(tree, "x" * 99)
    _write(tree, "y" * 100)
    _write(tree, "z" * 101)
    (tree / "hollow").mkdir()
    os.symlink("../small", tree / "bin" / "link")
    os.symlink("target/" * 30, tree / "long link")
    os.symlink("nowhere é", tree / "dangling")
    os.link(tree / "small", tree / "bin" / "other name of small")


def _archive(folder: Path) -> None:
    """What only a tar brings: owners, devices, attributes, times before 1970 and long after."""
    records = {
        "SCHILY.xattr.user.note": "é\n=",
        "SCHILY.xattr.user.empty": "",
        "SCHILY.xattr.security.capability": "\1",
    }
    members = (
        images.directory("d", mode=0o1777, mtime=10),
        images.file("d/setuid", b"s", mode=0o4755, uid=3_000_000, gid=4_000_000, mtime=2_000_000_000),
        images.file("d/attributes", b"x", pax_headers=records, uid=1, gid=2),
        images.file("d/old", b"o", mtime=-5),
        images.hardlink("d/again", "d/setuid"),
        images.symlink("l", "d/old", uid=7, mtime=EPOCH - 1),
        images.member("fifo", b"6", mtime=EPOCH),
        images.member("null", b"3", 0o666, devmajor=1, devminor=3),
        images.file("w" * 150, b"long", mtime=EPOCH + 1),
    )
    _write(folder, "a.tar", images.layer(*members))
    _write(folder, "Dockerfile", b"FROM scratch AS a\nADD a.tar /from/\nFROM scratch\nCOPY --from=a /from /\n")


_CONFIG = rb"""# escape=\
ARG TAG=base
FROM base AS first
WORKDIR /work/below
COPY --chown=app:staff small .
FROM base
ARG UNSET
ARG SET=default
ENV PATH=/opt/bin:$PATH ONE=1 "TWO"='t w o' Z=last A=${SET}
LABEL zeta="z" alpha="a \"q\"" uml="\xc3\xa4"
MAINTAINER somebody
EXPOSE 8080 53/udp 9000-9002/tcp
VOLUME /data ["/more", "/data"]
STOPSIGNAL SIGUSR1
SHELL ["/bin/bash", "-c"]
HEALTHCHECK --interval=90s --timeout=1m1s --retries=4 CMD curl -f http://localhost/ || exit 1
ONBUILD COPY . /app
WORKDIR relative
COPY --from=first --link /work /copied
COPY <<"END" <<-STRIPPED /documents/
	$NOT expanded
END
	a
STRIPPED
ADD --chmod=u=rw,go= small /replaced
USER 1000:app
ENTRYPOINT ["/opt/bin/tool", "<&>"]
CMD exec $ONE
"""


def _config(folder: Path) -> None:
    """Every instruction but RUN, over a base with a history, fields of its own and a user database."""
    tar = images.layer(
        images.directory("etc", mtime=1),
        images.file("etc/passwd", "root:x:0:0:root:/:/bin/sh\napp:x:1000:1000::/srv:/bin/sh\n", mtime=1),
        images.file("etc/group", "root:x:0:\nstaff:x:50:\napp:x:1000:\n", mtime=1),
        images.directory("relative", mode=0o750, uid=3, mtime=2),
        images.file("replaced", b"old", mtime=3),
    )
    for architecture in ("amd64", "arm64"):
        images.write_layout(
            folder / architecture,
            [tar],
            compress=False,
            architecture=architecture,
            config={"created": "2020-01-02T03:04:05.678Z", "author": "the base's", "moreover": {"kept": [1]}},
            container={"Env": ["PATH=/bin", "BASE=b"], "Labels": {"mid": "m"}, "Cmd": ["sh"], "User": "root"},
        )
    _write(folder, "Dockerfile", _CONFIG)
    _write(folder, "small", b"small\n", 0o600)


_REPRODUCIBLE = ("--reproducible", f"--source-date-epoch={EPOCH}", "--platform=linux/amd64")

CASES = {
    "files": Case(_files, _REPRODUCIBLE),
    "archive": Case(_archive, (f"--source-date-epoch={EPOCH}", "--platform=linux/arm/v7")),
    "config": Case(
        _config,
        (*_REPRODUCIBLE, "--build-context=base=oci-layout://{}/amd64:latest", "--label=given=g", "--build-arg=SET=s"),
    ),
    "config with a late epoch": Case(
        _config,
        (
            *("--reproducible", "--source-date-epoch=9999999999", "--platform=linux/arm64"),
            "--build-context=base=oci-layout://{}/arm64:latest",
        ),
    ),
    "config in Docker's format": Case(
        _config, (*_REPRODUCIBLE, "--build-context=base=oci-layout://{}/amd64:latest", "--format=docker")
    ),
    "index": Case(
        lambda folder: _write(folder, "Dockerfile", b"FROM scratch\nARG TARGETARCH\nCOPY Dockerfile /$TARGETARCH/\n"),
        (
            *("--reproducible", "--platform=linux/amd64,linux/arm64", "--annotation=zeta=z"),
            "--annotation=index,manifest-descriptor:alpha=\u00e4",
        ),
    ),
}


def streams(choice: CompressionChoice) -> Digests:
    """Return the digest of every stream as ``choice`` packs it; each is unpacked and compared, too."""
    return {name: _packed(make(), coding_of(choice)) for name, make in STREAMS.items()}


def _packed(data: bytes, coding: Coding) -> str:
    target = io.BytesIO()
    with coding.writer(target, threads=2) as writer:
        writer.write(data)
        writer.close()
    if decompress(io.BytesIO(target.getvalue())).read() != data:
        raise AssertionError(f"{coding} is not read as it was written")
    return _sha256(target.getvalue())


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextmanager
def _store(folder: Path) -> Iterator[Environment]:
    def nobody() -> Any:
        raise AssertionError("a registry was asked")

    with Store.open(folder) as store:
        yield Environment(store, nobody, SilentReporter(), threading.Event())


def image(case: Case, choice: CompressionChoice, level: Level, work: Path) -> Digests:
    """Build a case in ``work``, with a store of its own; return the digests of all it consists of."""
    old = os.umask(0o022)
    try:
        context = work / "context"
        context.mkdir()
        case.prepare(context)
    finally:
        os.umask(old)
    words = [one.replace("{}", str(context)) for one in case.options]
    request = replace(make_request(parse("build", [*words, str(context)]), {}), compression=choice, level=level)
    with _store(work / "store") as env:
        built = build(request, env).built
    found: Digests = {"digest": built.digest.hex, "configs": [], "diff_ids": [], "layers": []}
    for one in built.images:
        manifest = parse_manifest(one.raw_manifest)
        assert isinstance(manifest, Manifest)
        found["configs"].append(one.image_id.hex)
        found["diff_ids"].append([layer.diff_id.hex for layer in one.layers])
        found["layers"].append([layer.digest.hex for layer in manifest.layers])
    return found


def measure(level: Level, efforts: Sequence[CompressionChoice] = EFFORTS) -> Digests:
    """Return every digest as the golden files have them."""
    found: Digests = {"level": level.number, "images": {}, "compressed": {}}
    with tempfile.TemporaryDirectory(prefix="pybuild-corpus-") as work:
        for choice in efforts:
            compressed = found["compressed"].setdefault(coding_of(choice).fingerprint(), {})
            compressed["streams"] = streams(choice)
            for number, (name, case) in enumerate(CASES.items()) if choice in CHOICES else ():
                if choice.kind == "zstd" and "--format=docker" in case.options:
                    continue
                folder = Path(work, f"{choice.kind}-{number}")
                folder.mkdir()
                digests = image(case, choice, level, folder)
                same = {"configs": digests.pop("configs"), "diff_ids": digests.pop("diff_ids")}
                if found["images"].setdefault(name, same) != same:
                    raise AssertionError(f"{name}: the image is another one with {choice.kind}")
                compressed.setdefault("images", {})[name] = digests
    return found


def golden(level: Level) -> Digests:
    """Return the expected digests; nothing for a level without a file."""
    path = GOLDENS / f"level-{level.number}.json"
    return (
        dict(json.loads(path.read_text())) if path.exists() else {"level": level.number, "images": {}, "compressed": {}}
    )


def differences(expected: Any, found: Any, where: str = "") -> Iterator[str]:
    """Yield what is in both and differs; what only one of them has is no difference."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for name in expected.keys() & found.keys():
            yield from differences(expected[name], found[name], f"{where}: {name}" if where else name)
    elif expected != found:
        yield f"{where}: {found}, expected {expected}"


def merged(expected: Any, found: Any) -> Any:
    """Return both, dictionaries within dictionaries; ``expected`` counts where they differ."""
    if not (isinstance(expected, dict) and isinstance(found, dict)):
        return expected
    both = {name: merged(expected[name], found[name]) for name in expected.keys() & found.keys()}
    return {**found, **expected, **both}


if __name__ == "__main__":
    wanted = [one for one in CHOICES if one.kind in sys.argv[2:]]
    print(json.dumps(measure(LEVELS[int(sys.argv[1])], wanted or EFFORTS)))
