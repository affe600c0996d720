"""What may work later."""

from __future__ import annotations

from builder.catalog.kinds import Kind

KINDS = (
    Kind(
        code="PB7501",
        title="A server is out of reach for now",
        errors=("TransientContextError",),
        texts=(
            "git {verb} of {remote} failed: {value}",
            "cannot fetch {url}: {message}",
        ),
        cause="The server of a URL or of a git repository did not answer, or answered that it is busy. Retries did "
        "not help.",
        way_out="Try again later; exit status 75 tells scripts that this may help.",
    ),
    Kind(
        code="PB7502",
        title="A registry is out of reach",
        errors=("TransientRegistryError",),
        texts=(
            "{host} hung up in the TLS handshake",
            "{host} stopped answering",
            "{host} answers too slowly: fewer than {limit} bytes in {seconds} s",
            "the connection to {host} broke: {error}",
            "the proxy {proxy} does not lead to {host}: {answer}",
            "cannot connect to {name}: no connection in time",
            "the name of {name} cannot be resolved: {reason}",
            "the name {host} cannot be resolved: {reason}",
            "cannot connect to {name}: {reason}",
            "the connection to {host} broke",
        ),
        cause="The name cannot be resolved, nobody listens there, or the connection broke; retries did not help.",
        way_out="Check the name, the network and `$HTTPS_PROXY`. If the image is in the store, `--pull=never` or "
        "`--offline` builds with it.",
    ),
    Kind(
        code="PB7503",
        title="A registry is busy or broken",
        errors=("TransientRegistryError",),
        texts=(
            "{action}: {host} answered {status}",
            "{action}: {host} answered {status} ({answer})",
            "the server answered {status}",
        ),
        cause="The registry answered that it has too many requests or a failure of its own (429, 500 to 504). Retries"
        " with pauses did not help.",
        way_out="Try again later; logging in often raises limits.",
    ),
    Kind(
        code="PB7504",
        title="A transfer broke off",
        errors=("TransientRegistryError",),
        texts=(
            "the server sent {size} of {expected} bytes",
            "the manifest of {reference} has digest {found}, expected {expected}",
            "{action}: {registry} stored something else than {digest}",
            "{action}: it cannot be resumed",
            "{action}: {size} bytes have digest {found}, expected {expected}",
            "{action}: the bytes have digest {found}, expected {expected}",
            "{action}: it ended after {number} of {size} bytes",
            "{action}: another range was sent than asked for",
            "{action}: the login expired on the way",
            "{action}: the registry has {size} bytes of {expected}",
        ),
        cause="Bytes ended early, arrived twice, or a login expired on the way, and no retry finished it.",
        way_out="Try again: what has arrived is kept. A proxy that cuts long transfers is a common cause.",
    ),
)
