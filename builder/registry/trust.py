"""What a server's certificate is checked against, and which certificate it is shown: TLS settings as values.

The system's store is the one OpenSSL knows, or what SSL_CERT_FILE and SSL_CERT_DIR name instead; never the one that a
Python package brings along. Which host has which trust is ``routes``' business.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from builder.patterns import pattern
from builder.registry.errors import TLS, RegistryError
from builder.values import dataclass

if TYPE_CHECKING:
    import ssl

_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""Where distributions keep all their authorities in one file."""

_HASHED = pattern(r"[0-9a-f]{8}\.[0-9]+", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """``authorities`` are PEM files trusted besides the system's; ``clients`` are (certificate, key), also PEM.

    Without ``verify`` any certificate will do.
    """

    authorities: tuple[Path, ...] = ()
    clients: tuple[tuple[Path, Path], ...] = ()
    verify: bool = True

    def context(self) -> ssl.SSLContext:
        """Return the settings of a client's connections. Raises RegistryError that names a file it cannot use."""
        import ssl

        made = ssl.create_default_context()
        if not self.verify:
            made.check_hostname = False
            made.verify_mode = ssl.CERT_NONE
        bundle = _forgotten_bundle()
        if bundle is not None:
            _use(bundle, "certificates of authorities", lambda: made.load_verify_locations(bundle))
        for one in self.authorities:
            _use(one, "certificates of authorities", lambda one=one: made.load_verify_locations(one))  # type: ignore[misc]
        for certificate, key in self.clients:
            _use(
                certificate,
                "a client's certificate" if key == certificate else f"a client's certificate with the key {key}",
                lambda pair=(certificate, key): made.load_cert_chain(*pair, password=_refuse(pair[1])),  # type: ignore[misc]
            )
        return made


SYSTEM = Trust()
"""The system's authorities, and no certificate of our own."""


def missing_store() -> str:
    """Return what is wrong with the system's store if it has no authorities at all, else nothing."""
    import ssl

    paths = ssl.get_default_verify_paths()
    if paths.cafile or _has_authorities(paths.capath) or _forgotten_bundle() is not None:
        return ""
    # OpenSSL reads these variables itself, whatever environment we were handed.
    named = os.environ.get(paths.openssl_cafile_env) or os.environ.get(paths.openssl_capath_env)
    if named:
        return f"{named}, which SSL_CERT_FILE or SSL_CERT_DIR names, has no certificates"
    return "this system has no certificates of authorities: install ca-certificates, or name a file in SSL_CERT_FILE"


def _forgotten_bundle() -> Path | None:
    """Return the distribution's authorities where this Python's OpenSSL was built to look elsewhere."""
    import ssl

    paths = ssl.get_default_verify_paths()
    told = paths.openssl_cafile_env in os.environ or paths.openssl_capath_env in os.environ
    if told or paths.cafile or _has_authorities(paths.capath):
        return None
    return next((Path(one) for one in _BUNDLES if os.path.isfile(one)), None)


def _has_authorities(directory: str) -> bool:
    try:
        return bool(directory) and any(_HASHED.fullmatch(name) for name in os.listdir(directory))
    except OSError:
        return False


def _refuse(key: Path) -> Callable[[], str]:
    def refuse() -> NoReturn:
        hint = "store it without a passphrase, readable by you alone"
        raise RegistryError(f"the key {key} is encrypted", codes=(TLS,), hint=hint)

    return refuse


def _use(path: Path, what: str, load: Callable[[], object]) -> None:
    import ssl

    try:
        load()
    except ssl.SSLError as error:
        raise RegistryError(f"{path} is not {what}: {error.reason or 'no PEM'}", codes=(TLS,)) from error
    except OSError as error:
        raise RegistryError(f"cannot read {path}: {error.strerror}", codes=(TLS,)) from error
