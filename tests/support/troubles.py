"""Command lines that fail because of something else: images that lie, servers, disks, other users, signals."""

from __future__ import annotations

import errno
import io
import json
import shlex
import shutil
import socket
import ssl
import struct
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.support import images
from tests.support.certificates import make_authority
from tests.support.commands import run
from tests.support.diskfaults import DiskFault
from tests.support.failing import LAYOUT, Case
from tests.support.fake_registry import FakeRegistry, Fault, serve
from tests.support.httpd import Quiet, running
from tests.support.need import need, need_root

CHECKOUT = Path(__file__).resolve().parents[2]
_GIT = "https://localhost:1/app.git"
_PATH = {"PATH": "{work}/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
_HELPER = """mkdir "$HOME/asked" && kill -INT $PPID && sleep 1
echo '{"Username": "me", "Secret": "secret"}'"""
_LATER = {"Retry-After": "9999"}
"""So long no build waits."""
_STEP = 'FROM scratch\nCOPY file /app\nRUN ["/app"]\n'
_NOBODY = ("unshare", "--user", "--map-user=1000", "--map-group=1000")
"""What makes root a user who has no other ids."""
_BUSYBOX = "FROM scratch\nCOPY busybox /bin/busybox\n"
_BUILT = (".", "-t", "app:1")
_DATA = bytes(range(256)) * 99


def _case(code: str, line: str, **more: Any) -> Case:
    return Case(code, tuple(shlex.split(line)), **more)


def _built(code: str, dockerfile: str, line: str = ".", **more: Any) -> Case:
    return _case(code, line, **{**more, "files": {"Dockerfile": dockerfile, **more.get("files", {})}})


def _git(code: str, script: str, line: str = _GIT) -> Case:
    """Return a build from a repository with a git that does what ``script`` says."""
    return _case(code, line, files={"bin/git": f"#!/bin/sh\n{script}\n"}, env=_PATH)


# --- images


def _layout(*layers: bytes, change: Callable[[Path], None] = lambda _: None, **more: Any) -> Any:
    """Return what writes a layout called layout, with an image ``latest``."""

    @contextmanager
    def around(folder: Path) -> Iterator[Mapping[str, str]]:
        images.write_layout(folder / "layout", layers or [images.layer(images.file("a", "1"))], **more)
        change(folder / "layout")
        yield {}

    return around


def _nested(layout: Path) -> None:
    """Put the index into an index, and that into another, several times."""
    kind = "application/vnd.oci.image.index.v1+json"
    for _ in range(9):
        raw = (layout / "index.json").read_bytes()
        digest = images._digest(raw)
        (layout / "blobs" / "sha256" / digest[7:]).write_bytes(raw)
        entry = {"mediaType": kind, "digest": digest, "size": len(raw)}
        (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": [entry]}))


def _chart(layout: Path) -> None:
    """Make the config that of something else than an image."""
    index = json.loads((layout / "index.json").read_text())
    blobs = layout / "blobs" / "sha256"
    (entry,) = index["manifests"]
    manifest = json.loads((blobs / entry["digest"][7:]).read_text())
    manifest["config"]["mediaType"] = "application/vnd.example.chart.config.v1+json"
    raw = json.dumps(manifest).encode()
    entry |= {"digest": images._digest(raw), "size": len(raw)}
    (blobs / entry["digest"][7:]).write_bytes(raw)
    (layout / "index.json").write_text(json.dumps(index))


def _huge() -> bytes:
    info = tarfile.TarInfo("huge")
    info.size = 1 << 50
    return info.tobuf(tarfile.GNU_FORMAT) + bytes(1024)


# --- servers


def _registry(fill: Callable[[FakeRegistry], None]) -> Any:
    """Return what serves a registry that ``fill`` puts images into."""

    @contextmanager
    def around(_: Path) -> Iterator[Mapping[str, str]]:
        with serve() as fake:
            fill(fake)
            yield {"host": fake.host}

    return around


def _image(fake: FakeRegistry, layer: dict[str, Any]) -> None:
    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}}
    )
    kind = "application/vnd.oci.image."
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{kind}manifest.v1+json",
        "config": {
            "mediaType": f"{kind}config.v1+json",
            "digest": fake.put_blob("app", config.encode()),
            "size": len(config),
        },
        "layers": [layer],
    }
    fake.put_manifest("app", "1", json.dumps(manifest).encode(), f"{kind}manifest.v1+json")


def _large(fake: FakeRegistry) -> None:
    data = _DATA * 100
    kind = "application/vnd.oci.image.layer.v1.tar"
    _image(fake, {"mediaType": kind, "digest": fake.put_blob("app", data), "size": len(data)})


def _elsewhere(fake: FakeRegistry) -> None:
    kind = "application/vnd.oci.image.layer.nondistributable.v1.tar"
    digest = images._digest(_DATA)
    _image(fake, {"mediaType": kind, "digest": digest, "size": len(_DATA), "urls": ["http://vendor.example/layer"]})


