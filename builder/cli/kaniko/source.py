"""Where an executor's context and Dockerfile are, in our words."""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import quote

from builder.cli.human import plain
from builder.cli.kaniko.flags import FLAGS
from builder.cli.kaniko.given import Given
from builder.cli.parsing import truth
from builder.errors import UsageError
from builder.patterns import pattern
from builder.values import dataclass

_WORKSPACE = "/workspace/"
_AZURE = pattern(
    r"https://[a-z0-9]{1,64}\.blob\.core\.(?:windows\.net|chinacloudapi\.cn|cloudapi\.de|usgovcloudapi\.net)/"
)
_COMMIT = pattern(r"[0-9a-fA-F]{40}(?:[0-9a-fA-F]{24})?")
_ACCOUNT = pattern(r"://[^/@\s]*@")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The last word of our command, ``-f`` if it is needed, a file for standard input; ``local`` is a directory."""

    context: str
    dockerfile: str = ""
    stdin: str = ""
    local: bool = False
    notices: tuple[str, ...] = ()


def hidden(text: str) -> str:
    """Return a text for people, without the account of a URL."""
    return _ACCOUNT.sub("://...@", text)


def source(given: Given, environment: Mapping[str, str]) -> Source:
    """Return where the files are. Raises UsageError for places that only cloud clients reach."""
    where = given.text("context", _WORKSPACE)
    part = given.text("context-sub-path")
    scheme, mark, rest = where.partition("://")
    if not (rest if mark else scheme):
        raise UsageError("--context is empty", hint="perhaps a variable is not set; add --context .")
    match scheme if mark else "":
        case "":
            _must_be_there(given, where)
            told = ("--context-sub-path is left out: it needs a context with dir:// or git://",) if part else ()
            return _in_directory(given, where, told)
        case "dir":
            return _in_directory(given, os.path.join(rest, part) if part else rest)
        case "git":
            return _from_afar(given, _repository(given, rest, part, environment))
        case "tar":
            _no_part(part, where)
            return _from_afar(given, "-", "" if rest == "stdin" else rest)
        case "https" if not _AZURE.match(where):
            _no_part(part, where)
            return _from_afar(given, where)
        case _:
            raise UsageError(f"--context {hidden(where)}: not from there", hint=plain(FLAGS["bucket"].here))


def _must_be_there(given: Given, where: str) -> None:
    if not given.has("context") and not os.path.isdir(where):
        raise UsageError(f"without --context it is {where}, and that is not here", hint="add --context .")


def _no_part(part: str, where: str) -> None:
    if part:
        hint = "unpack the archive, and name the directory with --context dir://DIR"
        raise UsageError(f"--context-sub-path {part}: {hidden(where)} is taken as a whole", hint=hint)


def _in_directory(given: Given, directory: str, notices: tuple[str, ...] = ()) -> Source:
    """An executor looks for the Dockerfile where it is, and then in the context."""
    name = _dockerfile(given)
    inside = os.path.join(directory, name)
    if os.path.exists(name):
        usual = os.path.realpath(name) == os.path.realpath(os.path.join(directory, "Dockerfile"))
        named = "" if usual else name
    else:
        named = "" if name == "Dockerfile" else inside
    # A bare word could be the name of a target.
    context = directory if "/" in directory or directory[:1] == "." else f"./{directory}"
    return Source(context=context, dockerfile=named, local=True, notices=notices)


def _from_afar(given: Given, context: str, stdin: str = "") -> Source:
    name = _dockerfile(given)
    if not os.path.isfile(name):
        return Source(context=context, dockerfile="" if name == "Dockerfile" else name, stdin=stdin)
    if context == "-":
        if not given.has("dockerfile"):
            return Source(context=context, stdin=stdin)
        hint = "put it into the archive, or unpack that and name the directory"
        raise UsageError(f"--dockerfile {name}: the context already takes standard input", hint=hint)
    return Source(context=context, dockerfile="-", stdin=name)


def _dockerfile(given: Given) -> str:
    name = given.text("dockerfile", "Dockerfile")
    if name.startswith(("http://", "https://")):
        raise UsageError(f"--dockerfile {hidden(name)}: not from a URL", hint="fetch it first, and name the file")
    return name


def _repository(given: Given, rest: str, part: str, environment: Mapping[str, str]) -> str:
    """Return the URL of a repository: ``HOST/PATH[#REF[#COMMIT]]`` with the account that the environment has."""
    address, *marks = rest.split("#")
    reference, commit = (*marks, "", "")[:2]
    fields = _git_fields(given.text("git"))
    reference = commit if _COMMIT.fullmatch(commit) else fields.get("branch") or reference
    if commit and not _COMMIT.fullmatch(commit):
        raise UsageError(
            f"--context git://...#{commit}: a commit has its whole name", hint="40 or 64 hexadecimal digits"
        )
    scheme = "http" if environment.get("GIT_PULL_METHOD") == "http" else "https"
    account, at, place = address.rpartition("@")
    account = _account(environment) or (f"{account}:" if at and ":" not in account else account)
    if not place.rstrip("/").endswith(".git"):
        place = place.rstrip("/") + ".git"  # what tells a repository from an archive here
    url = f"{scheme}://{account}{'@' if account else ''}{place}?keep-git-dir=true"
    if not truth("--git recurse-submodules", fields.get("recurse-submodules", "false")):
        url += "&submodules=false"
    fragment = reference + (f":{part}" if part else "")
    return url + (f"#{fragment}" if fragment else "")


def _account(environment: Mapping[str, str]) -> str:
    if token := environment.get("GIT_TOKEN", ""):
        return f"{quote(token, safe='')}:"
    user, password = environment.get("GIT_USERNAME", ""), environment.get("GIT_PASSWORD", "")
    return f"{quote(user, safe='')}:{quote(password, safe='')}" if user or password else ""


def _git_fields(text: str) -> dict[str, str]:
    known = ("branch", "single-branch", "depth", "recurse-submodules", "insecure-skip-tls")
    fields: dict[str, str] = {}
    for word in filter(None, text.split(",")):
        name, equals, value = word.partition("=")
        if not equals or name not in known:
            raise UsageError(f"--git {text}: unknown word {word!r}", hint=f"one of {', '.join(known)}, with =VALUE")
        fields[name] = value
    if truth("--git insecure-skip-tls", fields.get("insecure-skip-tls", "false")):
        hint = "name the server's authority: GIT_SSL_CAINFO=FILE"
        raise UsageError("--git insecure-skip-tls: repositories are read from servers with a certificate", hint=hint)
    return fields
