"""Accounts and credentials."""

from __future__ import annotations

from builder.catalog.kinds import Kind

KINDS = (
    Kind(
        code="PB7701",
        title="The registry does not let us in",
        errors=("AuthenticationError",),
        texts=(
            "{action}: {host} answered {status}",
            "{action}: {host} answered {status} ({answer})",
        ),
        cause="No account was sent, it was refused, or it may not do this. Some registries answer so for repositories"
        " that do not exist.",
        way_out="`pybuild login --check REF` says which account is used and where it comes from; `pybuild login HOST` "
        "sets it.",
    ),
    Kind(
        code="PB7702",
        title="A file with accounts cannot be read",
        errors=("AuthenticationError",),
        texts=(
            "the auths in {path} are no JSON object",
            "{name} is larger than {limit} bytes",
            "{name} is not a JSON object",
            "cannot read the accounts in {path}: {reason}",
            "the entry in {file} ({key}) is not base64 of user:password",
        ),
        cause="A `config.json` or `auth.json` is damaged, or an entry in it is not base64 of user:password.",
        way_out="Repair or remove the file, then `pybuild login` again.",
    ),
    Kind(
        code="PB7703",
        title="A credential helper does not work",
        errors=("AuthenticationError",),
        texts=(
            "{program} gave no answer for {registry} within {seconds} s",
            "{program} does not run: {reason}",
            "{program} failed for {registry} with status {status}",
            "{program} answered with something else than a list of accounts",
            "{program} answered for {registry} with something else than an account",
            "{where} names {name}, which is no credential helper",
            "{where} names the credential helper {program}, which is not in PATH",
        ),
        cause="The program that an account file names is missing, failed, or answered with something else.",
        way_out="Install it, or remove it from that file; `echo HOST | docker-credential-NAME get` tries it.",
    ),
    Kind(
        code="PB7704",
        title="The token server cannot be used",
        errors=("AuthenticationError",),
        texts=(
            "the token server of {host} sends us to another server, where credentials do not go",
            "the token server of {host} redirects without end",
            "{host} names a token server that is no http(s) URL",
            "{host} wants the password sent in clear text to {server}",
            "the token server of {host} sent no usable token",
        ),
        cause="The registry sends us for a token to a server that redirects elsewhere, wants clear text, or gives "
        "none. Credentials never go to a third server.",
        way_out="Check the registry's settings; one of your own on plain http has to be at a loopback address.",
    ),
)
