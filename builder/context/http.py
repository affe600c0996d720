"""Files from http(s) URLs: ADD of a URL, and contexts given as one (dockerfile.md 1.9).

A file is kept under its digest in the store's ``http/`` next to what the server said to recognise it by, and asked for
again with If-None-Match or If-Modified-Since. Messages never hold user information, queries or headers. Deciding what
the bytes are is :mod:`builder.context.source`'s.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

from builder.errors import ContextError, ImageError, OutputError
from builder.image.digest import Digest
from builder.registry.errors import TRANSIENT_STATUSES, RegistryError, TransientRegistryError
from builder.registry.hosts import origin
from builder.registry.retry import RetryPolicy
from builder.streams import CHUNK, HashingWriter, replacing
from builder.values import dataclass

if TYPE_CHECKING:
    import httpx

    from builder.registry.proxies import Proxies
    from builder.registry.transport import Transport

LARGEST_DOWNLOAD = 32 << 30
"""Bytes one URL may give."""
_LARGEST_NOTE = 64 << 10
_MOST_REDIRECTS = 10
_REDIRECTS = (301, 302, 303, 307, 308)


class TransientContextError(ContextError):
    """A source is out of reach now; trying again later may well succeed."""

    exit_code = 75
    retryable = True


@dataclass(frozen=True, slots=True)
class Download:
    """A file on disk that must not be changed. ``mtime`` is the server's Last-Modified in seconds, 0 without one."""

    path: Path
    digest: Digest
    size: int
    mtime: int
    name: str


@dataclass(frozen=True, slots=True)
class _Note:
    """What a server said about the bytes it gave us."""

    digest: Digest
    size: int
    etag: str
    last_modified: str


def file_name(url: str) -> str:
    """Return the name ADD gives to what it downloads from ``url``: its path's last component, or ``__unnamed__``."""
    name = unquote(urlsplit(url).path, errors="surrogateescape").rstrip("/").rpartition("/")[2]
    return "__unnamed__" if name in ("", ".", "..") or "\0" in name else name


