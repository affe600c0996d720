"""A Debian package installed where only one uid exists has the owners it has elsewhere, but for what is documented.

run-sandbox.md 3 and 7 (17). The package needs no network: its maintainer script does what real ones do.
"""

from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import trees
from tests.support.cli import write_context
from tests.support.commands import run
from tests.support.need import public_directory
from tests.support.users import User

DOCKERFILE = """\
FROM base
COPY --chown=33:34 --chmod=640 owned /srv/owned
RUN --mount=type=bind,source=p.deb,target=/tmp/p.deb dpkg --install /tmp/p.deb
RUN chmod o+r /srv/owned && mv /opt/conf /etc/p/moved && rm -rf /var/log/* /var/cache/debconf/*
"""

POSTINST = """\
#!/bin/sh
set -e
groupadd --system --gid 801 game
useradd --system --uid 800 --gid 801 --home-dir /var/lib/p --shell /usr/sbin/nologin player
chown -R player:game /var/lib/p
chmod 2770 /var/lib/p
dpkg-statoverride --update --add root game 2755 /usr/bin/p-score
install -o player -g adm -m 0640 /dev/null /var/lib/p/log
touch /etc/p/new /etc/p/old && chown :game /etc/p/new && chgrp mail /etc/p/old && mv /etc/p/old /etc/p/renamed
su -s /bin/sh player -c 'touch /var/lib/p/as-player'
cp -a /var/lib/p/log /var/lib/p/log.0
sed -i s/1/2/ /etc/p/rewritten
"""

# Only what stat(2) shows inside counts for these.
DOCUMENTED = {
    "etc/gshadow": "rewritten by groupadd, which gives it the owner it sees",
    "etc/gshadow-": "its backup",
    "etc/shadow": "rewritten by useradd",
    "etc/shadow-": "its backup",
    "etc/p/link": "a symlink has no owner to record",
    "etc/p/rewritten": "sed gives the copy the owner it sees",
    "var/lib/p/link": "a symlink again",
    "var/lib/p/as-player": "made by root, who cannot become player; the group comes from the directory elsewhere",
}
RIGHTS = ("type", "mode", "uid", "gid", "link", "group", "xattrs")


def archive(members: dict[str, tuple[bytes, int, int, int, bytes]]) -> bytes:
    """Make a tar.gz of name: (type, mode, uid, gid, contents or link target)."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz", format=tarfile.USTAR_FORMAT) as tar:
        for name, (kind, mode, uid, gid, data) in members.items():
            info = tarfile.TarInfo(f"./{name}")
            info.type, info.mode, info.uid, info.gid = kind, mode, uid, gid
            if kind == tarfile.REGTYPE:
                info.size = len(data)
            else:
                info.linkname = data.decode()
            tar.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def package() -> bytes:
    file, directory, link, hard = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
    control = b"Package: p\nVersion: 1\nArchitecture: all\nMaintainer: nobody <n@example.org>\nDescription: owners\n"
    parts = {
        "debian-binary": b"2.0\n",
        "control.tar.gz": archive(
            {"control": (file, 0o644, 0, 0, control), "postinst": (file, 0o755, 0, 0, POSTINST.encode())}
        ),
        "data.tar.gz": archive(
            {
                "etc": (directory, 0o755, 0, 0, b""),
                "etc/p": (directory, 0o755, 0, 0, b""),
                "etc/p/secret": (file, 0o640, 0, 42, b"1\n"),
                "etc/p/rewritten": (file, 0o640, 0, 42, b"1\n"),
                "etc/p/link": (link, 0o777, 7, 7, b"secret"),
                "opt": (directory, 0o755, 0, 0, b""),
                "opt/conf": (file, 0o600, 33, 33, b"1\n"),
                "usr": (directory, 0o755, 0, 0, b""),
                "usr/bin": (directory, 0o755, 0, 0, b""),
                "usr/bin/p-score": (file, 0o755, 0, 0, b"1\n"),
                "usr/bin/p-wall": (file, 0o2755, 0, 5, b"1\n"),
                "usr/bin/p-sudo": (file, 0o4755, 0, 0, b"1\n"),
                "usr/bin/p-hard": (hard, 0o2755, 0, 5, b"./usr/bin/p-wall"),
                "var": (directory, 0o755, 0, 0, b""),
                "var/lib": (directory, 0o755, 0, 0, b""),
                "var/lib/p": (directory, 0o755, 0, 0, b""),
                "var/lib/p/data": (file, 0o644, 0, 0, b"1\n"),
                "var/lib/p/link": (link, 0o777, 0, 0, b"data"),
                "var/mail": (directory, 0o2775, 0, 8, b""),
            }
        ),
    }
    made = b"!<arch>\n"
    for name, data in parts.items():
        made += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode() + data + b"\n" * (len(data) % 2)
    return made


def install(user: User, layout: Path, isolation: str) -> tuple[trees.Tree, str]:
    place = user.home / "debian"
    write_context(place, DOCKERFILE)
    (place / "owned").write_text("x\n")
    (place / "p.deb").write_bytes(package())
    run(["chown", "-R", f"{user.uid}:{user.gid}", place])
    output = place.with_name("image.tar")
    options = ["--root", user.home / "debian-store", f"--isolation={isolation}", "-o", f"type=oci,dest={output}"]
    done = user.pybuild(*options, f"--build-context=base=oci-layout://{layout}:latest", place)
    return trees.tree_of(output), done.stderr


@pytest.fixture
def readable_layout(debian_layout: Path) -> Iterator[Path]:
    """Give every user a layout to read; the other is in root's home."""
    with public_directory("layout") as folder:
        shutil.copytree(debian_layout, folder / "layout")
        run(["chmod", "-R", "go+rX", folder])
        yield folder / "layout"


def test_owners_of_a_package(plain_user: User, subuid_user: User, readable_layout: Path) -> None:
    exact, _ = install(subuid_user, readable_layout, "userns")
    recorded, said = install(plain_user, readable_layout, "single")
    assert (exact["var/lib/p"].uid, exact["var/lib/p"].gid, exact["var/lib/p"].mode) == (800, 801, 0o2770)
    assert (exact["srv/owned"].uid, exact["srv/owned"].gid, exact["srv/owned"].mode) == (33, 34, 0o644)
    assert (exact["etc/p/moved"].uid, exact["usr/bin/p-hard"].gid) == (33, 5)
    different = {line.split(":")[0] for line in trees.difference(recorded, exact, fields=RIGHTS)}
    assert different == set(DOCUMENTED), trees.difference(recorded, exact, fields=RIGHTS)
    assert said.count("links and fifos belong to 0:0") == 1
