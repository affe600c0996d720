"""Command lines that fail, one for each kind of the catalogue of errors; troubles.py has those that need a fault.

They are run in a directory with a small context: ``Dockerfile``, ``file``. What they print is kept in
testdata/errors/CODE.txt, which is read for its tone and shown in docs/errors.md.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import shlex
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from tests.support import httpd

FOLDER = Path(__file__).resolve().parents[2] / "testdata" / "errors"
PLAIN = "FROM scratch\nCOPY file /\n"
LAYOUT = (".", "-t", "app:1", "-o", "type=oci,tar=false,dest=layout")
LIST = ("manifest", "create", "list", "oci-layout://layout:1")
ARCHIVE = (".", "-t", "app:1", "-o", "type=docker,dest=image.tar")


@dataclass(frozen=True)
class Case:
    """A command line, what is in its directory, and what was run before.

    In words, files and variables ``{work}`` is the directory, ``{host}`` the server with the answer, and other words in
    braces are what ``around`` says. A file that begins with ``#!`` is a program.
    """

    code: str
    words: tuple[str, ...]
    files: Mapping[str, str | bytes] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    before: Sequence[tuple[str, ...]] = ()
    stdin: bytes = b""
    stdout: str = ""
    """Where it writes to, if somebody has to look at what it cannot."""
    answer: tuple[int, Mapping[str, str], bytes] | None = None
    status: int = 0
    """What it ends with, if that is not what the code begins with."""
    root: bool = False
    """Whether only root is told this."""
    under: tuple[str, ...] = ()
    """The command that starts it: with less than it needs."""
    around: Callable[[Path], AbstractContextManager[Mapping[str, str]]] = lambda _: nullcontext({})
    """What is there from before the files are written until all is over; names with ``$`` are variables."""
    damage: Callable[[Path], None] = lambda _: None
    """What happens to the directory between the commands before and this one."""

    def typed(self, said: Mapping[str, str]) -> str:
        """Return the command as one types it."""
        variables = [f"{name}={shlex.quote(filled(value, said))}" for name, value in self.env.items()]
        words = [shlex.quote(filled(one, said)) for one in self.words]
        line = " ".join(["$", *variables, *self.under, "pybuild", *words])
        return f"{line} > {self.stdout}" if self.stdout else line

    def prepare(self, folder: Path, said: Mapping[str, str]) -> None:
        """Write the files into ``folder``."""
        for name, contents in {"Dockerfile": PLAIN, "file": "hello\n", **self.files}.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(filled(contents, said).encode() if isinstance(contents, str) else contents)
            path.chmod(0o755 if contents[:2] in ("#!", b"#!") else 0o644)


def filled(text: str, said: Mapping[str, str]) -> str:
    """Return ``text`` with its words in braces replaced."""
    for name, value in said.items():
        text = text.replace(f"{{{name}}}", value)
    return text


@contextmanager
def serving(answer: tuple[int, Mapping[str, str], bytes] | None) -> Iterator[str]:
    """Serve one answer to everything; give the server's host and port."""
    if answer is None:
        yield ""
        return
    status, headers, body = answer

    class Handler(httpd.Quiet):
        def do_GET(self) -> None:  # the name http.server asks for
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else body)

        do_HEAD = do_GET

    with httpd.serving(Handler) as port:
        yield f"localhost:{port}"


def shown(text: str, folder: Path) -> str:
    """Return what was printed without what differs from machine to machine."""
    text = text.replace(str(folder / "store"), "STORE").replace(str(folder), "WORK")
    text = re.sub(r"(?<=--port )\d+", "5000", text)
    text = re.sub(r"(localhost|127\.0\.0\.1):\d{4,}", r"\1:5000", text)
    text = re.sub(r"^Traceback .*?(?=^pybuild: )", "Traceback (most recent call last): ...\n", text, flags=re.M | re.S)
    text = re.sub(r"sha256([:/])([0-9a-f]{2}/)?[0-9a-f]{64}", r"sha256\1...", text)
    text = re.sub(r"(?<=DONE )\d+\.\d", "0.0", text)
    return "".join(line for line in text.splitlines(keepends=True) if not re.match(r"#\d|\| #|warning: ", line))


def _command(code: str, line: str, **more: object) -> Case:
    return Case(code, tuple(shlex.split(line)), **more)  # type: ignore[arg-type]  # the fields as they are


def _dockerfile(code: str, text: str | bytes, *words: str) -> Case:
    return Case(code, (*words, "."), {"Dockerfile": text})


