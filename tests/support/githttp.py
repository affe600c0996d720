"""A git repository behind HTTP that asks for an account: git's own http-backend below a small server."""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.commands import run
from tests.support.httpd import Quiet, serving
from tests.support.need import need_tool


class _Handler(Quiet):
    root: Path
    account: str
    asked: list[str]

    def _serve(self) -> None:
        given = self.headers.get("Authorization", "")
        self.asked.append(given)
        if given != "Basic " + base64.b64encode(self.account.encode()).decode():
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        parts = urlsplit(self.path)
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_COUNT": "2",  # the repository's owner may be another user; one old commit may be asked for
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "GIT_CONFIG_KEY_1": "uploadpack.allowAnySHA1InWant",
            "GIT_CONFIG_VALUE_1": "true",
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "PATH_INFO": parts.path,
            "QUERY_STRING": parts.query,
            "REMOTE_USER": "test",
            "REQUEST_METHOD": self.command,
        }
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        done = subprocess.run(["git", "http-backend"], input=body, stdout=subprocess.PIPE, env=environment, check=True)
        head, _, answer = done.stdout.partition(b"\r\n\r\n")
        fields = [line.split(": ", 1) for line in head.decode().split("\r\n")]
        status = next((value for key, value in fields if key == "Status"), "200")
        self.send_response(int(status.split()[0]))
        for key, value in fields:
            if key != "Status":
                self.send_header(key, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = _serve


@contextmanager
def serve(root: Path, account: str) -> Iterator[tuple[str, list[str]]]:
    """Serve the repositories below ``root`` to ``account`` ("user:password"); yield host:port and what was sent."""
    need_tool("git")
    asked: list[str] = []
    handler = type("Bound", (_Handler,), {"root": root, "account": account, "asked": asked})
    with serving(handler) as port:
        yield f"127.0.0.1:{port}", asked


def repository(folder: Path, time: int = 1600000000) -> Path:
    """Make a repository of the files in ``folder``, with one commit on the branch main."""
    git = ["git", "-C", folder, "-c", "user.name=t", "-c", "user.email=t@t"]
    dates = {"GIT_AUTHOR_DATE": f"{time} +0000", "GIT_COMMITTER_DATE": f"{time} +0000"}
    run([*git, "init", "--quiet", "--initial-branch=main"])
    run([*git, "add", "--all"])
    run([*git, "commit", "--quiet", "--message=all"], env={**os.environ, **dates})
    return folder
