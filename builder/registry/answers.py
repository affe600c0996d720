"""What is read out of registries' answers: whatever they say, nothing is sent or decided here."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from builder.errors import ImageError
from builder.image import descriptor as media
from builder.image.descriptor import Descriptor
from builder.image.digest import Digest
from builder.image.fields import JSON_LIMIT
from builder.image.manifest import ManifestError
from builder.patterns import pattern
from builder.registry.errors import ERROR_BODY_LIMIT, RegistryError
from builder.registry.hosts import origin

if TYPE_CHECKING:
    import httpx

_SIZE = pattern(r"[0-9]{1,18}", re.ASCII)


def is_about_immutability(error: RegistryError) -> bool:
    """Say whether a refused tag may be one that must not move; every registry has its own words for it."""
    if error.status in (409, 412):
        return True
    said = error.message.lower()
    return 400 <= error.status < 500 and ("immutab" in said or "already exist" in said or "overwrit" in said)


def described(response: httpx.Response, wanted: Digest | None) -> Descriptor | None:
    """Return what the answer to a HEAD says of a manifest, None if it does not say all; ``wanted`` is what it is."""
    headers = response.headers
    media_type = headers.get("content-type", "").partition(";")[0].strip()
    size = headers.get("content-length", "")
    claimed = headers.get("docker-content-digest", "")
    if media_type not in media.MANIFESTS | media.INDEXES or not _SIZE.fullmatch(size):
        return None
    try:
        digest = wanted or Digest.parse(claimed)
    except ImageError:
        return None
    return Descriptor(media_type=media_type, digest=digest, size=int(size))


def limited_body(response: httpx.Response, what: str) -> bytes:
    """Return a body that is JSON. Raises ManifestError for one that is too long, and names it ``what``."""
    from builder.registry.transport import read_body

    raw = read_body(response, JSON_LIMIT + 1)
    if len(raw) > JSON_LIMIT:
        raise ManifestError(f"{what} is longer than {JSON_LIMIT} bytes")
    return raw


def is_web_page(response: httpx.Response) -> bool:
    """Say whether somebody answered who is no registry. Some registries call an empty answer to a PUT text/html."""
    headers = response.headers
    page = headers.get("content-type", "").lower().startswith("text/html")
    return page and response.status_code == 200 and "docker-content-digest" not in headers


def drain(response: httpx.Response) -> bytes:
    """Read a small body, so that the connection can be used again."""
    from builder.registry.transport import read_body

    return read_body(response, ERROR_BODY_LIMIT)


def absolute(base: str, url: str, location: str) -> str | None:
    """Return where ``location`` leads from ``url``; None where we do not go: no http(s), or from https to http."""
    try:
        target = urljoin(url, location)
        scheme, host, port = origin(target)
        if not location or urlsplit(target).username is not None:
            return None
        if scheme == "http" and url.startswith("https:"):
            _, own, own_port = origin(base)
            if host != own or port not in (80, own_port):
                return None
            # A registry behind a TLS proxy that does not know of it.
            parts = urlsplit(target)
            return base + parts.path + (f"?{parts.query}" if parts.query else "")
    except ValueError:
        return None
    return target
