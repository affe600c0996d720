"""A certificate authority of a test's own, made with the openssl tool: servers and clients that it vouches for."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.commands import run
from tests.support.need import need_tool

# Elliptic keys: an RSA key takes a second of a busy machine.
_NEW = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")


@dataclass
class Authority:
    """A CA; ``ca_file`` is what has to be trusted. Every certificate gets files of its own in ``directory``."""

    directory: Path
    ca_file: Path
    ca_key: Path
    _made: list[str] = field(default_factory=list)

    def server(self, names: Sequence[str] = ("localhost", "127.0.0.1", "::1")) -> tuple[Path, Path]:
        """Return the PEM files of a certificate for host names and addresses, and of its key."""
        alternatives = ",".join(f"{'IP' if _is_address(name) else 'DNS'}:{name}" for name in names)
        return self._sign("server", f"subjectAltName={alternatives}", "extendedKeyUsage=serverAuth")

    def client(self, name: str = "client") -> tuple[Path, Path]:
        """Return the PEM files of a certificate that a client shows, and of its key."""
        return self._sign(name, "extendedKeyUsage=clientAuth")

    def _sign(self, name: str, *extensions: str) -> tuple[Path, Path]:
        self._made.append(name)
        stem = f"{name}-{len(self._made)}"
        certificate, key = self.directory / f"{stem}.pem", self.directory / f"{stem}.key"
        command: list[str | Path] = [need_tool("openssl"), *_NEW, "-subj", f"/CN={name}"]
        command += ["-CA", self.ca_file, "-CAkey", self.ca_key]
        for extension in ("basicConstraints=critical,CA:FALSE", *extensions):
            command += ["-addext", extension]
        run([*command, "-keyout", key, "-out", certificate])
        return certificate, key


def make_authority(directory: Path, name: str = "test CA") -> Authority:
    """Return a new authority whose files are in ``directory``, which is made if need be."""
    directory.mkdir(parents=True, exist_ok=True)
    ca_file, ca_key = directory / "ca.pem", directory / "ca.key"
    usage = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]
    run([need_tool("openssl"), *_NEW, "-subj", f"/CN={name}", *usage, "-keyout", ca_key, "-out", ca_file])
    return Authority(directory, ca_file, ca_key)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
