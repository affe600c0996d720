"""What a registry lists (distribution-spec, "Content discovery"): tags, repositories, referrers; page by page.

Lists are bounded: a registry that never stops naming a next page is an error. Names that are no names are left out,
they could not be asked for anyway. Who refers to a manifest comes from the referrers API, or from the tag that stands
in for it where a registry has none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

from builder.errors import ImageError
from builder.image import descriptor as media
from builder.image.descriptor import Descriptor
from builder.image.digest import Digest
from builder.image.manifest import Index, ManifestError, parse_manifest
from builder.image.reference import Reference
from builder.patterns import pattern
from builder.registry.endpoints import CATALOG_SCOPE, pull_scope, short
from builder.registry.errors import RegistryError
from builder.registry.retry import RetryPolicy
from builder.registry.session import Call, Session
from builder.values import replace

if TYPE_CHECKING:
    import httpx

PAGE = 1000
"""Names to ask for at a time: the most that common registries give."""

PAGE_LIMIT = 2000
NAME_LIMIT = 1_000_000
BODY_LIMIT = 16 << 20
REFERRER_LIMIT = 10_000

_LINK = pattern(r"<([^<>]*)>((?:\s*;\s*[\w*-]+\s*(?:=\s*(?:\"[^\"]*\"|[^\s\";,]+))?)*)")
_NEXT = pattern(r";\s*rel\s*=\s*(?:\"(?:[^\"]*\s)?next(?:\s[^\"]*)?\"|next(?=\s*(?:;|$)))", re.IGNORECASE)
_TAG = pattern(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
_REPOSITORY = pattern(r"[a-z0-9]+(?:[._/-]+[a-z0-9]+)*", re.ASCII)
_NO_SUCH_API = frozenset({400, 404, 405, 501})


def tags(session: Session, retry: RetryPolicy, reference: Reference) -> list[str]:
    """Return the tags of a repository, in the registry's order; see ``Registry.tags``."""
    call = Call(
        action=f"cannot list the tags of {reference.name}",
        method="GET",
        registry=reference.registry,
        repository=reference.repository,
        target=f"/v2/{reference.repository}/tags/list?n={PAGE}",
        scopes=pull_scope(reference.repository),
    )
    return _names(session, retry, call, "tags", _TAG)


def catalog(session: Session, retry: RetryPolicy, registry: str) -> list[str]:
    """Return the repositories of a registry; see ``Registry.catalog``."""
    call = Call(
        action=f"cannot list the repositories of {registry}",
        method="GET",
        registry=registry,
        repository="",
        target=f"/v2/_catalog?n={PAGE}",
        scopes=CATALOG_SCOPE,
    )
    try:
        return _names(session, retry, call, "repositories", _REPOSITORY)
    except RegistryError as error:
        error.hint = error.hint or "many registries, Docker Hub among them, list no repositories"
        raise


def referrers(
    session: Session,
    retry: RetryPolicy,
    reference: Reference,
    digest: Digest,
    artifact_type: str,
    fallback: Callable[[], bytes],
) -> tuple[Descriptor, ...]:
    """Return what refers to a manifest; ``fallback`` fetches the index under the tag that stands in for the API."""
    query = f"?artifactType={quote(artifact_type, safe='')}" if artifact_type else ""
    call = Call(
        action=f"cannot ask what refers to {short(digest)} in {reference.name}",
        method="GET",
        registry=reference.registry,
        repository=reference.repository,
        target=f"/v2/{reference.repository}/referrers/{digest}{query}",
        scopes=pull_scope(reference.repository),
        headers={"Accept": media.OCI_INDEX},
    )
    found: list[Descriptor] = []
    try:
        for raw in _pages(session, retry, call):
            found += _entries(raw, call.action)
            if len(found) > REFERRER_LIMIT:
                raise RegistryError(f"{call.action}: more than {REFERRER_LIMIT}", host=call.registry)
    except RegistryError as error:
        if error.status not in _NO_SUCH_API or found:
            raise
        try:
            found += _entries(fallback(), call.action)
        except RegistryError as missing:
            if missing.status != 404:
                raise
    # Registries may filter, and need not.
    return tuple(one for one in found if not artifact_type or one.extra.get("artifactType") == artifact_type)


def _entries(raw: bytes, action: str) -> tuple[Descriptor, ...]:
    try:
        parsed = parse_manifest(raw, media.OCI_INDEX)
    except ImageError as error:
        error.message = f"{action}: {error.message}"
        raise
    if not isinstance(parsed, Index):
        raise ManifestError(f"{action}: the answer is no index")
    return parsed.manifests


def _names(session: Session, retry: RetryPolicy, call: Call, key: str, pattern: re.Pattern[str]) -> list[str]:
    found: dict[str, None] = {}
    for raw in _pages(session, retry, call):
        try:
            value = json.loads(raw)
        except (ValueError, RecursionError):
            value = None
        names = value.get(key) if isinstance(value, dict) else ()
        # An empty list comes as null from servers written in Go.
        if not isinstance(names, list | None):
            raise RegistryError(f"{call.action}: {call.registry} sent something else", host=call.registry)
        found.update((name, None) for name in names or () if isinstance(name, str) and pattern.fullmatch(name))
        if len(found) > NAME_LIMIT:
            raise RegistryError(f"{call.action}: there are more than {NAME_LIMIT}", host=call.registry)
    return list(found)


def _pages(session: Session, retry: RetryPolicy, call: Call) -> Iterator[bytes]:
    """Yield the body of each page. Raises RegistryError for pages that lead back, elsewhere, or never to an end."""
    seen: set[str] = set()
    for _ in range(PAGE_LIMIT):
        page = call

        def attempt(page: Call = page) -> tuple[bytes, str]:
            from builder.registry.transport import read_body

            with session.open(page) as response:
                session.expect(page, response, 200)
                raw = read_body(response, BODY_LIMIT + 1)
                if len(raw) > BODY_LIMIT:
                    raise RegistryError(f"{page.action}: a page of more than {BODY_LIMIT} bytes", host=page.registry)
                return raw, _next(page, response)

        raw, following = retry.run(attempt)
        yield raw
        if not following:
            return
        if following in seen:
            break
        seen.add(following)
        call = replace(call, target=following)
    raise RegistryError(f"{call.action}: {call.registry} lists pages without end", host=call.registry)


def _next(call: Call, response: httpx.Response) -> str:
    """Return the URL of the next page (RFC 8288), empty on the last one. It stays with the server that was asked."""
    own = urlsplit(str(response.url))
    for header in response.headers.get_list("link"):
        for link in _LINK.finditer(header):
            if not _NEXT.search(link[2]):
                continue
            try:
                parts = urlsplit(urljoin(own.geturl(), str(link[1])))
                # Behind a proxy that ends TLS, registries name themselves with http; the host is what counts.
                if parts.scheme in ("http", "https") and parts.hostname == own.hostname:
                    return urlunsplit((own.scheme, own.netloc, parts.path, parts.query, ""))
            except ValueError:
                pass
            raise RegistryError(f"{call.action}: the next page is at another address", host=call.registry)
    return ""