def _lines() -> Iterator[Case]:
    for code, line in COMMANDS:
        yield _command(code, line)
    for code, line in ON_LAYOUTS:
        yield _command(code, line, before=(LAYOUT, ARCHIVE))
    for code, text in DOCKERFILES:
        yield _dockerfile(code, text)
    yield from OTHERS


COMMANDS = (
    ("PB6401", "--tagg app ."),
    ("PB6402", "psuh app:1"),
    ("PB6403", "--jobs many ."),
    ("PB6404", "--build-context base ."),
    ("PB6405", "-o type=oci,dest=a.tar,sparse=true ."),
    ("PB6406", "-o type=oci,dest=nosuch/a.tar ."),
    ("PB6407", "-o type=oci,dest=a.tar -o type=docker,dest=a.tar ."),
    ("PB6408", "--iidfile nosuch/id ."),
    ("PB6409", "--push ."),
    ("PB6410", f"-t app@sha256:{'0' * 64} ."),
    ("PB6411", "-o type=docker,dest=a.tar --compression zstd ."),
    ("PB6412", "--compression lz4 ."),
    ("PB6413", "--annotation index:a=b -o type=oci,dest=a.tar ."),
    ("PB6414", "--platform linux/amd64,linux/arm64 -o type=docker,dest=a.tar ."),
    ("PB6415", "--platform plan9/ ."),
    ("PB6416", "--offline --push -t registry.example/app:1 ."),
    ("PB6417", "-f - -"),
    ("PB6418", "--build-context base= ."),
    ("PB6419", "--secret src=file ."),
    ("PB6422", "--ssh default --ssh default ."),
    ("PB6423", "--allow everything ."),
    ("PB6424", "--add-host db ."),
    ("PB6425", "--ulimit files=10 ."),
    ("PB6426", "--cache-to type=local ."),
    ("PB6427", "--call outlines ."),
    ("PB6429", "images --filter size=3"),
    ("PB6430", "images --json --quiet"),
    ("PB6431", "inspect docker-daemon:app:1"),
    ("PB6435", "tags registry.example/app:1"),
    ("PB6436", "login --password-stdin registry.example"),
    ("PB6437", "--creds registry.example=:secret ."),
    ("PB6439", "--authfile nosuch.json ."),
    ("PB6441", "--registry-map hub ."),
    ("PB6443", "--config nosuch.toml ."),
    ("PB6444", "--compat 99 ."),
    ("PB6446", "--source-date-epoch yesterday ."),
    ("PB6447", "-t registry.example/App ."),
    ("PB6448", "kaniko --context ."),
    ("PB6452", "--squash ."),
    ("PB6601", "./nosuch"),
    ("PB6602", "-f Containerfile ."),
    ("PB6618", "'https://example.com/app.git?branche=main'"),
    ("PB6623", "--secret id=token,src=nosuch ."),
    ("PB6624", "inspect oci-archive:nosuch.tar"),
    ("PB6703", "tag nosuch app:1"),
    ("PB6705", "manifest rm nosuch"),
)
ON_LAYOUTS = (
    ("PB6428", "inspect --format '{{.Nosuch}}' oci-layout://layout:1"),
    ("PB6432", "append oci-layout://layout:1 oci-layout://new:1"),
    ("PB6433", "mutate --expose nine oci-layout://layout:1 oci-layout://new:1"),
    ("PB6702", "inspect oci-layout://layout:nosuch"),
    ("PB6715", "inspect --platform linux/riscv64 oci-layout://layout:1"),
    ("PB6625", "append --layer nosuch.tar oci-layout://layout:1 oci-layout://new:1"),
)
DOCKERFILES = (
    ("PB6501", "# nothing yet\n"),
    ("PB6502", "RUN make\nFROM scratch\n"),
    ("PB6503", "FROM scratch\nCOYP file /\n"),
    ("PB6504", "FROM scratch\nCOPY --chwon=1 file /\n"),
    ("PB6505", "FROM scratch\nCOPY --link=perhaps file /\n"),
    ("PB6506", "FROM scratch\nCOPY file\n"),
    ("PB6507", "FROM scratch\nENV =value\n"),
    ("PB6508", "FROM scratch\nENV A=1 two words\n"),
    ("PB6509", "FROM scratch\nSHELL /bin/bash -c\n"),
    ("PB6510", "FROM scratch\nHEALTHCHECK curl localhost\n"),
    ("PB6511", "FROM scratch\nONBUILD FROM other\n"),
    ("PB6512", "FROM scratch\nCOPY <<EOF /etc/app.conf\nport = 80\n"),
    ("PB6513", "\ufeffFROM scratch\n".encode("utf-16-le")),
    ("PB6514", "# escape=x\nFROM scratch\n"),
    ("PB6515", "# syntax=registry.example/own/frontend:1\nFROM scratch\n"),
    ("PB6516", 'FROM scratch\nARG VERSION\nENV V="${VERSION:?say which}"\n'),
    ("PB6517", "FROM scratch\nENV A=${B\n"),
    ("PB6518", "FROM scratch AS 1st\n"),
    ("PB6519", "ARG BASE\nFROM $BASE\n"),
    ("PB6521", "FROM scratch AS one\nCOPY --from=two /a /a\nFROM scratch AS two\nCOPY --from=one /a /b\n"),
    ("PB6522", "ARG STAGE=one\nFROM scratch\nCOPY --from=$STAGE /a /a\n"),
    ("PB6523", "FROM scratch\nRUN --mount=type=cash,target=/c make\n"),
    ("PB6524", "FROM scratch\nRUN --device=gpu make\n"),
    ("PB6525", "FROM scratch\nRUN --security=insecure make\n"),
    ("PB6526", "FROM scratch\nADD --checksum=sha256:abc https://example.com/a /\n"),
    ("PB6527", "FROM scratch\nCOPY --chmod=999 file /\n"),
    ("PB6528", "FROM scratch\nCOPY https://example.com/a /\n"),
    ("PB6529", "# check=error=true\nFROM scratch as app\nCOPY file /\n"),
    ("PB6530", "# check=skp=all\nFROM scratch\n"),
    ("PB6531", "FROM scratch\nEXPOSE nine\n"),
    ("PB6607", "FROM scratch\nCOPY flie /\n"),
    ("PB6610", "FROM scratch\nCOPY file Dockerfile /one\n"),
    ("PB6613", "FROM scratch\nCOPY --chown=www-data file /\n"),
    ("PB6627", "FROM scratch\nCOPY [a- /\n"),
)


