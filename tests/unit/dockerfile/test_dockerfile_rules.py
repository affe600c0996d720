"""Every rule's own examples, its page, and the findings that need more than the text (dockerfile.md 2)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.context.ignore import IgnoreRules
from builder.dockerfile import rules
from builder.dockerfile.directives import CheckOptions
from builder.dockerfile.instructions import Add, Copy
from builder.dockerfile.lint import lint
from builder.dockerfile.lint_context import base_platform, sensitive_files, unmatched_wildcard
from builder.dockerfile.parser import parse
from builder.dockerfile.rules import Finding, Rule
from builder.dockerfile.sensitive import _PLACED_TOKENS, _TOKENS, may_hold_sensitive, sensitive

ROOT = Path(__file__).resolve().parents[3]
BY_NAME = {rule.name: rule for rule in rules.ALL}
SITUATIONS: dict[str, dict[str, Any]] = {
    "CopyIgnoredFile": {"ignored": lambda path: path.split("/")[0] == "tmp"},
    "UnknownBuildArg": {"build_args": {"VERSION": "2"}},
    "InvalidDefinitionDescription": {"options": CheckOptions(experimental=("all",))},
}


def check(text: str, **options: Any) -> list[Finding]:
    return list(lint(parse(text.encode()), **options))


def _from_engine(rule: Rule, text: str) -> list[Finding]:
    """What the engine adds: here the context holds config/app.toml only, and images are for linux/amd64."""
    found: list[Finding] = []
    for stage in parse(text.encode()).stages:
        if rule is rules.INVALID_BASE_IMAGE_PLATFORM:
            wanted = stage.from_.platform.text if stage.from_.platform else "linux/arm64"
            if wanted != "linux/amd64":
                found.append(base_platform("example/only-amd64", wanted, "linux/amd64", stage.from_.span))
        for item in stage.instructions:
            if rule is rules.UNMATCHED_WILDCARD and isinstance(item, Copy):
                found += [unmatched_wildcard(one.text, item.span) for one in item.sources if "config/" not in one.text]
    return found


@pytest.mark.parametrize("rule", rules.ALL, ids=lambda rule: rule.name)
def test_the_examples_of_every_rule(rule: Rule) -> None:
    options = SITUATIONS.get(rule.name, {})
    bad = [*check(rule.bad, **options), *_from_engine(rule, rule.bad)]
    assert [finding.rule.name for finding in bad] == [rule.name]
    assert [*check(rule.good, **options), *_from_engine(rule, rule.good)] == []


@pytest.mark.parametrize("rule", rules.ALL, ids=lambda rule: rule.name)
def test_every_rule_can_be_skipped_for_the_file_and_for_one_instruction(rule: Rule) -> None:
    options = SITUATIONS.get(rule.name, {})
    skipping = {**options, "options": CheckOptions(skip=(rule.name,), experimental=("all",))}
    assert check(rule.bad, **skipping) == []
    findings = check(rule.bad, **options)
    for finding in findings:
        lines = rule.bad.split("\n")
        start = next(
            item.span.start_line
            for stage in parse(rule.bad.encode()).stages
            for item in (*parse(rule.bad.encode()).global_args, stage.from_, *stage.instructions)
            if item.span.start_line <= finding.span.start_line <= item.span.end_line
        )
        lines.insert(start - 1, f"#\n# check=skip={rule.name}")
        assert finding.rule not in [one.rule for one in check("\n".join(lines), **options)]


def test_every_rule_has_a_page_of_its_own() -> None:
    assert len(BY_NAME) == len(rules.ALL) == 27
    assert len([rule for rule in rules.ALL if not rule.own]) == 21  # and InvalidBaseImagePlatform is BuildKit's too
    assert [rule.name for rule in rules.ALL if rule.experimental] == ["InvalidDefinitionDescription"]
    assert rules.JSON_ARGS_RECOMMENDED.url == "https://docs.docker.com/go/dockerfile/rule/json-args-recommended/"
    assert rules.UNMATCHED_WILDCARD.url == "docs/checks.md#unmatchedwildcard"
    page = (ROOT / "docs" / "checks.md").read_text(encoding="utf-8")
    for rule in rules.ALL:
        assert f"\n## {rule.name}\n" in page


@pytest.mark.parametrize(
    "path",
    [
        ".git", ".git/config", "sub/.git/HEAD", ".env", "a/.env", ".env.local", ".ENV", "id_rsa", ".ssh/config",
        "certs/server.key", "tls/privkey.pem", "server-key.pem", "a.p12", "a.pfx", ".npmrc", "web/.npmrc", ".pypirc",
        "pip.conf", "etc/pip.conf", "pip.ini", ".netrc", "_netrc", ".docker/config.json", "home/.docker/config.json",
        ".aws/credentials", ".kube/config", ".git-credentials", ".cargo/credentials.toml", "./.npmrc", ".gnupg/x",
    ],
)  # fmt: skip
def test_sensitive_files(path: str) -> None:
    assert sensitive(path) is not None


@pytest.mark.parametrize(
    "path",
    [
        "", ".", "a", ".gitignore", ".github/x", ".gitattributes", "env", ".env.example", ".env.sample", "id_rsa.pub",
        "cert.pem", "ca.crt", "public_key.pem", "pubkey.pem", "config.json", "docker/config.json", "aws/credentials",
        "credentials", "npmrc", ".dockerignore", "Dockerfile", "keys.py", ".envrc.d", "git/config", "monkey.txt",
    ],
)  # fmt: skip
def test_files_that_are_not_sensitive(path: str) -> None:
    assert sensitive(path) is None


def _copy(text: str) -> Copy | Add:
    [item] = parse(f"FROM scratch\n{text}".encode()).stages[0].instructions
    assert isinstance(item, Copy | Add)
    return item


def test_sensitive_files_of_a_context_are_one_finding() -> None:
    item = _copy("COPY . /")
    assert sensitive_files("COPY", [("", ["a", "b/c"]), ("b", ["c"])], item.span) is None
    paths = [".git/HEAD", ".git/config", "a", ".env", "web/.npmrc", "web/id_rsa", "x.key"]
    by_directory = [
        ("", [".git", "a", ".env"]),
        (".git", ["HEAD", "x.key"]),
        ("web", [".npmrc", "id_rsa"]),
        ("w", ["k.KEY"]),
    ]
    for places in ([("", paths)], by_directory):
        finding = sensitive_files("COPY", places, item.span)
        assert finding is not None
        assert finding.detail == (
            "COPY takes '.git', a git repository with its whole history; "
            "'.env', a file of environment variables, often with passwords; "
            "'web/.npmrc', a file where tools keep passwords and tokens and 2 more"
        )
        assert finding.span == item.span


@given(
    st.lists(
        st.sampled_from([".git", "a", "Id_Rsa", "x.KEY", "b.pem", ".env", ".aws", "credentials", "pip.conf"]),
        min_size=1,
    )
)
def test_no_sensitive_name_is_passed_over(names: list[str]) -> None:
    path = "/".join(names)
    if sensitive(path):
        assert may_hold_sensitive("", ["z", path])
        assert may_hold_sensitive("/".join(names[:-1]), [names[-1], "z"])


@pytest.mark.parametrize(
    "name", sorted({*_TOKENS, *_PLACED_TOKENS, "id_dsa", "k.key", "a.ppk", "x.jks", "my-priv.pem", ".ssh"})
)
def test_names_are_looked_at_together(name: str) -> None:
    assert sensitive(name) is not None
    assert may_hold_sensitive("", ["a", name, "b"])
    assert may_hold_sensitive("some/where", [name.upper()])
    assert not may_hold_sensitive("some/where", ["a", "pip", "key", "id", "monkey.txt"])


@pytest.mark.parametrize(
    ("line", "fires"),
    [
        ("COPY .env /app/", True),
        ("ADD ./web/../.npmrc /", True),
        ("COPY .git /src", True),
        ("COPY .git* /src/", False),  # the engine knows what it matches
        ("COPY --from=x .env /app/", False),
        ("COPY .env.example /app/.env", False),
        ("ADD https://example.com/.env /", False),
        ("COPY <<.env /app/\nE\n.env", False),
    ],
)
def test_literal_sources_that_are_sensitive(line: str, fires: bool) -> None:
    names = [finding.rule.name for finding in check(f"FROM scratch AS x\nFROM scratch\n{line}")]
    assert names == (["SensitiveFileCopied"] if fires else [])


@pytest.mark.parametrize(
    ("lines", "fires"),
    [
        ("COPY a b /c", True),
        ("COPY a* b /c", True),
        ("COPY <<A <<B /c\nA\nB", True),
        ("COPY --from=x a b /c", True),
        ('ADD ["a", "b", "c"]', True),
        ("ENV D=/c\nCOPY a b $D", True),
        ("ENV D=/c/\nCOPY a b $D", False),
        ("COPY a b /c/", False),
        ("COPY --parents a b /c", False),
        ("COPY a b .", False),
        ("COPY a b /c/.", False),
        ("COPY a b ..", False),
        ("COPY a /c", False),
        ("COPY a* /c", False),
        ("COPY a/ b/ /c", False),
        ("COPY . b /c", False),
        ("WORKDIR /c\nCOPY a b /c", False),
    ],
)
def test_several_sources_need_a_directory(lines: str, fires: bool) -> None:
    names = [finding.rule.name for finding in check(f"FROM scratch AS x\nFROM scratch\n{lines}")]
    assert names == (["SeveralSourcesNoDirectory"] if fires else [])


@pytest.mark.parametrize(
    ("text", "given", "details"),
    [
        ("FROM scratch\nARG A", {"A": "1"}, []),
        ("ARG A\nFROM scratch", {"A": None}, []),
        ("FROM scratch\nONBUILD ARG A", {"A": "1"}, []),
        ("FROM scratch", {"http_proxy": "1", "No_Proxy": "1", "TARGETARCH": "x", "SOURCE_DATE_EPOCH": "0"}, []),
        ("FROM scratch", {"BUILDKIT_SYNTAX": "dockerfile.v0", "BUILDKIT_ATTEST_SBOM": ""}, []),
        ("FROM scratch", {"FROM_BASE": "1"}, []),
        ("FROM scratch", {"X": "1"}, ["no ARG declares the build argument 'X'"]),
        (
            "FROM scratch\nARG VERSION",
            {"VERSOIN": "1"},
            ["no ARG declares the build argument 'VERSOIN' (did you mean VERSION?)"],
        ),
        (
            "FROM scratch\nARG Version",
            {"VERSION": "1"},
            ["no ARG declares the build argument 'VERSION' (did you mean Version?)"],
        ),
    ],
)
def test_unknown_build_arguments(text: str, given: dict[str, str | None], details: list[str]) -> None:
    found = check(text, build_args=given, base_args=["FROM_BASE"])
    assert [finding.detail for finding in found] == details


def test_build_arguments_are_not_unknown_while_the_file_is() -> None:
    assert check("FROM scratch", build_args={"X": "1"}, base_args=None) == []
    assert check("FROM scratch", build_args={"X": "1"}) != []


@pytest.mark.parametrize(
    ("patterns", "source", "fires"),
    [
        ("a", "a", True),
        ("a", "./b/../a/", True),
        ("a", "a/b", True),
        ("a", "b", False),
        ("*", ".", True),
        ("**", "/", True),
        ("**/*", ".", True),
        ("a", ".", False),
        ("*", "a*", False),
        ("a*", "$A", True),
        ("a", "http://x/a", False),
    ],
)
def test_ignored_sources(patterns: str, source: str, fires: bool) -> None:
    ignored = IgnoreRules.parse(patterns.encode()).matches
    found = check(f"FROM scratch\nENV A=ab\nADD {source} /x/", ignored=ignored)
    assert [finding.rule.name for finding in found] == (["CopyIgnoredFile"] if fires else [])


def test_the_short_way_to_no_agrees_with_the_long_one() -> None:
    """A hidden first component takes the long way and changes nothing."""
    names = [
        *_TOKENS,
        *_PLACED_TOKENS,
        "id_rsa",
        "id_ed25519_sk",
        "a.key",
        "a.PPK",
        "my-key.pem",
        "priv.pem",
        "cert.pem",
    ]
    names += ["a", "pip.conf.md", "identity", "x/y.txt", "key", "environment", "config.json", "credentials"]
    for name in names:
        for path in (name, f"a/{name}", f"{name}/b", name.upper()):
            assert sensitive(path) == sensitive(f"./{path}") == sensitive(f".x/{path}"), path
