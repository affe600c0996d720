"""What the command line gives RUN: agents, hosts, name servers, limits, permissions. From texts to checked values.

cli-and-outputs.md 3.1. What certainly cannot be is refused here, before any work.
"""

from __future__ import annotations

import binascii
import os
import re
import resource
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from builder.cli.amounts import size
from builder.engine.request import AgentSource
from builder.errors import ContextError, UsageError
from builder.patterns import pattern
from builder.run.spec import ULIMITS, UNLIMITED, Provision

ENTITLEMENTS = ("network.host", "security.insecure")
HOST_GATEWAY = "host-gateway"

_NAME = pattern(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,253}[A-Za-z0-9_])?\.?\Z", re.ASCII)
_SCOPE = pattern(r"%.*[^A-Za-z0-9_.-]", re.DOTALL)  # a scope of IPv6 that is no interface's name
_ID = pattern(r"[A-Za-z0-9_.@-]{1,128}\Z", re.ASCII)
_LEAST_MEMORY = 4 << 20
_KEY_LIMIT = 64 << 10
_MAGIC = b"openssh-key-v1\0"


def permissions(texts: Sequence[str]) -> frozenset[str]:
    """Return what ``--allow`` grants. Raises UsageError."""
    from builder.dockerfile.suggest import nearest

    for text in texts:
        if text not in ENTITLEMENTS:
            close = nearest(text, ENTITLEMENTS)
            hint = f"did you mean {close}?" if close else f"one of {', '.join(ENTITLEMENTS)}"
            raise UsageError(f"--allow {text}: there is no such permission", hint=hint)
    return frozenset(texts)


def provision(memory: str | None, cpus: str | None, dns: Sequence[str], search: Sequence[str]) -> Provision:
    """Return what every step is given and no cache key knows. Raises UsageError."""
    for text in search:
        if not _NAME.match(text):
            raise UsageError(f"--dns-search {text}: not a domain")
    return Provision(
        memory=None if memory is None else _memory(memory),
        cpus=None if cpus is None else _cpus(cpus),
        dns=tuple(_address("--dns", text, text) for text in dns),
        search=tuple(search),
    )


def shm_size(text: str | None) -> int:
    """Return bytes; 0 for the usual size. Raises UsageError."""
    return 0 if text is None else size("--shm-size", text)