class _TlsServer(ThreadingHTTPServer):
    """Speaks https, and to those who speak http says so, as servers do."""

    context: ssl.SSLContext

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        if connection.recv(1, socket.MSG_PEEK) == b"\x16":
            return self.context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address
        return connection, address

    def handle_error(self, *_: object) -> None:
        """Say nothing of handshakes that fail."""


class _Plain(Quiet):
    def do_GET(self) -> None:  # the name http.server asks for
        self.send_error(400)

    do_HEAD = do_GET


@contextmanager
def _tls(folder: Path) -> Iterator[Mapping[str, str]]:
    """Serve https with a certificate that nobody here trusts."""
    certificate, key = make_authority(folder / "authority").server()
    server = _TlsServer(("127.0.0.1", 0), _Plain)
    server.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.context.load_cert_chain(certificate, key)
    with running(server) as port:
        yield {"host": f"localhost:{port}"}


def _both(*them: Any) -> Any:
    """Return several things around a case as one."""

    @contextmanager
    def around(folder: Path) -> Iterator[Mapping[str, str]]:
        with ExitStack() as stack:
            yield {name: value for one in them for name, value in stack.enter_context(one(folder)).items()}

    return around


def _cut(fake: FakeRegistry) -> None:
    """Never send the layer to its end."""
    _large(fake)
    layer = images._digest(_DATA * 100)
    fake.plan = lambda seen: Fault(status=200, body=b"half") if seen.path.endswith(layer) else None


# --- machines


def _faulty(kind: str, number: int, nth: int, where: str) -> Any:
    """Return what lets calls fail on files below a directory of the store."""

    @contextmanager
    def around(folder: Path) -> Iterator[Mapping[str, str]]:
        fault = DiskFault(kind, number, nth).environment(folder / "store" / where, folder / "told")
        yield {f"${name}": value for name, value in fault.items()}

    return around


@contextmanager
def _small_store(folder: Path) -> Iterator[Mapping[str, str]]:
    need_root("needs root: mount")
    (folder / "store").mkdir(mode=0o700)
    run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "small", folder / "store"])
    try:
        yield {}
    finally:
        run(["umount", "-l", folder / "store"])


@contextmanager
def _overlaid_store(folder: Path) -> Iterator[Mapping[str, str]]:
    need_root("needs root: mount")
    for name in ("store", "lower", "upper", "work"):
        (folder / name).mkdir(mode=0o700)
    options = ",".join(f"{name}dir={folder / name}" for name in ("lower", "upper", "work"))
    run(["mount", "-t", "overlay", "-o", options, "overlay", folder / "store"])
    try:
        yield {}
    finally:
        run(["umount", "-l", folder / "store"])


@contextmanager
def _busybox(folder: Path) -> Iterator[Mapping[str, str]]:
    program = shutil.which("busybox")
    need(program is not None, "needs busybox-static")
    shutil.copy(str(program), folder / "busybox")
    yield {}


def _lose_layers(folder: Path) -> None:
    """Remove every blob that is compressed."""
    for path in (folder / "store" / "blobs").rglob("*/*"):
        if path.is_file() and path.read_bytes()[:2] == b"\x1f\x8b":
            path.unlink()


