"""The build checks of dockerfile.md 2: each rule fires on its trigger and stays quiet next to it."""

from __future__ import annotations

import pytest

from builder.dockerfile.directives import CheckOptions
from builder.dockerfile.lint import check_options, lint
from builder.dockerfile.parser import parse, parse_partial
from builder.dockerfile.source import DockerfileError

EVERYTHING = CheckOptions(experimental=("all",))


def found(text: str, options: CheckOptions | None = EVERYTHING) -> list[tuple[str, int]]:
    return [(item.rule.name, item.span.start_line) for item in lint(parse(text.encode()), options=options)]


@pytest.mark.parametrize(
    ("rule", "text", "lines"),
    [
        ("StageNameCasing", "FROM scratch AS Base", [1]),
        ("StageNameCasing", "FROM scratch AS base", []),
        ("FromAsCasing", "FROM scratch as base", [1]),
        ("FromAsCasing", "from scratch AS base", [1]),
        ("FromAsCasing", "from scratch as base", []),
        ("FromAsCasing", "From scratch as base", []),
        ("NoEmptyContinuation", "FROM scratch\nCOPY a \\\n\n\\\n\nb", [3, 5]),
        ("NoEmptyContinuation", "FROM scratch\nCOPY a \\\n# comment\nb", []),
        ("ConsistentInstructionCasing", "FROM scratch\nCOPY a b\ncopy c d\n", [3]),
        ("ConsistentInstructionCasing", "from scratch\ncopy a b\nCOPY c d\n", [3]),
        ("ConsistentInstructionCasing", "FROM scratch\ncopy a b\n", [2]),
        ("ConsistentInstructionCasing", "FROM scratch\nCopy a b\n", [2]),
        ("ConsistentInstructionCasing", "from scratch\ncopy a b\n", []),
        ("DuplicateStageName", "FROM scratch AS a\nFROM scratch AS A\nFROM scratch AS b", [2]),
        ("ReservedStageName", "FROM scratch AS scratch\nFROM scratch AS Context\nFROM scratch AS x", [1, 2]),
        ("JSONArgsRecommended", "FROM scratch\nCMD a\nENTRYPOINT b\n", [2, 3]),
        ("JSONArgsRecommended", 'FROM scratch\nCMD ["a"]\n', []),
        ("JSONArgsRecommended", 'FROM scratch AS x\nSHELL ["a"]\nCMD a\nFROM x\nCMD b\n', []),
        ("MaintainerDeprecated", "FROM scratch\nMAINTAINER me", [2]),
        (
            "UndefinedArgInFrom",
            "ARG V=1\nFROM a:$V\nFROM b:$W\nFROM --platform=$BUILDPLATFORM c\nFROM --platform=$P d",
            [3, 5],
        ),
        ("UndefinedArgInFrom", "FROM a:${V:-1}", [1]),
        ("WorkdirRelativePath", "FROM scratch\nWORKDIR a\nWORKDIR b", [2]),
        ("WorkdirRelativePath", "FROM scratch AS x\nWORKDIR /a\nFROM x\nWORKDIR b", []),
        ("WorkdirRelativePath", "FROM scratch\nENV d=/x\nWORKDIR $d", []),
        ("WorkdirRelativePath", "FROM unknown\nWORKDIR $d", []),
        ("UndefinedVar", "FROM scratch\nCOPY $a $b", [2, 2]),
        ("UndefinedVar", "FROM scratch\nARG a\nENV b=1\nCOPY $a $b$PATH", []),
        ("UndefinedVar", "ARG a=1\nFROM scratch\nCOPY $a /", [3]),
        ("UndefinedVar", "FROM scratch\nENV a=1 b=$a", [2]),
        ("UndefinedVar", "FROM scratch AS x\nENV a=1\nARG c\nFROM x\nCOPY $a $c", []),
        ("UndefinedVar", "FROM unknown\nCOPY $a /", []),
        ("UndefinedVar", "FROM scratch\nRUN echo $a\nCMD [\"$a\"]\nCOPY --exclude=$a <<'E' /x\n$a\nE\n", []),
        (
            "UndefinedVar",
            "FROM scratch\nCOPY <<E /x\n$a\nE\nLABEL x=$b\nARG y=$c\nEXPOSE $d\nUSER $e\nVOLUME $f",
            [2, 5, 6, 7, 8, 9],
        ),
        ("MultipleInstructionsDisallowed", 'FROM scratch\nCMD ["a"]\nCMD ["b"]\nCMD ["c"]', [2, 3]),
        ("MultipleInstructionsDisallowed", 'FROM scratch AS a\nCMD ["a"]\nFROM a\nCMD ["b"]', []),
        ("MultipleInstructionsDisallowed", 'FROM scratch\nHEALTHCHECK NONE\nENTRYPOINT ["a"]\nHEALTHCHECK NONE', [2]),
        ("LegacyKeyValueFormat", "FROM scratch\nENV a b\nLABEL a b\nENV a=b", [2, 3]),
        ("RedundantTargetPlatform", "FROM --platform=$TARGETPLATFORM a\nFROM --platform=${TARGETPLATFORM} b", [1, 2]),
        ("RedundantTargetPlatform", "FROM --platform=$BUILDPLATFORM a", []),
        ("SecretsUsedInArgOrEnv", "ARG TOKEN\nFROM scratch\nARG my_password=1\nENV API_KEY=1 AUTH_x=2", [1, 3, 4, 4]),
        ("SecretsUsedInArgOrEnv", "FROM scratch\nARG PUBLIC_KEY KEY_FILE tokenizer monkey\nENV PATH=/", []),
        ("InvalidDefaultArgInFrom", "ARG V\nFROM a:$V\nFROM $V\nFROM a$V", [2, 3]),
        ("InvalidDefaultArgInFrom", "ARG V=1\nFROM a:$V\nFROM ${V:-x}/y", []),
        ("FromPlatformFlagConstDisallowed", "FROM --platform=linux/amd64 a", [1]),
        ("FromPlatformFlagConstDisallowed", "FROM --platform=linux/amd64 a AS build-amd64", []),
        ("FromPlatformFlagConstDisallowed", "FROM --platform=linux/amd64 a AS linux", []),
        ("FromPlatformFlagConstDisallowed", "FROM --platform=$BUILDPLATFORM a", []),
        ("InvalidDefinitionDescription", "# wrong\nARG a\n# base is this\nFROM scratch AS base\n# b it\nARG a b", [2]),
        ("InvalidDefinitionDescription", "# text\n#\nARG a\n# text\nFROM scratch", []),
        ("ExposeProtoCasing", "FROM scratch\nEXPOSE 80/TCP 81/udp", [2]),
        ("ExposeInvalidFormat", "FROM scratch\nEXPOSE 127.0.0.1:80:80 5:6 7", [2, 2]),
    ],
)
def test_rules(rule: str, text: str, lines: list[int]) -> None:
    assert [line for name, line in found(text) if name == rule] == lines


