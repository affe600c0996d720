"""Instructions that only change the config, and what each writes to the history (dockerfile.md 1.6)."""

from __future__ import annotations

import pytest

from builder.dockerfile.source import DockerfileError
from builder.image.config import ContainerConfig, Healthcheck
from builder.image.platform import Platform
from builder.plan.gotext import duration, quote, quote_rune
from tests.support.plans import plan

SH = ("/bin/sh", "-c")
BASE = {"i": ContainerConfig(entrypoint=("/base",), cmd=("basecmd",))}


@pytest.mark.parametrize(
    ("lines", "entrypoint", "cmd"),
    [
        ([], ("/base",), ("basecmd",)),
        (["ENTRYPOINT [\"/e\"]"], ("/e",), None),
        (["CMD [\"c\"]"], ("/base",), ("c",)),
        (["CMD [\"c\"]", "ENTRYPOINT [\"/e\"]"], ("/e",), ("c",)),
        (["ENTRYPOINT [\"/e\"]", "CMD [\"c\"]"], ("/e",), ("c",)),
        (["ENTRYPOINT [\"/e\"]", "CMD [\"c\"]", "ENTRYPOINT [\"/f\"]"], ("/f",), ("c",)),
        (["ENTRYPOINT []"], None, None),
        (["CMD []"], ("/base",), ()),
        (["ENTRYPOINT e x"], (*SH, "e x"), None),
        (["CMD c $HOME"], ("/base",), (*SH, "c $HOME")),
        (["SHELL [\"/bin/bash\", \"-ec\"]", "CMD c"], ("/base",), ("/bin/bash", "-ec", "c")),
        (["CMD c", "SHELL [\"ls\"]"], ("/base",), (*SH, "c")),
        (["SHELL [\"ls\"]", "ENTRYPOINT e"], ("ls", "e"), None),
        (["ENTRYPOINT []random string"], (*SH, "[]random string"), None),
    ],
)  # fmt: skip
def test_entrypoint_and_cmd(lines: list[str], entrypoint: tuple[str, ...] | None, cmd: tuple[str, ...] | None) -> None:
    config = plan("\n".join(["FROM i", *lines]), BASE).config
    assert (config.entrypoint, config.cmd) == (entrypoint, cmd)
    # The same through a stage of the file: a CMD of the parent stage counts as inherited.
    staged = plan("\n".join(["FROM i AS a", "FROM a", *lines]), BASE).config
    assert (staged.entrypoint, staged.cmd) == (entrypoint, cmd)


def test_a_cmd_of_the_parent_stage_does_not_survive_an_entrypoint() -> None:
    config = plan('FROM i AS a\nCMD ["c"]\nFROM a\nENTRYPOINT ["/e"]', BASE).config
    assert (config.entrypoint, config.cmd) == (("/e",), None)


def test_windows_has_another_shell() -> None:
    config = plan("FROM scratch\nCMD dir", platform=Platform.parse("windows/amd64")).config
    assert config.cmd == ("cmd", "/S", "/C", "dir")


@pytest.mark.parametrize(
    ("line", "created_by"),
    [
        ("ENV a=b c=\"d e\"", "ENV a=b c=d e"),
        ("ENV a b c", "ENV a=b c"),
        ("LABEL a=b \"c d\"='e f'", "LABEL a=b c d=e f"),
        ("LABEL a=b a=c", "LABEL a=b a=c"),
        ("ENV a=b a=c", "ENV a=b a=c"),
        ("ARG A", "ARG A"),
        ("ARG A=1 A=2", "ARG A=1 A=2"),
        ("ARG A=1 B", "ARG A=1 B"),
        ("CMD [\"a\", \"b c\"]", 'CMD ["a" "b c"]'),
        ("CMD a \"b\"", 'CMD ["/bin/sh" "-c" "a \\"b\\""]'),
        ("CMD []", "CMD []"),
        ("ENTRYPOINT [\"/e\"]", 'ENTRYPOINT ["/e"]'),
        ("EXPOSE 443 80/tcp 53/udp", "EXPOSE [443/tcp 53/udp 80/tcp]"),
        ("EXPOSE $NO", "EXPOSE []"),
        ("EXPOSE 9000-9002", "EXPOSE [9000/tcp 9001/tcp 9002/tcp]"),
        ("VOLUME /a /b", "VOLUME [/a /b]"),
        ("VOLUME [\"/a b\"]", "VOLUME [/a b]"),
        ("USER me:us", "USER me:us"),
        ("STOPSIGNAL SIGINT", "STOPSIGNAL SIGINT"),
        ("SHELL [\"/bin/bash\", \"-c\"]", "SHELL [/bin/bash -c]"),
        ("MAINTAINER Me <me@x>", "MAINTAINER Me <me@x>"),
        ("WORKDIR /", "WORKDIR /"),
        ("HEALTHCHECK NONE", 'HEALTHCHECK &{["NONE"] "0s" "0s" "0s" "0s" \'\\x00\'}'),
        (
            "HEALTHCHECK --interval=5m --timeout=3s --retries=3 CMD curl -f",
            'HEALTHCHECK &{["CMD-SHELL" "curl -f"] "5m0s" "3s" "0s" "0s" \'\\x03\'}',
        ),
    ],
)  # fmt: skip
def test_history_is_spelled_as_docker_does(line: str, created_by: str) -> None:
    made = plan(f"FROM scratch\n{line}")
    assert made.history == [created_by]
    (step,) = made.plan.steps
    assert step.vertex is None
    assert step.template.empty_layer
    assert step.template.comment == "buildkit.dockerfile.v0"