def _tar(*names: str, **members: str | bytes) -> bytes:
    """Return a tar: empty files, members with contents, and links (``name="-> target"``, hard ones ``"=> target"``)."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name))
        for name, contents in members.items():
            info = tarfile.TarInfo(name.replace("__", "."))
            arrow, _, target = contents.partition(" ") if isinstance(contents, str) else ("", "", "")
            if arrow in ("->", "=>"):
                info.type = tarfile.SYMTYPE if arrow == "->" else tarfile.LNKTYPE
                info.linkname = target
                archive.addfile(info)
            else:
                data = contents.encode() if isinstance(contents, str) else contents
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"


def _error(code: str, message: str) -> bytes:
    return json.dumps({"errors": [{"code": code, "message": message}]}).encode()


def _asked(code: str, line: str, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Case:
    """Return a build whose one instruction asks a server that has this one answer to everything."""
    text = f"{line}\n" if line.startswith("FROM") else f"FROM scratch\n{line}\n"
    return Case(code, (".",), {"Dockerfile": text}, answer=(status, dict(headers or {}), body))


OTHERS = (
    _command("PB6520", "--target tset .", files={"Dockerfile": "FROM scratch AS test\n"}),
    _command("PB6421", ".", files={"Dockerfile": "FROM scratch\nRUN --mount=type=secret,id=token,required make\n"}),
    _command(
        "PB6420",
        "--secret id=token,src=big .",
        files={"Dockerfile": "FROM scratch\nRUN --mount=type=secret,id=token make\n", "big": "x" * (600 << 10)},
    ),
    _command("PB6438", "login -u me registry.example"),
    _command("PB6442", "--config p.toml .", files={"p.toml": '[registry."registry.example"]\ninsecur = true\n'}),
    _command("PB6449", ".", env={"PYBUILD_PROGRESS": "loud"}),
    _command("PB6450", ".", files={"pybuild.toml": '[build]\nallow = ["security.insecure"]\n'}),
    _command("PB6451", "build apy", files={"pybuild.toml": '[target.api]\ncontext = "."\n'}),
    _command("PB6603", ".", files={"Dockerfile": "#" * (17 << 20)}),
    _command("PB6604", "-", stdin=gzip.compress(b"no tar\n" * 99)),
    _command("PB6605", "-", stdin=_tar("Dockerfile", "a/b", "c")[:-9216][:700] + b"x" * 700),
    _command("PB6606", ".", files={".dockerignore": "[a-\n"}),
    _command("PB6611", ".", files={".wh.file": "", "Dockerfile": "FROM scratch\nCOPY . /\n"}),
    _command("PB6615", "--offline .", files={"Dockerfile": "FROM scratch\nADD https://example.com/a /\n"}),
    _command("PB6622", "--ssh key=file ."),
    _command("PB6701", "inspect docker-archive:file"),
    _command(
        "PB6706",
        "inspect oci-layout://broken",
        files={"broken/oci-layout": '{"imageLayoutVersion": "1.0.0"}', "broken/index.json": "{"},
    ),
    _command(
        "PB6905", "pull registry.example/app:1", files={".config/pybuild/certs.d/registry.example/client.cert": "no"}
    ),
    _command("PB6907", "--offline .", files={"Dockerfile": "FROM registry.example/base:1\n"}),
    _command("PB7301", "--root /proc/nosuch ."),
    _command("PB7306", "-o type=oci,tar=false,dest=. ."),
    _command("PB7502", "pull localhost:1/app:1"),
    _command(
        "PB7702", "login --check localhost:1/app", files={"auth.json": "["}, env={"REGISTRY_AUTH_FILE": "auth.json"}
    ),
    _command(
        "PB7703",
        "login --check localhost:1/app",
        files={"auth.json": '{"credHelpers": {"localhost:1": "nosuch"}}'},
        env={"REGISTRY_AUTH_FILE": "auth.json"},
    ),
    _command("PB6434", "manifest annotate --os linux --arch x99 list oci-layout://layout:1", before=(LAYOUT, LIST)),
    _command("PB6612", ".", files={"Dockerfile": "FROM scratch\nADD a.tar /\n", "a.tar": _tar(a="=> nosuch")}),
    _command("PB6616", "https://localhost:1/app.git", env={"PATH": "/nosuch"}),
    _command("PB6710", "inspect docker-archive:a.tar", files={"a.tar": _tar(manifest__json="{")}),
    _command("PB6717", "inspect docker-archive:a.tar", files={"a.tar": _tar(manifest__json="-> ../../secret")}),
    _command(
        "PB6718",
        "append --layer a.tar.gz oci-layout://layout:1 oci-layout://new:1",
        before=(LAYOUT,),
        files={"a.tar.gz": gzip.compress(_tar("a", "b"), mtime=0)[:-20]},
    ),
    _command(
        "PB6719",
        "append --layer a.tar oci-layout://layout:1 oci-layout://new:1",
        before=(LAYOUT,),
        files={"a.tar": _tar(a="x" * 9999)[:5000]},
    ),
    _command(
        "PB6906",
        "pull registry.example/app:1",
        files={".config/pybuild/certs.d/registry.example/hosts.toml": "server = 1\n"},
    ),
    _command("PB6904", "pull registry.example/app:1", env={"HTTPS_PROXY": "ftp://proxy.example"}),
    _command("PB7302", "-o type=oci,dest=/dev/full ."),
    _command(
        "PB7307",
        "--platform linux/amd64,linux/arm64 -o type=local,platform-split=false,dest=out .",
        files={"Dockerfile": "FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /app\n", "amd64": "a", "arm64": "b"},
    ),
    _command("PB1001", ".", files={"Dockerfile": 'FROM scratch\nRUN ["/bin/nosuch"]\n'}, status=127, root=True),
    _command("PB7104", ".", files={"Dockerfile": 'FROM scratch\nUSER app\nRUN ["/app"]\n'}, root=True),
    _command(
        "PB7107",
        "--isolation chroot --network none .",
        files={"Dockerfile": 'FROM scratch\nRUN ["/app"]\n'},
        root=True,
    ),
    _asked("PB6620", "ADD http://{host}/a /", 404),
    _asked("PB6621", f"ADD --checksum=sha256:{'0' * 64} http://{{host}}/a /", 200, b"other contents"),
    _asked("PB6901", "FROM {host}/app:1", 404, _error("MANIFEST_UNKNOWN", "manifest unknown")),
    _asked("PB6903", "FROM {host}/app:1", 200, b"<html>welcome</html>", {"Content-Type": "text/html"}),
    _asked("PB6711", "FROM {host}/app:1", 200, b'{"schemaVersion": 3}', {"Content-Type": _MANIFEST}),
    _asked("PB6713", "FROM {host}/app:1", 200, b'{"schemaVersion": 1, "fsLayers": []}', {"Content-Type": _SCHEMA1}),
    _asked("PB6709", f"FROM {{host}}/app@sha256:{'0' * 64}", 200, b'{"schemaVersion": 2}', {"Content-Type": _MANIFEST}),
    _asked("PB7701", "FROM {host}/app:1", 403, _error("DENIED", "requested access is denied")),
    _asked("PB7704", "FROM {host}/app:1", 401, b"", {"WWW-Authenticate": 'Bearer realm="ldap://tokens.example"'}),
)
CASES = tuple(_lines())
