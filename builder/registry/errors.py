"""What goes wrong with a registry, and the one place that turns an HTTP answer into one of these errors.

Messages hold what the registry said (its error codes and a limited part of its text), never what we sent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping

from builder.errors import BuilderError
from builder.patterns import pattern

ERROR_BODY_LIMIT = 64 << 10
"""Bytes of an error's body that are read; the rest is thrown away with the connection."""

UNREACHABLE = "UNREACHABLE"
"""Our own error code: not even a connection came about."""

LOST = "LOST"
"""Our own error code, with UNREACHABLE: the same client has had an answer there before."""

STALLED = "STALLED"
"""Our own error code: it stopped answering, and we waited for as long as we do."""

SLOW = "SLOW"
"""Our own error code, with STALLED: it did answer, but so slowly that it would never have ended."""

TLS = "TLS"
"""Our own error code: a certificate is not trusted or cannot be used, or a handshake failed; not that there is none."""

TRANSIENT_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504, 507, 509, 520, 521, 522, 523, 524})
_TEXT_LIMIT = 300
_UNPRINTABLE = pattern(r"[^\x20-\x7e\xa0-\U0010ffff]+")


class RegistryError(BuilderError):
    """A registry refused, failed or is out of reach. ``status`` is 0 when there was no answer."""

    exit_code = 69

    def __init__(
        self,
        message: str,
        *,
        host: str = "",
        repository: str = "",
        status: int = 0,
        codes: tuple[str, ...] = (),
        retry_after: float | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.host = host
        self.repository = repository
        self.status = status
        self.codes = codes
        self.retry_after = retry_after

    def hide(self, hidden: Callable[[str], str]) -> None:
        """Let ``hidden`` take secrets out of what the server said."""
        self.message = hidden(self.message)
        self.codes = tuple(map(hidden, self.codes))
        self.args = (self.message,)


class TransientRegistryError(RegistryError):
    """The same request may well succeed later; ``UNREACHABLE`` among the codes if nobody answered at all."""

    exit_code = 75
    retryable = True


class AuthenticationError(RegistryError):
    """The registry wants other credentials, or credentials cannot be read or may not be sent."""

    exit_code = 77


def error_from_response(
    action: str, *, host: str, repository: str, status: int, headers: Mapping[str, str], body: bytes
) -> RegistryError:
    """Return the error for an answer that is no success. ``action`` reads like "cannot push blob X"; does not raise."""
    codes, said = parse_error_body(body)
    if status == 429 and "TOOMANYREQUESTS" not in codes:
        codes = (*codes, "TOOMANYREQUESTS")
    detail = f"{host} answered {status}" + (f" ({said})" if said else f" ({', '.join(codes)})" if codes else "")
    kind: type[RegistryError] = RegistryError
    hint: str | None = None
    if status in TRANSIENT_STATUSES:
        kind = TransientRegistryError
        hint = "the registry limits requests; logging in often raises the limit" if status == 429 else None
    elif status == 404 and repository and "MANIFEST_UNKNOWN" in codes:
        hint = f"check the name and the tag; pybuild tags {host}/{repository} lists what is there"
    elif status in (401, 403):
        kind, hint = AuthenticationError, without_account(host)
    elif status == 407:
        hint = "the proxy wants a user name and password in its URL"
    return kind(
        f"{action}: {detail}",
        host=host,
        repository=repository,
        status=status,
        codes=codes,
        retry_after=parse_retry_after(headers.get("retry-after", ""), headers.get("date", "")),
        hint=hint,
    )


def without_account(registry: str) -> str:
    """Return the hint for whoever was refused without an account. Other registries' accounts are not tried there."""
    return f"no account was sent: pybuild login {registry}, or --creds {registry}=USER"


def parse_error_body(body: bytes) -> tuple[tuple[str, ...], str]:
    """Return the error codes and a printable sentence out of a registry's error document, or of any text."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    errors = value.get("errors") if isinstance(value, dict) else None
    if not isinstance(errors, list):
        text = body[: 4 * _TEXT_LIMIT].decode(errors="replace")
        return (), "" if text.lstrip().startswith("<") else _printable(text)
    known = [one for one in errors if isinstance(one, dict)]
    codes = tuple(_printable(code) for one in known if isinstance(code := one.get("code"), str))
    texts = [": ".join(str(part) for part in (one.get("code"), one.get("message")) if part) for one in known]
    return codes[:10], _printable("; ".join(texts))


def _printable(text: str) -> str:
    cleaned = _UNPRINTABLE.sub(" ", text).strip()
    return cleaned if len(cleaned) <= _TEXT_LIMIT else cleaned[:_TEXT_LIMIT] + "..."


def parse_retry_after(text: str, date: str = "") -> float | None:
    """Return the seconds a Retry-After header asks for, None when there is none that makes sense.

    The date form is measured against the server's own Date, so that our clock does not matter.
    """
    text = text.strip()
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]+)?", text, re.ASCII):
        return float(text)
    if not text or not date:
        return None
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, (parsedate_to_datetime(text) - parsedate_to_datetime(date)).total_seconds())
    except (ValueError, TypeError):
        return None
