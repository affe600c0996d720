"""dockerfile.md 1.1 to 1.3, 1.6, 1.7 and 1.10, fact by fact: what a text means. The number in an id is the section's.

What needs an environment is in ``test_dockerfile_expansion``, what is an error in ``test_dockerfile_mistakes``.
"""

from __future__ import annotations

import pytest

from builder.dockerfile import instructions as df
from builder.dockerfile.parser import parse
from builder.dockerfile.source import DockerfileError
from builder.dockerfile.word import Word


def told(text: str) -> str:
    """Return what a Dockerfile says, its first FROM left out, or the error."""
    try:
        dockerfile = parse(text.encode("utf-8", "surrogateescape"))
    except DockerfileError as failure:
        return f"error: {failure.message}"
    items = [*dockerfile.global_args]
    said = [_item(one) for one in items]
    for stage in dockerfile.stages:
        said += [_item(one) for one in ((stage.from_,) if stage.index else ()) + stage.instructions]
    return " / ".join(said)


def _item(one: df.Instruction) -> str:
    keyword = type(one).__name__.upper()
    match one:
        case df.From():
            return " ".join(
                [keyword, *_flags(platform=one.platform), one.image.text, *([f"AS {one.name}"] * bool(one.name))]
            )
        case df.Run():
            mounts = [f"mount={flag.raw}" for flag in one.mounts]
            return " ".join([keyword, *mounts, *_flags(network=one.network, security=one.security), _form(one.command)])
        case df.Cmd() | df.Entrypoint():
            return f"{keyword} {_form(one.command)}"
        case df.HealthCheck():
            flags = _flags(i=one.interval, t=one.timeout, sp=one.start_period, si=one.start_interval, r=one.retries)
            return " ".join([keyword, *flags, "NONE" if one.command is None else _form(one.command)])
        case df.Shell():
            return f"{keyword} {list(one.args)}"
        case df.Copy() | df.Add():
            return " ".join([keyword, *_file_flags(one), *_files(one), "->", repr(one.dest.text)])
        case _:
            return f"{keyword} {_values(one)}"


def _values(one: df.Instruction) -> str:
    match one:
        case df.Env() | df.Label():
            return " ".join(f"{key.text}={value.text}" for key, value in one.pairs)
        case df.Arg():
            return " ".join(f"{a.name}={a.default.text if a.default else '?'}" for a in one.declarations)
        case df.Expose(ports=words) | df.Volume(paths=words):
            return str([word.text for word in words])
        case df.User(user=word) | df.Workdir(path=word) | df.StopSignal(signal=word):
            return repr(word.text)
        case df.Maintainer():
            return repr(one.author)
        case df.Onbuild():
            return repr(one.trigger)
        case _:
            raise TypeError(one)


def _form(command: df.RunCommandForm) -> str:
    match command:
        case df.ExecForm():
            return str(list(command.args))
        case df.ShellForm():
            return repr(command.text)
        case df.Script():
            return f"{command.name}:{command.body!r}"


def _flags(**values: Word | str | int | None) -> list[str]:
    pairs = {name: value.text if isinstance(value, Word) else value for name, value in values.items()}
    return [f"{name}={value}" for name, value in pairs.items() if value is not None]


def _file_flags(one: df.Copy | df.Add) -> list[str]:
    flags = _flags(chown=one.chown, chmod=one.chmod, link=one.link or None)
    flags += [f"exclude={pattern}" for pattern in one.exclude]
    if isinstance(one, df.Copy):
        return [*_flags(**{"from": one.from_stage}, parents=one.parents or None), *flags]
    return [*_flags(checksum=one.checksum, unpack=one.unpack, git=one.keep_git_dir), *flags]


def _files(one: df.Copy | df.Add) -> list[str]:
    docs = [f"{doc.name}:{doc.body.text!r}{'' if doc.expand else ' as it is'}" for doc in one.heredocs]
    return [*(repr(word.text) for word in one.sources), *docs]


