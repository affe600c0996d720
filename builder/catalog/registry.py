"""Registries and servers of URLs."""

from __future__ import annotations

from builder.catalog.kinds import Kind

KINDS = (
    Kind(
        code="PB6901",
        title="A registry refused",
        errors=("RegistryError",),
        texts=(
            "{action}: {host} answered {status}",
            "{action}: {host} answered {status} ({answer})",
        ),
        cause="The registry answered with an error. `404` is often a misspelled name, or a private repository that is"
        " not shown to strangers; the words in parentheses are the registry's.",
        way_out="Check the name (`pybuild tags HOST/NAME`), log in (`pybuild login HOST`), and look at the status page "
        "of the registry.",
    ),
    Kind(
        code="PB6902",
        title="TLS does not work",
        errors=("RegistryError",),
        texts=(
            "{host} refuses this client's certificate or misses one: {reason}",
            "{host} does not speak TLS as we do: {value}",
            "the certificate of {host} or of the proxy {proxy} is not trusted: {reason}",
            "the certificate of {host} is not trusted: {reason}",
        ),
        cause="The certificate is not one that this machine trusts, the registry wants one from us, or it speaks "
        "plain http.",
        way_out="Authorities of one's own go into certs.d, `ca` in pybuild.toml, or `$SSL_CERT_FILE`; a registry "
        "without TLS needs `--insecure-registry HOST`. See docs/registries.md.",
    ),
    Kind(
        code="PB6903",
        title="That is not how a registry answers",
        errors=("RegistryError",),
        texts=(
            "{action}: more than {limit}",
            "{action}: {registry} sent something else",
            "{action}: there are more than {limit}",
            "{action}: a page of more than {limit} bytes",
            "{action}: {registry} lists pages without end",
            "{action}: the next page is at another address",
            "{registry} is no host and port of a registry",
            "{action}: {registry} redirects without end",
            "{action}: {registry} answered with a web page",
            "{action}: {registry} gave no usable address for the upload",
            "a request to {host} or its redirect has a name that cannot be sent",
            "cannot talk to {host}: {name}",
        ),
        cause="The answer is a web page, redirects without end, or is much larger than it may be: a login page, a "
        "proxy, or another kind of server.",
        way_out="Open the address with curl; check the host and the path.",
    ),
    Kind(
        code="PB6904",
        title="The proxy does not work",
        errors=("RegistryError",),
        texts=(
            "the proxy {proxy} speaks SOCKS, which is not installed",
            "{proxy} is no URL of a proxy",
            "the proxy {proxy} does not lead to {host}: {answer}",
        ),
        cause="`$HTTP_PROXY` or `$HTTPS_PROXY` is no usable URL, or the proxy does not lead to the registry.",
        way_out="Correct the variable, or name the registry in `$NO_PROXY`.",
    ),
    Kind(
        code="PB6905",
        title="A certificate or key on this machine cannot be used",
        errors=("RegistryError",),
        texts=(
            "{path} is no file",
            "cannot read {path}: {reason}",
            "{path} is larger than {limit} bytes",
            "{directory} has no key beside it",
            "{directory} has no certificate beside it",
            "the key {key} is encrypted",
            "{path} is not {what}: {value}",
        ),
        cause="A file of certs.d, or one that pybuild.toml names, is missing its partner, encrypted, unreadable or "
        "not PEM.",
        way_out="Keep `client.cert` and `client.key` side by side, without a passphrase and readable by you alone.",
    ),
    Kind(
        code="PB6906",
        title="A hosts.toml is wrong",
        errors=("RegistryError",),
        texts=(
            "{path}: {place}: expected a file, or pairs of a certificate and its key",
            "{path}: {place}: expected a header that can be sent",
            "{path}: {place}: expected a string or several",
            "{path}: {place}: expected true or false",
            "{path} is not TOML: {error}",
            "{path}: {place}: expected a URL",
            "{path}: {place}: expected tables, at most {limit}",
            "{path}: {place}: expected {expected}",
            "{path}: {place}: expected a table",
            "{path}: {place}: expected a URL: {error}",
            "{path}: {place}: expected some of pull, resolve, push",
        ),
        cause="A file of containerd's kind for mirrors has a field that cannot be understood.",
        way_out="The message has the path of the field.",
    ),
    Kind(
        code="PB6907",
        title="--offline forbids asking a registry",
        errors=("RegistryError",),
        texts=("--offline: a registry would have to be asked",),
        cause="The build needs an image that is not in the store.",
        way_out="Fetch it before (`pybuild pull`, `pybuild warm`), or drop `--offline`.",
    ),
    Kind(
        code="PB6909",
        title="A layer is only at another address",
        errors=("RegistryError",),
        texts=("{action}: {registry} does not have it, and none of its own URLs can be used",),
        cause="Layers that may not be redistributed are fetched from their own URLs, which do not work from here.",
        way_out="Allow https to that host, or push the image with its layers to your registry.",
    ),
)
