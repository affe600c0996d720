"""Credentials for downloads and git, taken from the build's secrets by their names (dockerfile.md 1.9).

``GIT_AUTH_TOKEN``, ``GIT_AUTH_HEADER``, ``HTTP_AUTH_TOKEN_<host>`` and ``HTTP_AUTH_HEADER_<host>``; git's may end in
``.<host>`` too. A secret is read when its host is asked, goes into a header and nowhere else.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from builder.errors import UsageError
from builder.registry.hosts import is_loopback

Secrets = Mapping[str, Callable[[], bytes]]


def git_authorization(secrets: Secrets) -> dict[str, str]:
    """Return headers by ``host[:port]``, ``""`` for the host of the repository. Raises UsageError."""
    found: dict[str, str] = {}
    for kind in ("TOKEN", "HEADER"):  # a whole header says more than a token
        prefix = f"GIT_AUTH_{kind}"
        for name in secrets:
            if name == prefix or name.startswith(prefix + "."):
                header = _text(secrets, name)
                found[name.removeprefix(prefix).removeprefix(".")] = _basic(header) if kind == "TOKEN" else header
    return found


def http_authorization(secrets: Secrets, url: str) -> str:
    """Return the header for ``url``, empty for none. Never for plain http, but on this machine. Raises UsageError."""
    try:
        parts = urlsplit(url)
        host, name = parts.netloc.rpartition("@")[2], parts.hostname or ""
    except ValueError:
        return ""
    if parts.scheme.lower() != "https" and not is_loopback(host):
        return ""
    for place in dict.fromkeys((host, host.lower(), name)):
        if (secret := f"HTTP_AUTH_HEADER_{place}") in secrets:
            return _text(secrets, secret)
        if (secret := f"HTTP_AUTH_TOKEN_{place}") in secrets:
            return f"Bearer {_text(secrets, secret)}"
    return ""


def _text(secrets: Secrets, name: str) -> str:
    try:
        text = secrets[name]().decode("ascii").strip()
    except UnicodeDecodeError:
        text = ""
    if not text or not text.isprintable():
        raise UsageError(f"the secret {name} is no text for a header", hint="one line of ASCII")
    return text


def _basic(token: str) -> str:
    return "Basic " + base64.b64encode(f"x-access-token:{token}".encode()).decode()
