"""The ``proxies`` of Docker's client configuration, which become build arguments as ``docker build`` makes them.

Only the entry ``default`` counts: the others are for daemons, and there is none. A file that cannot be read or is
broken gives no proxies; it is an error where credentials are looked up in it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

_VARIABLES = {
    "httpProxy": "HTTP_PROXY",
    "httpsProxy": "HTTPS_PROXY",
    "ftpProxy": "FTP_PROXY",
    "noProxy": "NO_PROXY",
    "allProxy": "ALL_PROXY",
}
_FILE_LIMIT = 1 << 20


def proxy_arguments(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the predefined build arguments, each in upper and lower case; they may hold passwords."""
    home = environment.get("HOME", "")
    directory = environment.get("DOCKER_CONFIG") or (home and f"{home}/.docker")
    if not directory:
        return {}
    try:
        with open(os.path.join(directory, "config.json"), "rb") as stream:
            document = json.loads(stream.read(_FILE_LIMIT))
    except (OSError, ValueError, RecursionError):
        return {}
    proxies = _table(_table(document, "proxies"), "default")
    found: dict[str, str] = {}
    for key, name in _VARIABLES.items():
        value = proxies.get(key)
        if isinstance(value, str) and value:
            found[name] = found[name.lower()] = value
    return found


def _table(value: object, key: str) -> Mapping[str, object]:
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}
