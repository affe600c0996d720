"""dockerfile.md 1.4 and 1.5, and semantics.md 25 to 30: what is expanded, with what, and what is not.

The words themselves are in ``test_dockerfile_words``; the odd ones are here. An id's number is the section's.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from builder.dockerfile.source import DockerfileError
from builder.image.config import ContainerConfig
from builder.plan.graph import GitTree, InlineFile, LocalPath, RemoteFile
from tests.support.plans import Planned, plan
from tests.support.words import expand, expand_words

IMAGES = {name: ContainerConfig(env=("BASE=b",)) for name in ("i", "i:1", "i:x", "q")}
SHA = "a" * 64
Look = Callable[[Planned], object]


def sources(made: Planned) -> list[str | bytes]:
    found: list[str | bytes] = []
    for one in made.copy.sources:
        match one:
            case LocalPath():
                found.append(one.path)
            case InlineFile():
                found.append(one.data)
            case RemoteFile() | GitTree():
                found.append(f"{one.url} {one.checksum}")
    return found


def env(made: Planned) -> dict[str, str]:
    return dict(made.run.env)


TABLE: list[tuple[str, str, Look, object]] = [
    ("1.4 FROM: image", "ARG V=1\nFROM i:$V", lambda m: m.asked, ("docker-image://docker.io/library/i:1",)),
    ("1.4 FROM: quotes go", "FROM 'q'", lambda m: m.asked, ("docker-image://docker.io/library/q:latest",)),
    ("1.4 FROM: platform", "ARG P=linux/arm64\nFROM --platform=$P i", lambda m: str(m.plan.platform), "linux/arm64"),
    ("1.4 FROM: no argument of a stage", "FROM scratch\nARG V=1\nFROM i${V}", lambda m: len(m.asked), 1),
    ("1.4 ENV: keys and values", "FROM i\nENV A=k\nENV ${A}y=${A}v\nRUN x", lambda m: env(m)["ky"], "kv"),
    ("1.4 ENV: the environment before the line", "FROM i\nENV A=1\nENV A=2 B=$A\nRUN x", lambda m: env(m)["B"], "1"),
    ("1.4 LABEL: keys and values", "FROM i\nENV A=k\nLABEL $A.x=$A", lambda m: dict(m.config.labels), {"k.x": "k"}),
    ("1.4 LABEL: the environment before the line", "FROM i\nLABEL A=1 B=$A", lambda m: dict(m.config.labels),
     {"A": "1", "B": ""}),
    ("1.4 ARG: default", "FROM i\nENV A=1\nARG B=${A}2\nRUN x", lambda m: env(m)["B"], "12"),
    ("1.4 ARG: name is not", "FROM i\nENV A=Z\nARG $A=1\nRUN x", lambda m: "Z" in env(m), False),
    ("1.4 COPY: sources and destination", "FROM i\nENV A=a\nCOPY $A/x ${A}y /$A/",
     lambda m: (sources(m), m.copy.dest), (["a/x", "ay"], "/a/")),
    ("1.4 COPY: of a list", 'FROM i\nENV A="a b"\nCOPY ["$A", "/$A"]', lambda m: (sources(m), m.copy.dest),
     (["a b"], "/a b")),
    ("1.4 COPY: owner and mode", "FROM i\nARG A=1\nCOPY --chown=$A:$A --chmod=7${A}1 a b",
     lambda m: (m.copy.chown, m.copy.chmod), ("1:1", "711")),
    ("1.4 COPY: --exclude is not", "FROM i\nENV A=1\nCOPY --exclude=$A a b", lambda m: m.copy.exclude, ("$A",)),
    ("1.4 ADD: sources and checksum", f"FROM i\nARG S=sha256:{SHA}\nARG U=http://h\nADD --checksum=$S $U/f /",
     lambda m: sources(m), [f"http://h/f sha256:{SHA}"]),
    ("1.4 heredoc body", "FROM i\nENV A=1\nCOPY <<E /f\n$A ${B:-2} '$A' \"x\" \\$A \\\\\nE", lambda m: sources(m),
     [b"1 2 '1' \"x\" $A \\\n"]),
    ("1.4 heredoc body, quoted delimiter", "FROM i\nENV A=1\nCOPY <<'E' /f\n$A \\$A\nE", lambda m: sources(m),
     [b"$A \\$A\n"]),
    ("1.4 heredoc body, backtick directive", "# escape=`\nFROM i\nENV A=1\nCOPY <<E /f\n`$A \\$A\nE",
     lambda m: sources(m), [b"`1 $A\n"]),
    ("1.4 WORKDIR", "FROM i\nENV A=/a\nWORKDIR $A/b", lambda m: m.config.working_dir, "/a/b"),
    ("1.4 WORKDIR: quotes and blanks", 'FROM i\nWORKDIR "/a b"', lambda m: m.config.working_dir, "/a b"),
    ("1.4 USER", "FROM i\nENV A=u\nUSER $A:${A}g", lambda m: m.config.user, "u:ug"),
    ("1.4 VOLUME", 'FROM i\nENV A=/a\nVOLUME $A "/b"\nVOLUME ["$A/c"]', lambda m: m.config.volumes,
     ("/a", "/b", "/a/c")),
    ("1.4 STOPSIGNAL", "FROM i\nENV A=INT\nSTOPSIGNAL SIG$A", lambda m: m.config.stop_signal, "SIGINT"),
    ("1.4 EXPOSE: one variable, several ports", "FROM i\nENV A='80 90'\nEXPOSE $A 7/udp",
     lambda m: set(m.config.exposed_ports), {"80/tcp", "90/tcp", "7/udp"}),
    ("1.4 RUN --mount: values", "FROM i\nENV A=a\nRUN --mount=type=cache,id=$A,target=/$A x",
     lambda m: (m.run.mounts[0].id, m.run.mounts[0].target), ("a", "/a")),
    ("1.4 RUN: nothing", "FROM i\nENV A=1\nRUN a $A", lambda m: m.run.args, ("/bin/sh", "-c", "a $A")),
    ("1.4 RUN: nothing of a list", 'FROM i\nENV A=1\nRUN ["a", "$A"]', lambda m: m.run.args, ("a", "$A")),
    ("1.4 RUN: nothing of a heredoc", "FROM i\nENV A=1\nRUN <<E\na $A\nE", lambda m: m.run.args,
     ("/bin/sh", "-c", "a $A\n")),
    ("1.4 CMD", "FROM i\nENV A=1\nCMD a $A", lambda m: m.config.cmd, ("/bin/sh", "-c", "a $A")),
    ("1.4 ENTRYPOINT", 'FROM i\nENV A=1\nENTRYPOINT ["$A"]', lambda m: m.config.entrypoint, ("$A",)),
    ("1.4 HEALTHCHECK", "FROM i\nENV A=1\nHEALTHCHECK CMD a $A",
     lambda m: m.config.healthcheck and m.config.healthcheck.test, ("CMD-SHELL", "a $A")),
    ("1.4 SHELL", 'FROM i\nENV A=1\nSHELL ["$A"]', lambda m: m.config.shell, ("$A",)),
    ("1.4 MAINTAINER", "FROM i\nENV A=1\nMAINTAINER $A", lambda m: m.plan.author, "$A"),
    ("1.4 ONBUILD: kept", "FROM i\nENV A=1\nONBUILD ENV B=$A", lambda m: m.config.onbuild, ("ENV B=$A",)),
    ("1.4 ONBUILD: expanded when triggered", "FROM i AS p\nENV A=1\nONBUILD ENV B=$A\nENV A=2\nFROM p\nRUN x",
     lambda m: env(m)["B"], "2"),
    # 1.5
    ("1.5 global only for FROM", "ARG V=x\nFROM i:$V\nENV A=${V-none}\nRUN x", lambda m: env(m)["A"], "none"),
    ("1.5 taken over by ARG", "ARG V=x\nFROM i\nARG V\nRUN x", lambda m: env(m)["V"], "x"),
    ("1.5 a default of the stage wins over the global one", "ARG V=x\nFROM i\nARG V=y\nRUN x", lambda m: env(m)["V"],
     "y"),
    ("1.5 a later global may use an earlier one", "ARG V=x\nARG W=i:$V\nFROM $W", lambda m: m.asked,
     ("docker-image://docker.io/library/i:x",)),
    ("1.5 undeclared is no variable", "FROM i\nARG V\nRUN x", lambda m: "V" in env(m), False),
    ("1.5 empty is set", "FROM i\nARG V=\nENV W=${V-unset}\nRUN x", lambda m: (env(m)["V"], env(m)["W"]), ("", "")),
    ("1.5 several on a line", "FROM i\nARG V=1 W=2\nRUN x", lambda m: (env(m)["V"], env(m)["W"]), ("1", "2")),
    ("1.5 ARG after ENV wins", "FROM i\nENV V=e\nARG V=a\nRUN x", lambda m: env(m)["V"], "a"),
    ("1.5 ENV after ARG wins", "FROM i\nARG V=a\nENV V=e\nRUN x", lambda m: env(m)["V"], "e"),
    ("1.5 only ENV reaches the image", "FROM i\nARG V=a",
     lambda m: [one for one in m.config.env if one.startswith("V")], []),
    ("1.5 both are inherited by FROM stage", "FROM i AS p\nARG V=a\nENV W=e\nFROM p\nRUN x",
     lambda m: (env(m)["V"], env(m)["W"]), ("a", "e")),
    ("1.5 not by another stage", "FROM i AS p\nARG V=a\nENV W=e\nFROM i\nRUN x",
     lambda m: {"V", "W"} & env(m).keys(), set()),
    ("1.5 the base's environment is first", "FROM i\nENV A=$BASE\nRUN x", lambda m: env(m)["A"], "b"),
    ("1.5 PATH is added", "FROM i", lambda m: m.config.env[-1].partition("=")[0], "PATH"),
    # 1.6
    ("1.6 --platform of a stage is ignored", "FROM i AS a\nFROM --platform=linux/arm64 a",
     lambda m: str(m.plan.platform), "linux/amd64"),
    ("1.6 history counts names and has their last values", "FROM i\nARG A=1 B=2\nARG A=3\nARG C\nRUN x",
     lambda m: m.history[-1], "RUN |3 A=3 B=2 C= /bin/sh -c x # buildkit"),
    ("1.6 history of a heredoc", "FROM i\nRUN <<E\na\nE", lambda m: m.history, ["RUN /bin/sh -c a\n # buildkit"]),
    ("1.6 CMD escapes its arguments", "FROM i\nCMD x", lambda m: m.config.args_escaped, True),
    ("1.6 a variable keeps its place", "FROM i\nENV A=1 B=2\nENV A=3", lambda m: m.config.env[-2:], ("A=3", "B=2")),
]  # fmt: skip


@pytest.mark.parametrize(("text", "look", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_where_expansion_happens(text: str, look: Look, expected: object) -> None:
    assert look(plan(text, IMAGES)) == expected


@pytest.mark.parametrize(
    ("text", "args", "look", "expected"),
    [
        ("FROM i\nARG A=${B?no}\nRUN x", {"A": "1"}, lambda m: env(m)["A"], "1"),
        ("FROM i\nENV B=1\nARG A\nRUN x", {"A": "$B '\\"}, lambda m: env(m)["A"], "$B '\\"),
        ("ARG V=1\nFROM i:$V", {"V": "x"}, lambda m: m.asked, ("docker-image://docker.io/library/i:x",)),
        ("ARG V=1\nFROM i\nARG V\nRUN x", {"V": "9"}, lambda m: env(m)["V"], "9"),
        ("FROM i\nARG V=1\nENV V=2\nARG V\nRUN x", {"V": "9"}, lambda m: env(m)["V"], "9"),
        ("FROM i\nRUN x", {"V": "9"}, lambda m: "V" in env(m), False),
    ],
    ids=[
        "1.4 a default that is not needed is not expanded",
        "1.4 a given value is never expanded",
        "1.5 given for a global",
        "1.5 given, and taken over",
        "1.5 given, and declared after ENV",
        "1.5 given, but never declared",
    ],
)
def test_build_arguments(text: str, args: dict[str, str], look: Look, expected: object) -> None:
    assert look(plan(text, IMAGES, build_args=args)) == expected


def test_labels_of_the_command_line_are_not_expanded() -> None:
    """1.4 and 1.6: applied last, as they are."""
    made = plan("FROM i\nENV A=1\nLABEL b=2", IMAGES, labels={"b": "$A", "$A": "c"})
    assert dict(made.config.labels) == {"b": "$A", "$A": "c"}


WORDS: list[tuple[str, str | None, list[str] | None]] = [
    # 1.4, odd words: text, its value, its words; None for an error
    ("a'b'c", "abc", ["abc"]),
    (r"a\'b", "a'b", ["a'b"]),
    (r"a\\'b", None, None),
    ("a\\", "a", ["a"]),
    (r'"a\"', None, None),
    (r"'a\'", "a\\", ["a\\"]),
    (r'"\q"', r"\q", [r"\q"]),
    ('"\'"', "'", ["'"]),
    ("'\"'", '"', ['"']),
    ("a$", "a$", ["a$"]),
    ("$", "$", ["$"]),
    ("$$", "", []),
    ("$$$", "$", ["$"]),
    ("$.a", "$.a", ["$.a"]),
    ("$(a)", "$(a)", ["$(a)"]),
    ("`a`", "`a`", ["`a`"]),
    ("$'a'", "$a", ["$a"]),
    ('"$"', "$", ["$"]),
    ("$1a$12", "onea", ["onea"]),
    ("${1}a", "onea", ["onea"]),
    ("$@$*$#$?$-$!$0", "", []),
    ("${@}${#}", "", []),
    ("$한국a", "", []),
    ("${한국}a", "kra", ["kra"]),
    ("$A\u00b2", "1\u00b2", ["1\u00b2"]),
    ("$\u00b2", "$\u00b2", ["$\u00b2"]),
    ("${A\u00b2}", None, None),
    (r"\${A}", "${A}", ["${A}"]),
    (r"${N:-\${A}z}", "${Az}", ["${Az}"]),
    (r"${N:-\}}", "}", ["}"]),
    ("${N:-{a}}", "{a}", ["{a}"]),
    ("${N:-'}'}", "}", ["}"]),
    ('${N:-"}"}', "}", ["}"]),
    ("${N:-a b}", "a b", ["a", "b"]),
    ("${N:-'a b'}", "a b", ["a", "b"]),
    ('"${N:-a b}"', "a b", ["a b"]),
    ("\"${N:-'a'}\"", "a", ["a"]),
    ("${A:+${N:-${A}}}", "1", ["1"]),
    ("${N+a}${N:+b}", "", []),
    ("${E-a}${E+b}${E:-c}${E:+d}", "bc", ["bc"]),
    ("${U-a}${U+b}", "a", ["a"]),
    ("${N-}", "", []),
    ("${N?}", None, None),
    ("${E:?}", None, None),
    ("${E?}", "", []),
    ("${A?a}", "1", ["1"]),
    ("${}", None, None),
    ("${ A}", None, None),
    ("${A }", None, None),
    ("${.}", None, None),
    ("${:-a}", None, None),
    ("${{", None, None),
    ("${A", None, None),
    ("${A:}", None, None),
    ("${A:=a}", None, None),
    ("${A:1:2}", None, None),
    ("${A^^}", None, None),
    ("${A,}", None, None),
    ("${A@Q}", None, None),
    ("${A[0]}", None, None),
    ("${!A}", None, None),
    ("${#A}", None, None),
    ("${A:#a}", None, None),
    ("${A:/a/b}", None, None),
    ("${P#*/}", "b/c.d", ["b/c.d"]),
    ("${P##*/}", "c.d", ["c.d"]),
    ("${P%/*}", "a/b", ["a/b"]),
    ("${P%%/*}", "a", ["a"]),
    ("${P#}", "a/b/c.d", ["a/b/c.d"]),
    ("${P#?}", "/b/c.d", ["/b/c.d"]),
    ("${P#[a]}", "a/b/c.d", ["a/b/c.d"]),
    (r"${P#\a}", None, None),
    (r"${P#\*}", "a/b/c.d", ["a/b/c.d"]),
    ("${P/b/x}", "a/x/c.d", ["a/x/c.d"]),
    ("${P/?/x}", "x/b/c.d", ["x/b/c.d"]),
    (r"${P//\//:}", "a:b:c.d", ["a:b:c.d"]),
    ("${P//?/x}", "xxxxxxx", ["xxxxxxx"]),
    ("${P/*/x}", "x", ["x"]),
    ("${P/b/}", "a//c.d", ["a//c.d"]),
    ("${P/b}", None, None),
    ("${P/x/$A}", "a/b/c.d", ["a/b/c.d"]),
    ("${P/b/$A}", "a/1/c.d", ["a/1/c.d"]),
    ("${P/$N/x}", "xa/b/c.d", ["xa/b/c.d"]),
    ("${N/a/b}${E//a/b}", "", []),
    # splitting
    ("a  b", "a  b", ["a", "b"]),
    ("$B", " x  y ", ["x", "y"]),
    ("a${B}b", "a x  y b", ["a", "x", "y", "b"]),
    ('a"$B"b', "a x  y b", ["a x  y b"]),
    ('"$B" b', " x  y  b", [" x  y ", "b"]),
    (r"a\ b", "a b", ["a b"]),
    ("''", "", []),
    ("'' a", " a", ["a"]),
    ("$N$E", "", []),
    ("a\u3000b", "a\u3000b", ["a", "b"]),
    ("a\x1cb", "a\x1cb", ["a\x1cb"]),
    ("<<E", "<<E", ["<<E"]),
]
SCOPE: dict[str, str | None] = {
    "A": "1",
    "B": " x  y ",
    "E": "",
    "U": None,
    "P": "a/b/c.d",
    "1": "one",
    "한국": "kr",
}


@pytest.mark.parametrize(("text", "value", "words"), WORDS, ids=[f"1.4 {row[0]}" for row in WORDS])
def test_odd_words(text: str, value: str | None, words: list[str] | None) -> None:
    if value is None:
        for read in (expand, expand_words):
            with pytest.raises(DockerfileError):
                read(text, SCOPE)
        return
    assert expand(text, SCOPE) == value
    assert expand_words(text, SCOPE) == words


def test_values_do_not_grow_without_end() -> None:
    """Forty lines that double a value, or three replacements, would be more than any machine has."""
    doubling = "FROM i\nENV A=0123456789\n" + "ENV A=$A$A\n" * 40
    replacing = "FROM i\nENV A=" + "a" * 10000 + "\n" + "ENV A=${A//a/$A}\n" * 3
    for text in (doubling, replacing, "FROM i\nENV A=" + "a" * 600000 + "\nRUN x\nWORKDIR /$A/$A"):
        with pytest.raises(DockerfileError, match="variables put more than 1048576 characters into one word"):
            plan(text, images=IMAGES)
    assert len(expand("${A//a/bb}", {"A": "a" * 100000})) == 200000


@pytest.mark.parametrize("body", ["${A//*a*b/x}", "${A//a*b/x}", "${A//a?*?b*c/x}", "${A%%a*b*c}", "${A##*b*b}"])
def test_a_pattern_that_is_nowhere_in_a_long_value_takes_no_time(body: str) -> None:
    """Every position was tried, and each time all that follows: days, not milliseconds."""
    assert expand(body, {"A": "a" * 1_000_000}) == "a" * 1_000_000
    assert expand(body, {"A": "a\n" * 100_000}) == "a\n" * 100_000