def test_onbuild_leaves_no_line_in_the_history() -> None:
    made = plan("FROM scratch\nONBUILD RUN x\nLABEL a=b")
    assert made.history == ["LABEL a=b"]
    assert made.config.onbuild == ("RUN x",)


def test_of_one_name_given_twice_the_last_value_counts() -> None:
    config = plan("FROM scratch\nENV a=b c=d a=e\nLABEL l=1 l=2").config
    assert config.env[-2:] == ("a=e", "c=d")
    assert config.labels == {"l": "2"}


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0s"),
        (1, "1ns"),
        (1_500, "1.5\u00b5s"),
        (2_000_000, "2ms"),
        (1_000_000_000, "1s"),
        (1_500_000_000, "1.5s"),
        (60_000_000_000, "1m0s"),
        (3_600_000_000_000, "1h0m0s"),
        (5_430_000_000_001, "1h30m30.000000001s"),
        (90_061_000_000_000, "25h1m1s"),
    ],
)
def test_durations_are_spelled_as_go_does(nanoseconds: int, text: str) -> None:
    assert duration(nanoseconds) == text


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("a", '"a"'),
        ('a"\\', '"a\\"\\\\"'),
        ("\n\t\x00\x7f", '"\\n\\t\\x00\\x7f"'),
        ("\u00e9\u4e16", '"\u00e9\u4e16"'),
        ("\udcff", '"\\xff"'),
        ("\u200b", '"\\u200b"'),
        ("\U000e0001", '"\\U000e0001"'),
    ],
)
def test_strings_are_quoted_as_go_does(text: str, quoted: str) -> None:
    assert quote(text) == quoted


@pytest.mark.parametrize(
    ("number", "quoted"),
    [
        (0, "'\\x00'"),
        (39, "'\\''"),
        (97, "'a'"),
        (0xD800, "'\ufffd'"),
        (0x10FFFF, "'\\U0010ffff'"),
        (0x110000, "'\ufffd'"),
        (1 << 70, "'\ufffd'"),
    ],
)
def test_numbers_are_quoted_as_go_does(number: int, quoted: str) -> None:
    assert quote_rune(number) == quoted


def test_values_reach_the_config() -> None:
    made = plan(
        """FROM scratch
        ENV P=8080
        EXPOSE $P 53/UDP
        EXPOSE 8080
        VOLUME /a /a $P
        VOLUME ["/b c"]
        LABEL a=1 b=2
        LABEL a=3
        STOPSIGNAL 9
        USER ${P}:1
        MAINTAINER me
        HEALTHCHECK --start-period=1s --start-interval=2s CMD ["x"]
        """,
        labels={"b": "cli", "z": "cli"},
    )
    config = made.config
    assert config.exposed_ports == ("53/udp", "8080/tcp") or config.exposed_ports == ("8080/tcp", "53/udp")
    assert config.volumes == ("/a", "8080", "/b c")
    assert dict(config.labels) == {"a": "3", "b": "cli", "z": "cli"}
    assert (config.stop_signal, config.user, made.plan.author) == ("9", "8080:1", "me")
    assert config.healthcheck == Healthcheck(test=("CMD", "x"), start_period=10**9, start_interval=2 * 10**9)


def test_expose_splits_what_a_variable_gives() -> None:
    assert set(plan('FROM scratch\nENV P="80 443/udp"\nEXPOSE $P').config.exposed_ports) == {"80/tcp", "443/udp"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("VOLUME $NO", "empty string"),
        ("STOPSIGNAL NOPE", "(?i)nope"),
        ("STOPSIGNAL 0", "0"),
        ("EXPOSE 70000", "70000"),
        ("EXPOSE 80/xyz", "(?i)proto"),
        ("ENV $NO=1", "blank"),
        ("LABEL $NO=1", "blank"),
        ("ENV A=${B?must}", "B: must"),
        ("ADD --checksum=sha256:abc http://x/y /", "invalid checksum"),
        ("ADD --checksum=md5:abc http://x/y /", "invalid checksum"),
        ("ADD --checksum=sha256:" + "a" * 64 + " file /", "local path"),
        ("ADD --checksum=sha256:" + "a" * 64 + " http://x/y http://x/z /d/", "multiple sources"),
        ("COPY http://x/y /", "can't be a URL"),
        ("COPY https://x/y.git /", "can't be a URL"),
        ("COPY --chmod=64a f /", "invalid chmod parameter: '64a'"),
        ("COPY --chmod=10000 f /", "invalid chmod parameter: '10000'"),
        ("COPY --chmod=\u0661 f /", "chmod"),
    ],
)
def test_bad_values_are_errors_with_a_place(line: str, message: str) -> None:
    with pytest.raises(DockerfileError, match=message) as caught:
        plan(f"FROM scratch\n{line}")
    assert caught.value.span is not None
    assert caught.value.span.start_line == 2


def test_the_bases_config_is_inherited() -> None:
    given = ContainerConfig(
        user="u",
        working_dir="/w",
        labels={"a": "1"},
        exposed_ports=("80/tcp",),
        volumes=("/v",),
        stop_signal="SIGINT",
        healthcheck=Healthcheck(test=("CMD", "x")),
        shell=("bash", "-c"),
        env=("PATH=/p",),
        extra={"X": 1},
        onbuild=(),
    )
    assert plan("FROM i", {"i": given}).config == given
    assert plan("FROM i AS a\nFROM a", {"i": given}).config == given


def test_scratch_has_a_path_and_a_working_directory() -> None:
    made = plan("FROM scratch")
    assert made.config == ContainerConfig(
        working_dir="/", env=("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",)
    )
    assert made.plan.target is None
    assert made.plan.steps == ()