def _link(name: str, target: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = tarfile.SYMTYPE, target
        archive.addfile(info)
    return stream.getvalue()


_TARRED = io.BytesIO()
with tarfile.open(fileobj=_TARRED, mode="w") as _archive:
    _info = tarfile.TarInfo("file")
    _info.size = len(_DATA)
    _archive.addfile(_info, io.BytesIO(_DATA))

CASES = (
    _case(
        "PB1301",
        "pull {host}/app:1",
        files={
            "auth.json": '{"credHelpers": {"{host}": "slow"}}',
            "bin/docker-credential-slow": f"#!/bin/sh\n{_HELPER}\n",
        },
        env=_PATH | {"REGISTRY_AUTH_FILE": "auth.json"},
        answer=(401, {"WWW-Authenticate": 'Basic realm="x"'}, b""),
        status=130,
    ),
    _git("PB6617", "exit 0", f"{_GIT}#v2"),
    _git("PB6619", f"echo \"fatal: repository '{_GIT}/' not found\" >&2\nexit 128"),
    _case(
        "PB6440",
        "login -u me --password-stdin {host}",
        env={"HOME": "", "DOCKER_CONFIG": ""},
        stdin=b"secret\n",
        answer=(200, {}, b"{}"),
    ),
    _case("PB6445", "--store-ro nosuch ."),
    _built("PB6532", "FROM scratch AS base\nFROM Base-Image\n"),
    _case("PB6608", "-f Dockerfile /proc/sys/vm", files={"Dockerfile": "FROM scratch\nCOPY compact_memory /\n"}),
    _case("PB6609", "-f Dockerfile /proc/sys/kernel", files={"Dockerfile": "FROM scratch\nCOPY ostype /\n"}),
    _case("PB6626", "-", stdin=_TARRED.getvalue(), under=("prlimit", "--fsize=9999")),
    _case("PB6704", "rmi {id}", before=((".", "-t", "app:1", "-t", "app:2", "--iidfile", "id"),)),
    _built(
        "PB6707",
        "FROM base\nCOPY file /again\n",
        "--format docker --build-context base=oci-layout://layout:1 .",
        files={"base/Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"},
        before=(("base", *LAYOUT[1:], "--compression", "zstd"),),
    ),
    _case("PB6708", f"push oci-layout://layout:1 localhost:1/app@sha256:{'0' * 64}", before=(LAYOUT,)),
    _case(
        "PB6712",
        "save -o image.tar chart:1",
        around=_layout(change=_chart),
        before=(("copy", "oci-layout://layout:latest", "store:chart:1"),),
    ),
    _case("PB6714", "copy oci-layout://layout oci-layout://new:1", around=_layout(change=_nested)),
    _case(
        "PB6716",
        "validate oci-layout://layout:latest",
        around=_layout(config={"rootfs": {"type": "layers", "diff_ids": []}}),
    ),
    _case(
        "PB6720",
        "append --layer a.tar oci-layout://layout:1 oci-layout://new:1",
        before=(LAYOUT,),
        files={"a.tar": _huge()},
    ),
    _built(
        "PB6721",
        "FROM scratch\nCOPY --from=base / /\n",
        "--build-context base=oci-layout://layout:latest .",
        around=_layout(images.layer(images.hardlink("a", "nosuch"))),
    ),
    _case("PB6722", ".", files={"Dockerfile": "FROM scratch\nWORKDIR /" + "a" * 300 + "\n"}),
    _built(
        "PB6724",
        "FROM scratch\nCOPY --from=base / /\n",
        "--build-context base=oci-layout://layout:latest .",
        around=_both(_layout(images.layer(images.file("a", "1" * 300_000))), _faulty("read", errno.EIO, 8, "blobs")),
    ),
    _case("PB6902", "pull {host}/app:1", around=_tls),
    _built("PB6909", "FROM scratch\nCOPY --from={host}/app:1 / /\n", around=_registry(_elsewhere)),
    _case(
        "PB7001",
        ".",
        around=lambda folder: nullcontext({"$PYTHONPATH": f"{folder / 'broken'}:{CHECKOUT}"}),
        files={"broken/tomli.py": "1 / 0\n", "pybuild.toml": ""},
    ),
    _case("PB7101", "--isolation root .", files={"Dockerfile": _STEP}, under=_NOBODY, root=True),
    _built("PB7102", _STEP, "--snapshotter overlay .", around=_overlaid_store, root=True),
    _case("PB7103", ".", files={"Dockerfile": _STEP.replace("RUN", "USER 33\nRUN")}, under=_NOBODY, root=True),
    _case(
        "PB7105",
        ".",
        root=True,
        files={
            "Dockerfile": 'FROM scratch\nCOPY --chmod=755 riscv /app\nRUN ["/app"]\n',
            "riscv": b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHI", 2, 243, 1) + bytes(99),
        },
        env={"PATH": "/nosuch"},
    ),
    _built(
        "PB7106",
        'FROM scratch\nADD a.tar /\nRUN --mount=type=tmpfs,target=/round ["/app"]\n',
        "--isolation chroot .",
        files={"a.tar": _link("round", "/")},
        root=True,
    ),
    _built(
        "PB7108",
        f'{_BUSYBOX}RUN --mount=type=secret,id=token ["/bin/busybox", "ln", "/run/secrets/token", "/kept"]\n',
        "--isolation chroot --secret id=token,src=file .",
        around=_busybox,
        root=True,
    ),
    _case("PB7303", "pull {host}/app:1", around=_both(_small_store, _registry(_large)), root=True),
    _case("PB7304", "images --json", stdout="/dev/full"),
    _case("PB7305", "explore --serve --port {port} oci-layout://layout:1", before=(LAYOUT,), answer=(200, {}, b"")),
    _case("PB7308", "-o type=docker,dest=- .", before=(_BUILT,), around=_faulty("read", errno.EIO, 8, "blobs")),
    _case(
        "PB7309",
        "login -u me --password-stdin --authfile accounts {host}",
        files={"accounts/x": ""},
        stdin=b"secret\n",
        answer=(200, {}, b"{}"),
    ),
    _case("PB7310", "save -o image.tar app:1", before=(_BUILT,), damage=_lose_layers),
    _case("PB7501", ".", files={"Dockerfile": "FROM scratch\nADD http://{host}/a /\n"}, answer=(503, _LATER, b"")),
    _case("PB7503", "pull {host}/app:1", answer=(503, _LATER, b"")),
    _case("PB7504", "pull {host}/app:1", around=_registry(_cut)),
)