def test_findings_suggest_near_names() -> None:
    [finding] = lint(parse(b"ARG VERSION=1\nFROM scratch\nARG VERSION\nCOPY $VERSOIN /"))
    assert finding.detail == "variable '$VERSOIN' is not defined (did you mean $VERSION?)"
    assert str(finding).endswith("(line 4)")


def test_what_stands_before_the_first_from_is_not_in_a_stage() -> None:
    [exact, near] = lint(parse(b"ARG VERSION=1\nFROM scratch\nCOPY $VERSION /\nCOPY $VERSOIN /"))
    assert exact.detail == "variable '$VERSION' is not defined (repeat ARG VERSION in this stage)"
    assert near.detail == "variable '$VERSOIN' is not defined"


def test_copied_files_that_are_ignored() -> None:
    text = b"FROM scratch AS x\nCOPY a b* ./c/../a https://example/a /\nADD a /\nCOPY --from=x a /\nCOPY . /\n"
    findings = lint(parse(text), ignored=lambda path: path == "a")
    assert [(item.rule.name, item.span.start_line) for item in findings] == [
        ("CopyIgnoredFile", 2),
        ("CopyIgnoredFile", 2),
        ("CopyIgnoredFile", 3),
    ]


def test_a_known_base_environment_is_used() -> None:
    dockerfile = parse(b"FROM image\nCOPY $HOME $UNKNOWN /")
    names = [item.detail for item in lint(dockerfile, base_env={0: {"HOME": "/root"}})]
    assert names == ["variable '$UNKNOWN' is not defined"]


def test_only_the_chosen_stages_are_checked() -> None:
    dockerfile = parse(b"FROM scratch AS a\nMAINTAINER x\nFROM scratch\nMAINTAINER y\n")
    assert [item.span.start_line for item in lint(dockerfile, stages=[1])] == [4]


BASE = "FROM scratch as a\nMAINTAINER x\n"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (BASE, ["FromAsCasing", "MaintainerDeprecated"]),
        ("# check=skip=all\n" + BASE, []),
        ("# check=skip=FromAsCasing\n" + BASE, ["MaintainerDeprecated"]),
        ("# check=skip=fromascasing\n" + BASE, ["FromAsCasing", "MaintainerDeprecated"]),
        ("# check=skip=FromAsCasing,MaintainerDeprecated;error=true\n" + BASE, []),
        ("# check=skip=Nope\n" + BASE, ["FromAsCasing", "MaintainerDeprecated"]),
        ("#\n# check=skip=FromAsCasing because\n" + BASE, ["MaintainerDeprecated"]),
        ("#\n# check=skip=all\n" + BASE, ["MaintainerDeprecated"]),
        ("# text\nFROM scratch AS b", []),
        ("# check=experimental=all\n# text\nFROM scratch AS b", ["InvalidDefinitionDescription"]),
        (
            "# check=experimental=InvalidDefinitionDescription\n# text\nFROM scratch AS b",
            ["InvalidDefinitionDescription"],
        ),
    ],
)
def test_rules_can_be_skipped(text: str, names: list[str]) -> None:
    assert [name for name, _ in found(text, None)] == names


def test_check_options_come_from_the_directive_or_the_build_argument() -> None:
    dockerfile = parse(b"# check=error=true\nFROM scratch")
    assert check_options(dockerfile).error
    assert not check_options(dockerfile, "skip=all").error
    with pytest.raises(DockerfileError, match="check option"):
        check_options(parse(b"# check=nonsense\nFROM scratch"))


def test_findings_are_reported_before_an_error() -> None:
    parsed = parse_partial(b"FROM scratch as a\nMAINTAINER x\nNOPE\n")
    assert parsed.error is not None
    assert [item.rule.name for item in lint(parsed.dockerfile)] == ["FromAsCasing", "MaintainerDeprecated"]


def test_a_broken_word_stops_no_check() -> None:
    assert found("ARG a='x\nFROM $a\nENV b=${c:?} d='\nWORKDIR 'x\n") != []