def public_url(url: str) -> str:
    """Return ``url`` without what may be secret in it: user information, query and fragment."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


class Downloads:
    """Fetches files into ``directory``. Thread-safe; several processes may share the directory.

    ``authorize`` gives the Authorization header of a URL that names no account. ``temporary`` names files on the same
    file system that somebody removes when this process dies. ``touch`` says that a file is used from now on
    and returns whether it is there. ``offline``: no server is asked, what it gave last is what it gives.
    """

    def __init__(
        self,
        directory: Path,
        *,
        proxies: Proxies | None = None,
        transport: Transport | None = None,
        attempts: int = 4,
        authorize: Callable[[str], str] = lambda _: "",
        temporary: Callable[[], Path] | None = None,
        touch: Callable[[Path], bool] = os.path.lexists,
        offline: bool = False,
    ) -> None:
        self._directory = directory
        self._touch = touch
        self._offline = offline
        self._temporary = temporary or (lambda: directory / f".part-{os.getpid()}-{os.urandom(6).hex()}")
        self._proxies = proxies
        self._transport = transport
        self._retries = RetryPolicy(attempts=attempts)
        self._authorize = authorize
        self._lock = threading.Lock()

    def close(self) -> None:
        """End the connections that were kept; a later ``fetch`` makes new ones."""
        if self._transport is not None:
            self._transport.close()

    def fetch(self, url: str, *, checksum: str = "", limit: int = LARGEST_DOWNLOAD) -> Download:
        """Return the file at ``url``, from the server or, if that says it has not changed, from the store.

        ``checksum`` (``sha256:...``) is what it must be; if the URL gave those bytes before, it is not asked again.
        What ``authorize`` said for the URL is sent to its own origin only. Raises ContextError, TransientContextError.
        """
        wanted = Digest.parse(checksum) if checksum else None
        try:
            origin(url)
        except ValueError as error:
            raise ContextError("a source is not an http(s) URL with a host", hint="check its spelling") from error
        shown = public_url(url)
        url, authorization = _split_account(url, self._authorize(url))
        note_path = self._directory / hashlib.sha256(f"{url}\0{authorization}".encode()).hexdigest()
        note = self._read_note(note_path)
        if wanted is not None and note is not None and note.digest == wanted:
            return self._result(note, url)
        if self._offline:
            if note is not None and wanted is None:
                return self._result(note, url)
            raise ContextError(f"--offline: {shown} would have to be fetched", hint="drop --offline")
        try:
            fresh = self._retries.run(lambda: self._ask(url, authorization, note, limit))
        except TransientRegistryError as error:
            raise TransientContextError(f"cannot fetch {shown}: {error.message}", hint=error.hint) from error
        except RegistryError as error:
            raise ContextError(f"cannot fetch {shown}: {error.message}", hint=error.hint) from error
        except OSError as error:
            raise OutputError(f"cannot store what {shown} gives: {error.strerror}") from error
        if wanted is not None and fresh.digest != wanted:
            raise ContextError(
                f"{shown} has the digest {fresh.digest}, not {wanted}",
                hint="the file on the server was replaced, or --checksum is wrong",
            )
        self._write_note(note_path, fresh)
        return self._result(fresh, url)

    def _result(self, note: _Note, url: str) -> Download:
        mtime = _seconds(note.last_modified)
        return Download(self._body(note.digest), note.digest, note.size, mtime, file_name(url))

    def _body(self, digest: Digest) -> Path:
        return self._directory / f"sha256-{digest.hex}"

    def _ask(self, url: str, authorization: str, note: _Note | None, limit: int) -> _Note:
        headers = {"Accept": "*/*"}
        if authorization:
            headers["Authorization"] = authorization
        if note is not None and note.etag:
            headers["If-None-Match"] = note.etag
        elif note is not None and note.last_modified:
            headers["If-Modified-Since"] = note.last_modified
        with self._follow(url, headers) as response:
            if response.status_code == 304 and note is not None:
                return note
            if response.status_code != 200:
                raise _refusal(response)
            return self._store(response, limit)

    @contextlib.contextmanager
    def _follow(self, url: str, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
        transport = self._ready_transport()
        for _ in range(_MOST_REDIRECTS + 1):
            with transport.exchange("GET", url, headers) as response:
                if response.status_code not in _REDIRECTS:
                    yield response
                    return
                location = response.headers.get("Location", "")
            try:
                target = urljoin(url, location)
                leaves = origin(target) != origin(url)
            except ValueError as error:
                raise RegistryError("the server redirects to something that is no http(s) URL") from error
            if url.startswith("https:") and not target.startswith("https:"):
                raise RegistryError("the server redirects from https to http, which anyone on the way could change")
            if leaves:
                headers = {name: value for name, value in headers.items() if name != "Authorization"}
            url = target
        raise RegistryError(f"more than {_MOST_REDIRECTS} redirects")

    def _ready_transport(self) -> Transport:
        with self._lock:
            if self._transport is None:
                # httpx and ssl are slow to import, and most builds fetch nothing.
                from builder.registry.transport import Transport

                self._transport = Transport(self._proxies)
            return self._transport

    def _store(self, response: httpx.Response, limit: int) -> _Note:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = self._temporary()
        try:
            with open(temporary, "xb") as target:
                writer = HashingWriter(target)
                for chunk in response.iter_raw(CHUNK):
                    writer.write(chunk)
                    if writer.size > limit:
                        raise RegistryError(f"it is larger than {limit} bytes")
            promised = response.headers.get("Content-Length", "")
            if promised.isascii() and promised.isdigit() and int(promised) != writer.size:
                raise TransientRegistryError(f"the server sent {writer.size} of {promised} bytes")
            digest = Digest.from_hex(writer.hexdigest())
            os.replace(temporary, self._body(digest))
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
        etag, last_modified = response.headers.get("ETag", ""), response.headers.get("Last-Modified", "")
        return _Note(digest, writer.size, etag, last_modified)

    def _read_note(self, path: Path) -> _Note | None:
        """Return what is known of a URL if its bytes are still there; anything odd counts as unknown."""
        self._touch(path)
        try:
            with open(path, "rb") as stream:
                found = json.loads(stream.read(_LARGEST_NOTE))
            note = _Note(
                Digest.parse(found["digest"]), int(found["size"]), str(found["etag"]), str(found["last_modified"])
            )
            self._touch(self._body(note.digest))
            with open(self._body(note.digest), "rb") as stream:
                intact = hashlib.file_digest(stream, "sha256").hexdigest() == note.digest.hex
        except (OSError, ValueError, KeyError, TypeError, ImageError):
            return None
        return note if intact else None

    def _write_note(self, path: Path, note: _Note) -> None:
        found = {
            "digest": note.digest,
            "size": note.size,
            "etag": note.etag,
            "last_modified": note.last_modified,
        }
        with contextlib.suppress(OutputError), replacing(path, mode=0o600) as stream:
            stream.write(json.dumps(found).encode())


def _split_account(url: str, authorization: str) -> tuple[str, str]:
    """Take a user name and password out of ``url``; a given ``authorization`` wins over them."""
    parts = urlsplit(url)
    account, at, host = parts.netloc.rpartition("@")
    if not at:
        return urlunsplit(parts._replace(fragment="")), authorization
    bare = urlunsplit(parts._replace(netloc=host, fragment=""))
    if not authorization:
        import base64

        authorization = (
            "Basic "
            + base64.b64encode(unquote(account, errors="surrogateescape").encode("utf-8", "surrogateescape")).decode()
        )
    return bare, authorization


def _refusal(response: httpx.Response) -> RegistryError:
    status = response.status_code
    said = f"the server answered {status} {response.reason_phrase}".rstrip()
    if status in TRANSIENT_STATUSES:
        return TransientRegistryError(said, status=status)
    hint = "give the credentials as a secret HTTP_AUTH_TOKEN_<host>" if status in (401, 403) else None
    return RegistryError(said, status=status, hint=hint)


def _seconds(last_modified: str) -> int:
    if not last_modified:
        return 0
    from datetime import UTC
    from email.utils import parsedate_to_datetime

    try:
        found = parsedate_to_datetime(last_modified)
        return max(0, int((found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()))
    except (ValueError, OverflowError):
        return 0