FACTS = [
    # 1.1 physical lines, comments, continuations
    ("1.1 byte order mark", "\ufeffFROM s\nUSER a", "USER 'a'"),
    ("1.1 byte order mark before a directive", "\ufeff# escape=`\nFROM s\nRUN a `\nb", "RUN 'a b'"),
    ("1.1 only the first line loses a byte order mark", "FROM s\n\ufeffUSER a",
     "error: unknown instruction: \ufffdUSER (did you mean USER?)"),
    ("1.1 carriage return before a line end", "FROM s\r\nRUN a \\\r\n  b\r\n", "RUN 'a   b'"),
    ("1.1 carriage return alone ends no line", "FROM s\nRUN a\rb", "RUN 'a\\rb'"),
    ("1.1 other line ends are data", "FROM s\nRUN a\x0b\x0c\x85\u2028b", "RUN 'a\\x0b\\x0c\\x85\\u2028b'"),
    ("1.1 last line without an end", "FROM s\nUSER a", "USER 'a'"),
    ("1.1 empty lines", "\n\n  \t\nFROM s\n\n\nUSER a\n\n", "USER 'a'"),
    ("1.1 unicode blanks before an instruction", "FROM s\n\u00a0\u2003 USER a", "USER 'a'"),
    ("1.1 information separators are no blanks", "FROM s\n\x1cUSER a",
     "error: unknown instruction: \ufffdUSER (did you mean USER?)"),
    ("1.1 comment", "# a\nFROM s\n# b\n  # c\n\t#d\nUSER a\n#", "USER 'a'"),
    ("1.1 hash elsewhere is data", "FROM s\nRUN a # b\nENV c=#d", "RUN 'a # b' / ENV c=#d"),
    ("1.1 comment does not continue", "FROM s\n# a \\\nUSER b", "USER 'b'"),
    ("1.1 comment inside a continuation", "FROM s\nRUN a \\\n# x\n   # y \\\n b", "RUN 'a  b'"),
    ("1.1 comment at the end of a continuation", "FROM s\nRUN a \\\n# x", "RUN 'a'"),
    ("1.1 comment right after a continued keyword", "FROM s\nENV \\\n# x\na=b", "ENV a=b"),
    ("1.1 blank line inside a continuation", "FROM s\nRUN a \\\n\n \t \n b", "RUN 'a  b'"),
    ("1.1 nothing is inserted between lines", "FROM s\nRUN a\\\nb\\\n  c", "RUN 'ab  c'"),
    ("1.1 keyword over lines", "FROM s\nUS\\\nER a", "USER 'a'"),
    ("1.1 blanks after the token", "FROM s\nRUN a \\ \t \nb", "RUN 'a b'"),
    ("1.1 other blanks after the token are none", "FROM s\nUSER a\\\x0b\nUSER b", "USER 'a\\\\' / USER 'b'"),
    ("1.1 two tokens do not continue", "FROM s\nRUN a \\\\\nUSER b", "RUN 'a \\\\\\\\' / USER 'b'"),
    ("1.1 a line that is only the token", "FROM s\n\\\n\\\nUSER a", "USER 'a'"),
    ("1.1 token at the end of the file", "FROM s\nRUN a \\", "RUN 'a'"),
    ("1.1 token and line end at the end of the file", "FROM s\nRUN a \\\n", "RUN 'a'"),
    ("1.1 continuation takes what looks like an instruction", "FROM s\nRUN a \\\nUSER b", "RUN 'a USER b'"),
    ("1.1 no instruction", "# a\n\n", "error: file with no instructions"),
    ("1.1 empty file", "", "error: file with no instructions"),
    ("1.1 only tokens", "\\\n\\", "error: file with no instructions"),
    ("1.1 keyword in any case", "from s\nUsEr a", "USER 'a'"),
    ("1.1 tabs and other blanks after the keyword", "FROM s\nUSER\t\x0b\x0c a", "USER 'a'"),
    ("1.1 a no-break space does not end a keyword", "FROM s\nUSER\u00a0a",
     "error: unknown instruction: USER\ufffda (did you mean USER?)"),
    ("1.1 keyword in other letters", "FROM s\nU\u017fER a",
     "error: unknown instruction: U\u017fER (did you mean USER?)"),
    ("1.1 rest is trimmed", "FROM s\nUSER   a  \t ", "USER 'a'"),
    ("1.1 flags first", "FROM s\nCOPY --link --from=x a b", "COPY from=x link=True 'a' -> 'b'"),
    ("1.1 flags only before other words", "FROM s\nCOPY a --link b", "COPY 'a' '--link' -> 'b'"),
    ("1.1 quotes in flags", "FROM s\nCOPY --from='x y' --chown=\"a\"'b' c d", "COPY from=x y chown=ab 'c' -> 'd'"),
    ("1.1 escapes in flags", "FROM s\nCOPY --from=a\\ b --chown='\\'' c d", "COPY from=a b chown=' 'c' -> 'd'"),
    ("1.1 backtick escapes in flags", "# escape=`\nFROM s\nCOPY --from=a` b\\c d e", "COPY from=a b\\c 'd' -> 'e'"),
    ("1.1 a bare double dash ends flags", "FROM s\nCOPY --link -- --from b", "COPY link=True '--from' -> 'b'"),
    ("1.1 double dash with nothing after", "FROM s\nRUN --", "RUN ''"),
    ("1.1 one dash is no flag", "FROM s\nRUN -x --link", "RUN '-x --link'"),
    ("1.1 a quoted flag is none", "FROM s\nRUN '--x'", "RUN \"'--x'\""),
    ("1.1 flags over lines", "FROM s\nCOPY \\\n --link \\\n a b", "COPY link=True 'a' -> 'b'"),
    ("1.1 unknown instruction", "FROM s\nFOO a", "error: unknown instruction: FOO (did you mean FROM?)"),
    ("1.1 unknown instruction, nothing near", "FROM s\nTELEPORT a", "error: unknown instruction: TELEPORT"),
    # 1.2 directives
    ("1.2 escape", "# escape=`\nFROM s\nRUN a\\`\nb", "RUN 'a\\\\b'"),
    ("1.2 two backticks do not continue", "# escape=`\nFROM s\nRUN a``\nUSER b", "RUN 'a``' / USER 'b'"),
    ("1.2 a backslash is data then", "# escape=`\nFROM s\nWORKDIR c:\\\nUSER a\\", "WORKDIR 'c:\\\\' / USER 'a\\\\'"),
    ("1.2 blanks and case", "#\t EsCaPe \t=  `  \nFROM s\nRUN a`\nb", "RUN 'ab'"),
    ("1.2 indented", "   # escape=`\nFROM s\nRUN a`\nb", "RUN 'ab'"),
    ("1.2 after another one", "# syntax=docker/dockerfile:1\n# escape=`\nFROM s\nRUN a`\nb", "RUN 'ab'"),
    ("1.2 not after an empty line", "\n# escape=`\nFROM s\nRUN a`\nUSER b", "RUN 'a`' / USER 'b'"),
    ("1.2 not after a comment", "# x\n# escape=`\nFROM s\nRUN a`\nUSER b", "RUN 'a`' / USER 'b'"),
    ("1.2 not after an unknown key", "# x=y\n# escape=`\nFROM s\nRUN a`\nUSER b", "RUN 'a`' / USER 'b'"),
    ("1.2 not after an instruction", "FROM s\n# escape=`\nRUN a`\nUSER b", "RUN 'a`' / USER 'b'"),
    ("1.13 row 20: a shebang is a comment and ends directives", "#!/bin/x\n# escape=`\nFROM s\nRUN a`\nUSER b",
     "RUN 'a`' / USER 'b'"),
    ("1.2 a key may not hold a dash", "# es-cape=`\nFROM s\nRUN a\\\nb", "RUN 'ab'"),
    ("1.2 without a value it is a comment", "# escape=\nFROM s\nRUN a\\\nb", "RUN 'ab'"),
    ("1.2 duplicate", "# escape=`\n# ESCAPE=`\nFROM s", "error: only one escape parser directive can be used"),
    ("1.2 duplicate check", "# check=skip=all\n# check=skip=all\nFROM s",
     "error: only one check parser directive can be used"),
    ("1.2 another escape", "# escape=^\nFROM s", "error: invalid escape token '^' does not match ` or \\"),
    # 1.3 JSON and shell form
    ("1.3 list", 'FROM s\nRUN ["a", "b c"]', "RUN ['a', 'b c']"),
    ("1.3 blanks around", 'FROM s\nRUN   [ "a"\t,"b" ]  ', "RUN ['a', 'b']"),
    ("1.3 over lines", 'FROM s\nRUN ["a", \\\n  "b"]', "RUN ['a', 'b']"),
    ("1.3 escapes and unicode", 'FROM s\nCMD ["\\u00e9\\"\\/\\t\u00e9"]', "CMD ['\u00e9\"/\\t\u00e9']"),
    ("1.3 pair of surrogates", 'FROM s\nCMD ["\\ud83d\\ude00"]', "CMD ['\U0001f600']"),
    ("1.3 empty list", "FROM s\nCMD []\nENTRYPOINT [ ]", "CMD [] / ENTRYPOINT []"),
    ("1.3 single quotes", "FROM s\nCMD ['a', 'b']", "CMD \"['a', 'b']\""),
    ("1.3 mixed quotes", "FROM s\nCMD [\"a\", 'b']", "CMD '[\"a\", \\'b\\']'"),
    ("1.3 text after it", 'FROM s\nRUN ["a"] && b', "RUN '[\"a\"] && b'"),
    ("1.3 trailing comma", 'FROM s\nRUN ["a",]', "RUN '[\"a\",]'"),
    ("1.3 no comma", 'FROM s\nRUN ["a" "b"]', "RUN '[\"a\" \"b\"]'"),
    ("1.3 no words", "FROM s\nRUN [a]", "RUN '[a]'"),
    ("1.3 shell test", "FROM s\nRUN [ -f x ] && y", "RUN '[ -f x ] && y'"),
    ("1.3 unfinished", 'FROM s\nRUN ["a"', "RUN '[\"a\"'"),
    ("1.3 bad escape", 'FROM s\nRUN ["\\d"]', "RUN '[\"\\\\d\"]'"),
    ("1.3 tab inside a string", 'FROM s\nRUN ["a\tb"]', "RUN '[\"a\\tb\"]'"),
    ("1.3 NaN is no JSON", "FROM s\nRUN [NaN]", "RUN '[NaN]'"),
    ("1.3 text that only begins so", "FROM s\nENTRYPOINT []random string", "ENTRYPOINT '[]random string'"),
    ("1.3 number", "FROM s\nCMD [1]", "error: when using JSON array syntax, arrays must be comprised of strings only"),
    ("1.3 list in the list", 'FROM s\nCMD ["a", ["b"]]',
     "error: when using JSON array syntax, arrays must be comprised of strings only"),
    ("1.3 COPY and ADD", 'FROM s\nCOPY ["a b", "c"]\nADD ["a","b","c d/"]',
     "COPY 'a b' -> 'c' / ADD 'a' 'b' -> 'c d/'"),
    ("1.3 COPY of no JSON splits at blanks", 'FROM s\nCOPY ["a", b', "COPY '[\"a\",' -> 'b'"),
    ("1.3 VOLUME", 'FROM s\nVOLUME ["/a b", "/c"]\nVOLUME [/a', "VOLUME ['/a b', '/c'] / VOLUME ['[/a']"),
    ("1.3 HEALTHCHECK", 'FROM s\nHEALTHCHECK CMD ["a"]\nHEALTHCHECK CMD [a]', "HEALTHCHECK ['a'] / HEALTHCHECK '[a]'"),
    ("1.3 SHELL must be JSON", "FROM s\nSHELL ['a']", "error: SHELL requires the arguments to be in JSON form"),
    ("1.3 not for EXPOSE, USER, WORKDIR", 'FROM s\nEXPOSE ["80"]\nUSER ["a"]\nWORKDIR ["a"]',
     "EXPOSE ['[\"80\"]'] / USER '[\"a\"]' / WORKDIR '[\"a\"]'"),
    ("1.3 words split at ASCII blanks", "FROM s\nCOPY a\tb\x0b\x0cc\u00a0d e", "COPY 'a' 'b' 'c\\xa0d' -> 'e'"),
    ("1.3 quotes do not group words", "FROM s\nCOPY \"a b\" 'c d'", "COPY '\"a' 'b\"' \"'c\" -> \"d'\""),
    ("1.3 one value takes the line", "FROM s\nWORKDIR /a b\nUSER a b\nSTOPSIGNAL a b\nMAINTAINER a  b",
     "WORKDIR '/a b' / USER 'a b' / STOPSIGNAL 'a b' / MAINTAINER 'a  b'"),
    # 1.6 instruction grammar
    ("1.6 FROM", "FROM s\nFROM --platform=linux/arm64 a:1 AS B_c.d-1", "FROM platform=linux/arm64 a:1 AS b_c.d-1"),
    ("1.6 FROM as in any case", "FROM s\nFROM a as b\nFROM a aS c", "FROM a AS b / FROM a AS c"),
    ("1.6 FROM with two words", "FROM s\nFROM a b", "error: FROM requires either one or three arguments"),
    ("1.6 a stage name begins with a letter", "FROM s AS 1a",
     "error: invalid name for build stage: \"1a\", name can't start with a number or contain symbols"),
    ("1.6 a stage name in letters of ASCII", "FROM s AS \u00e9",
     "error: invalid name for build stage: \"\u00e9\", name can't start with a number or contain symbols"),
    ("1.6 CMD and ENTRYPOINT without anything", "FROM s\nCMD\nENTRYPOINT", "CMD '' / ENTRYPOINT ''"),
    ("1.6 LABEL and ENV pairs", "FROM s\nLABEL a=b \"c d\"='e f' g=\nENV a=b\\ c d=\"e=f\"",
     "LABEL a=b \"c d\"='e f' g= / ENV a=b\\ c d=\"e=f\""),
    ("1.6 pairs over lines", "FROM s\nLABEL a=b \\\n  c=\"d \\\n e\"", "LABEL a=b c=\"d  e\""),
    ("1.6 ENV and LABEL in the old form", "FROM s\nENV a  b  c=d\nLABEL a b c", "ENV a=b  c=d / LABEL a=b c"),
    ("1.6 the first word decides the form", "FROM s\nENV a b=c", "ENV a=b=c"),
    ("1.6 quotes of an unfinished word stay", "FROM s\nENV a='b c", "ENV a='b c"),
    ("1.6 ENV of one word", "FROM s\nENV a", "error: ENV must have two arguments"),
    ("1.6 ENV of a pair and a word", "FROM s\nENV a=b c",
     "error: Syntax error - can't find = in \"c\". Must be of the form: name=value"),
    ("1.6 ARG", "FROM s\nARG a b=c d=\"e f\" g=", "ARG a=? b=c d=\"e f\" g="),
    ("1.6 ARG before FROM", "ARG a=1\nARG b\nFROM s", "ARG a=1 / ARG b=?"),
    ("1.6 EXPOSE", "FROM s\nEXPOSE 80 443/tcp 1-3/UDP $P", "EXPOSE ['80', '443/tcp', '1-3/UDP', '$P']"),
    ("1.6 VOLUME", "FROM s\nVOLUME /a /b", "VOLUME ['/a', '/b']"),
    ("1.6 HEALTHCHECK NONE", "FROM s\nHEALTHCHECK none", "HEALTHCHECK NONE"),
    ("1.6 HEALTHCHECK flags",
     "FROM s\nHEALTHCHECK --interval=1m --timeout=1.5s --start-period=0 --start-interval=1ms --retries=3 CMD a  b",
     "HEALTHCHECK i=60000000000 t=1500000000 sp=0 si=1000000 r=3 'a  b'"),
    ("1.6 HEALTHCHECK of another type", "FROM s\nHEALTHCHECK RUN a",
     "error: Unknown type \"RUN\" in HEALTHCHECK (try CMD)"),
    ("1.6 SHELL", 'FROM s\nSHELL ["a", "-c"]', "SHELL ['a', '-c']"),
    ("1.6 ONBUILD", "FROM s\nONBUILD   run  a \\\n b", "ONBUILD 'run  a  b'"),
    ("1.6 ONBUILD keeps JSON and flags", 'FROM s\nONBUILD COPY --from=x ["a", "b"]',
     "ONBUILD 'COPY --from=x [\"a\", \"b\"]'"),
    ("1.6 ONBUILD ONBUILD", "FROM s\nONBUILD ONBUILD RUN a",
     "error: Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
    ("1.6 ONBUILD FROM", "FROM s\nONBUILD from a", "error: FROM isn't allowed as an ONBUILD trigger"),
    ("1.6 ONBUILD MAINTAINER", "FROM s\nONBUILD MAINTAINER a", "error: MAINTAINER isn't allowed as an ONBUILD trigger"),
    # 1.7 RUN flags (keys of mounts: test_dockerfile_mounts)
    ("1.7 mounts repeat", "FROM s\nRUN --mount=target=/a --mount=type=tmpfs,target=/b c",
     "RUN mount=target=/a mount=type=tmpfs,target=/b 'c'"),
    ("1.7 network", "FROM s\nRUN --network=default a\nRUN --network=none a\nRUN --network=host a",
     "RUN network=default 'a' / RUN network=none 'a' / RUN network=host 'a'"),
    ("1.7 security", "FROM s\nRUN --security=sandbox a\nRUN --security=insecure a",
     "RUN security=sandbox 'a' / RUN security=insecure 'a'"),
    ("1.7 flags before JSON", 'FROM s\nRUN --network=none ["a"]', "RUN network=none ['a']"),
    ("1.7 other network", "FROM s\nRUN --network=bridge a",
     "error: invalid value for --network: bridge, expected default, none or host"),
    ("1.7 device", "FROM s\nRUN --device=x a", "error: RUN --device is not supported"),
    # 1.8 and 1.9 flags
    ("1.8 COPY flags", "FROM s\nCOPY --from=x --chown=a:b --chmod=u+x --link --parents --exclude=a --exclude=b c d",
     "COPY from=x parents=True chown=a:b chmod=u+x link=True exclude=a exclude=b 'c' -> 'd'"),
    ("1.8 values of boolean flags", "FROM s\nCOPY --link=TRUE --parents=False a b", "COPY link=True 'a' -> 'b'"),
    ("1.8 a dollar at the end of --from", "FROM s\nCOPY --from=x$ a b", "COPY from=x$ 'a' -> 'b'"),
    ("1.9 ADD flags",
     "FROM s\nADD --checksum=c --unpack=false --keep-git-dir --chown=1 --chmod=1 --link --exclude=a b c",
     "ADD checksum=c unpack=False git=True chown=1 chmod=1 link=True exclude=a 'b' -> 'c'"),
    # 1.10 heredocs
    ("1.10 RUN", "FROM s\nRUN <<E\na\n\n# b\nE\nUSER x", "RUN 'a\\n\\n# b\\n' / USER 'x'"),
    ("1.10 COPY and ADD", "FROM s\nCOPY <<E f\na\nE\nADD <<E g\nb\nE", "COPY E:'a\\n' -> 'f' / ADD E:'b\\n' -> 'g'"),
    ("1.10 not in others", "FROM s\nENV a=<<E\nCMD <<E", "ENV a=<<E / CMD '<<E'"),
    ("1.10 not in JSON", 'FROM s\nRUN ["<<E"]\nCOPY ["<<E", "f"]', "RUN ['<<E'] / COPY '<<E' -> 'f'"),
    ("1.10 text that is nearly JSON", 'FROM s\nRUN ["<<E", <<E]\na\nE]', "RUN '[\"<<E\", <<E]\\na\\nE]'"),
    ("1.10 a quoted word is none", "FROM s\nRUN a '<<E' \"<<E\"", "RUN 'a \\'<<E\\' \"<<E\"'"),
    ("1.10 quoted delimiters", "FROM s\nCOPY <<'E' <<\"F\" <<G'H' d/\na\nE\nb\nF\nc\nGH",
     "COPY E:'a\\n' as it is F:'b\\n' as it is GH:'c\\n' as it is -> 'd/'"),
    ("1.10 delimiter with blanks", "FROM s\nCOPY <<'a b' f\nx\na b", "COPY a b:'x\\n' as it is -> 'f'"),
    ("1.10 blanks before the delimiter", "FROM s\nRUN << \tE\na\nE", "RUN 'a\\n'"),
    ("1.10 delimiter of odd characters", "FROM s\nCOPY <<a/$b.{c} f\nx\na/$b.{c}", "COPY a/$b.{c}:'x\\n' -> 'f'"),
    ("1.10 tabs are stripped", "FROM s\nCOPY <<-E f\n\ta\n\t\tb\n c\n\tE", "COPY E:'a\\nb\\n c\\n' -> 'f'"),
    ("1.10 tabs of a sole RUN are stripped", "FROM s\nRUN <<-E\n\ta\n\t\tE", "RUN 'a\\n'"),
    ("1.10 tabs of a joined RUN stay", "FROM s\nRUN a <<-E\n\tb\n\tE", "RUN 'a <<-E\\n\\tb\\nE'"),
    ("1.10 without dash tabs stay", "FROM s\nCOPY <<E f\n\ta\n\tE\nE", "COPY E:'\\ta\\n\\tE\\n' -> 'f'"),
    ("1.10 the end is exact", "FROM s\nRUN <<E\nE \n E\ne\nEE\nE", "RUN 'E \\n E\\ne\\nEE\\n'"),
    ("1.10 several in order", "FROM s\nRUN a <<E <<F\nF\nE\nE\nF", "RUN 'a <<E <<F\\nF\\nE\\nE\\nF'"),
    ("1.10 the same name twice", "FROM s\nCOPY <<E <<E d/\n1\nE\n2\nE", "COPY E:'1\\n' E:'2\\n' -> 'd/'"),
    ("1.10 descriptors", "FROM s\nRUN a 3<<E\nb\nE", "RUN 'a 3<<E\\nb\\nE'"),
    ("1.10 empty body", "FROM s\nRUN <<E\nE", "RUN ''"),
    ("1.10 carriage returns stay in the body", "FROM s\r\nRUN <<E\r\na\r\nE\r\n", "RUN 'a\\r\\n'"),
    ("1.10 continuations inside the body are data", "FROM s\nRUN <<E\na \\\nE", "RUN 'a \\\\\\n'"),
    ("1.10 after a continued line", "FROM s\nRUN a \\\n  <<E \\\n  b\nc\nE", "RUN 'a   <<E   b\\nc\\nE'"),
    ("1.10 after flags", "FROM s\nRUN --network=none <<E\na\nE", "RUN network=none 'a\\n'"),
    ("1.10 a shebang makes a file", "FROM s\nRUN <<E\n#!/bin/x\na\nE", "RUN E:'#!/bin/x\\na\\n'"),
    ("1.10 a shebang after stripping", "FROM s\nRUN <<-E\n\t#!/bin/x\nE", "RUN E:'#!/bin/x\\n'"),
    ("1.10 a shebang further down is text", "FROM s\nRUN <<E\n\n#!/bin/x\nE", "RUN '\\n#!/bin/x\\n'"),
    ("1.10 a shebang with a command is text", "FROM s\nRUN a <<E\n#!/bin/x\nE", "RUN 'a <<E\\n#!/bin/x\\nE'"),
    ("1.10 the escape directive does not matter", "# escape=`\nFROM s\nRUN a \\<<E <<`F\nb\n`F",
     "RUN 'a \\\\<<E <<`F\\nb\\n`F'"),
    ("1.10 sources and heredocs", "FROM s\nCOPY a <<E b d/\nc\nE", "COPY 'a' 'b' E:'c\\n' -> 'd/'"),
    ("1.10 ONBUILD", "FROM s\nONBUILD RUN <<E\na\nE\nUSER x", "ONBUILD 'RUN <<E\\na\\nE' / USER 'x'"),
    ("1.10 three angles are none", "FROM s\nRUN a <<<b\nRUN a <<< b", "RUN 'a <<<b' / RUN 'a <<< b'"),
    ("1.10 no delimiter", "FROM s\nRUN a <<\nRUN a <<-", "RUN 'a <<' / RUN 'a <<-'"),
    ("1.10 a word before it", "FROM s\nRUN a<<b\nRUN echo $((1<<2))", "RUN 'a<<b' / RUN 'echo $((1<<2))'"),
    ("1.10 an escaped angle", "FROM s\nRUN a \\<<E", "RUN 'a \\\\<<E'"),
    ("1.10 no end", "FROM s\nRUN <<E\na", "error: unterminated heredoc"),
    ("1.10 no destination", "FROM s\nCOPY a <<E\nb\nE", "error: COPY cannot accept a heredoc as a destination"),
    # 1.13
    ("1.13 row 11: flags are text", "FROM s\nCOPY --chown=\u00e9:\u00fc a b", "COPY chown=\u00e9:\u00fc 'a' -> 'b'"),
    ("1.13 row 12: long lines", f"FROM s\nUSER {'a' * 70_000}", f"USER '{'a' * 70_000}'"),
    ("1.13 row 12: long heredoc lines", f"FROM s\nRUN <<E\n{'a' * 70_000}\nE", f"RUN '{'a' * 70_000}\\n'"),
    ("1.13 row 17: NONE takes no flags", "FROM s\nHEALTHCHECK --interval=1s NONE", "error: unknown flag: --interval"),
    ("1.13 row 18: STOPSIGNAL takes no flags", "FROM s\nSTOPSIGNAL --x 9", "error: unknown flag: --x"),
    ("1.13 row 18: ARG takes no flags", "FROM s\nARG --x A=1", "error: unknown flag: --x"),
    ("1.13 row 19: RUN of an empty list", "FROM s\nRUN []", "error: RUN requires at least one argument in its list"),
    ("1.13 row 19: bare RUN is only warned about", "FROM s\nRUN", "RUN ''"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "meaning"), [row[1:] for row in FACTS], ids=[row[0] for row in FACTS])
def test_facts(text: str, meaning: str) -> None:
    assert told(text) == meaning


def test_no_fact_is_told_twice() -> None:
    assert len({row[0] for row in FACTS}) == len({row[1] for row in FACTS}) == len(FACTS)
