"""Compressed layers in the hands of others: RUN writes what was asked for, and readers of gzip see all of it.

The list of what was tried is in docs/reproducibility.md.
"""

from __future__ import annotations

import hashlib
import random
import shutil
import zlib
from pathlib import Path

import pytest

from builder.rootfs.chunked import CHUNK
from builder.rootfs.coding import Coding, Compression
from tests.support import images
from tests.support.cli import pybuild, write_context
from tests.support.commands import run
from tests.support.need import need_root

JAVA = """
import java.io.*;
import java.security.MessageDigest;
import java.util.zip.GZIPInputStream;

class Gunzip {
    static String read(InputStream in) throws Exception {
        MessageDigest digest = MessageDigest.getInstance("SHA-256");
        byte[] buffer = new byte[65536];
        long total = 0;
        try (GZIPInputStream gzip = new GZIPInputStream(in)) {
            for (int size; (size = gzip.read(buffer)) > 0; total += size) digest.update(buffer, 0, size);
        }
        return String.format("%d %064x", total, new java.math.BigInteger(1, digest.digest()));
    }
    public static void main(String[] names) throws Exception {
        for (String name : names) {
            System.out.println(read(new FileInputStream(name)));
            System.out.println(read(new FilterInputStream(new FileInputStream(name)) {
                public int available() { return 0; }  // as of a socket that has to wait
            }));
        }
    }
}
"""


def members(packed: bytes) -> list[int]:
    """Return the uncompressed size of each gzip member."""
    found = []
    while packed:
        one = zlib.decompressobj(31)
        found.append(len(one.decompress(packed)))
        assert one.eof
        packed = one.unused_data
    return found


def test_a_run_is_packed_as_asked(busybox_layout: Path, tmp_path: Path) -> None:
    need_root("needs root: RUN")
    text = "FROM base\nRUN head -c 3000000 /dev/zero >/zeros\n"
    context = write_context(tmp_path / "context", text)
    base = f"--build-context=base=oci-layout://{busybox_layout}:latest"
    counts = {}
    for how in ("gzip", "gzip-single-member"):
        out = tmp_path / f"{how}.tar"
        arguments = ["--reproducible", f"--compression={how}", base, "-o", f"type=oci,dest={out}", context]
        pybuild(*arguments, root=tmp_path / f"store-{how}")
        image = images.read_image(out)
        counts[how] = len(members(image.layers[-1])), image.image_id
    assert [count for count, _ in counts.values()] == [3, 1]
    assert len({identity for _, identity in counts.values()}) == 1


def test_java_reads_both_forms(tmp_path: Path) -> None:
    """GZIPInputStream may stop after any member if the stream does not say that more is there: what one is good for."""
    java = shutil.which("java")
    if java is None or shutil.which("javac") is None:
        pytest.skip("there is no Java here; it is no part of what CI installs, for its size")
    data = random.Random(7).randbytes(CHUNK) + b"text " * CHUNK
    names = []
    for single in (False, True):
        name = tmp_path / f"{single}.gz"
        with open(name, "wb") as target, Coding(Compression.GZIP, single=single).writer(target) as writer:
            writer.write(data)
            writer.close()
        names.append(name)
    (tmp_path / "Gunzip.java").write_text(JAVA)
    said = run([java, tmp_path / "Gunzip.java", *names]).stdout.splitlines()
    whole = f"{len(data)} {hashlib.sha256(data).hexdigest()}"
    assert said[0] == said[2] == said[3] == whole
    size = int(said[1].split()[0])
    assert said[1] == f"{size} {hashlib.sha256(data[:size]).hexdigest()}"
    assert size in range(CHUNK, len(data) + 1, CHUNK)
    print(f"available() is 0: {size >> 20} of {len(data) >> 20} members")