def hosts(texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return (name, address) pairs of ``NAME:ADDRESS`` or ``NAME=ADDRESS``. Raises UsageError.

    ``host-gateway`` is this machine, whose network steps share: its loopback address.
    """
    found = []
    for text in texts:
        parts = re.split("[:=]", text, maxsplit=1)
        if len(parts) < 2 or not _NAME.match(parts[0]):
            raise UsageError(f"--add-host {text}: expected NAME:ADDRESS", hint="e.g. db:10.0.0.5 or db=fd00::5")
        address = parts[1]
        if address.startswith("[") and address.endswith("]"):
            address = address[1:-1]
        found.append((parts[0], "127.0.0.1" if address == HOST_GATEWAY else _address("--add-host", text, address)))
    return tuple(found)


def ulimits(texts: Sequence[str]) -> tuple[tuple[str, int, int], ...]:
    """Return (name, soft, hard), the last of each name. Raises UsageError, also for what this user cannot raise."""
    from builder.dockerfile.suggest import nearest

    found = {}
    for text in texts:
        name, equals, values = text.partition("=")
        if name not in ULIMITS:
            close = nearest(name, ULIMITS)
            hint = f"did you mean {close}?" if close else f"one of {', '.join(ULIMITS)}"
            raise UsageError(f"--ulimit {text}: there is no limit {name!r}", hint=hint)
        soft, colon, hard = values.partition(":")
        if not equals or not _is_limit(soft) or (colon and not _is_limit(hard)):
            raise UsageError(f"--ulimit {text}: expected NAME=SOFT[:HARD]", hint="numbers, or unlimited")
        low, high = _limit(soft), _limit(hard if colon else soft)
        if low > high:
            raise UsageError(f"--ulimit {text}: the soft limit is above the hard one")
        _must_be_possible(name, high, text)
        found[name] = (name, low, high)
    return tuple(found.values())


def agents(texts: Sequence[str], environment: Mapping[str, str]) -> dict[str, AgentSource]:
    """Return the agents by id, from ``ID``, ``ID=SOCKET`` and ``ID=KEY,KEY``. Raises UsageError, ContextError."""
    found = {}
    for text in texts:
        identity, equals, value = text.partition("=")
        if not _ID.match(identity) or (equals and not value):
            raise UsageError(f"--ssh {text}: expected ID or ID=SOCKET or ID=KEY[,KEY...]", hint="e.g. --ssh default")
        if identity in found:
            raise UsageError(f"--ssh {identity} is given twice")
        found[identity] = _agent(text, value.split(",") if equals else [], environment)
    return found


def _agent(text: str, paths: Sequence[str], environment: Mapping[str, str]) -> AgentSource:
    if not paths:
        place = environment.get("SSH_AUTH_SOCK", "")
        if not place:
            hint = "start an agent (eval $(ssh-agent); ssh-add), or give a socket or keys: --ssh ID=FILE"
            raise UsageError(f"--ssh {text}: SSH_AUTH_SOCK is not set", hint=hint)
        paths = [place]
    kinds = [_kind(text, path) for path in paths]
    if any(kinds) and len(paths) > 1:
        raise UsageError(f"--ssh {text}: either one socket of an agent, or files of keys")
    found = tuple(Path(os.path.abspath(path)) for path in paths)
    if any(kinds):
        return AgentSource(socket=found[0])
    for path in found:
        _must_be_a_key(text, path)
    return AgentSource(keys=found)


def _kind(text: str, path: str) -> bool:
    """Say whether ``path`` is a socket. Raises ContextError for one that is not there."""
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError as error:
        raise ContextError(f"--ssh {text}: {path}: {error.strerror}") from error


def _must_be_a_key(text: str, path: Path) -> None:
    try:
        with open(path, "rb") as stream:
            data = stream.read(_KEY_LIMIT)
    except OSError as error:
        raise ContextError(f"--ssh {text}: cannot read the key {path}: {error.strerror}") from error
    if b"PRIVATE KEY-----" not in data:
        raise ContextError(f"--ssh {text}: {path} is neither a socket nor a private key")
    if _is_encrypted(data):
        hint = "add it to an agent: ssh-add FILE, then --ssh ID"
        raise ContextError(f"--ssh {text}: the key {path} has a passphrase", hint=hint)


def _is_encrypted(data: bytes) -> bool:
    if b"ENCRYPTED" in data:
        return True
    try:
        body = binascii.a2b_base64(b"".join(line for line in data.splitlines() if not line.startswith(b"-----")))
    except binascii.Error:
        return False
    cipher = body.removeprefix(_MAGIC)
    return body.startswith(_MAGIC) and cipher[4 : 4 + int.from_bytes(cipher[:4], "big")] != b"none"


def _memory(text: str) -> int:
    value = size("--memory", text)
    if value < _LEAST_MEMORY:
        raise UsageError(f"--memory {text}: at least 4m, or no command can start")
    return value


def _cpus(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.01 <= value <= 10_000:
        raise UsageError(f"--cpus {text}: expected a number of CPUs, at least 0.01", hint="e.g. 1.5")
    return value


def _address(option: str, text: str, address: str) -> str:
    import ipaddress

    try:
        if not _SCOPE.search(address):
            return str(ipaddress.ip_address(address))
    except ValueError:
        pass
    raise UsageError(f"{option} {text}: {address!r} is not an IP address")


def _is_limit(text: str) -> bool:
    return text in ("-1", "unlimited") or (text.isascii() and text.isdigit() and len(text) < 19)


def _limit(text: str) -> int:
    return UNLIMITED if text in ("-1", "unlimited") else int(text)


def _must_be_possible(name: str, hard: int, text: str) -> None:
    """Refuse a hard limit above ours where nobody may raise it. With the capability the kernel has the last word."""
    ours = resource.getrlimit(ULIMITS.index(name))[1] % (1 << 64)
    if hard > ours and not _may_raise_limits():
        raise UsageError(
            f"--ulimit {text}: the hard limit of {name} is {ours} here, and this user cannot raise it",
            hint="raise it before pybuild starts (limits.conf, LimitNOFILE=, docker run --ulimit), or ask for less",
        )


def _may_raise_limits() -> bool:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return True
    effective = next((int(line.split()[1], 16) for line in lines if line.startswith("CapEff:")), 0)
    return bool(effective >> 24 & 1)  # CAP_SYS_RESOURCE
