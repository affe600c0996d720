"""Cache hits that were wrong in other builders (pain-points.md 9), one test for each: none of them is one here.

Each builds a project, changes it, and builds it again in the same store: the image is the one that an empty store
gives, and the steps that had to be executed were. The numbers are those of issues, or of what mended them, of kaniko
(K), of its successor at osscontainertools (O) and of BuildKit (B). Tests without a number are of the same kind.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.builds import Built, Files, Workshop, hash_first, pack_at_once
from tests.support.httpd import Quiet, serving
from tests.support.images import directory, file, layer, write_layout
from tests.support.observing import install

EPOCH = 1_000_000_000


@dataclass
class Twice:
    """Builds with a store that remembers, and checks each with one that does not."""

    shop: Workshop
    count: int = 0

    def build(self, text: str, files: Files | None = None, **options: Any) -> Built:
        built = self.shop.build(text, files, epoch=EPOCH, **options)
        self.count += 1
        fresh = Workshop(self.shop.store.with_name(f"fresh-{self.count}"), self.shop.context)
        assert fresh.build(text, epoch=EPOCH, **options).digest == built.digest
        return built


@pytest.fixture(autouse=True, params=[hash_first, pack_at_once])
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of carrying out a COPY."""
    request.param(monkeypatch)


@pytest.fixture
def twice(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> Twice:
    install(monkeypatch)
    return Twice(shop)


def executed(built: Built) -> list[str]:
    """Return the texts of the steps that were executed."""
    return [name.partition("] ")[2] for name in built.seen.executed]


def base(folder: Path, name: str, *members: Any, **container: Any) -> dict[str, str]:
    """Write an image; return it as the context ``base``."""
    write_layout(folder / name, [layer(*members)], container=container)
    return {"base": f"oci-layout://{folder / name}:latest"}


# --- stages


def test_k870_what_a_stage_made_anew_is_copied_anew(twice: Twice) -> None:
    text = "FROM scratch AS s\nCOPY src /src\nRUN make u1u\nFROM scratch\nCOPY --from=s /d-u1u /out"
    first = twice.build(text, {"src/page": "one"})
    second = twice.build(text, {"src/page": "two"})
    assert executed(second) == ["COPY src /src", "RUN make u1u", "COPY --from=s /d-u1u /out"]
    assert first.text("out/seen") != second.text("out/seen")


def test_k589_a_wildcard_in_a_stage_sees_what_the_stage_has_now(twice: Twice) -> None:
    text = "FROM scratch AS s\nCOPY . /all/\nFROM scratch\nCOPY --from=s /all/*.jar /"
    twice.build(text, {"a.jar": "one"})
    assert twice.build(text, {"a.jar": "two"}).text("a.jar") == "two"
    assert set(twice.build(text, {"b.jar": "three"}).tree) == {"a.jar", "b.jar"}


def test_k1262_a_stage_that_begins_with_copying_sees_what_another_made_this_time(twice: Twice) -> None:
    """The command stays the same, and gives something else."""
    text = "FROM base AS build\nRUN date > u1u\nFROM scratch\nCOPY --from=build /d-u1u/seen /date\nRUN cat u2u"
    contexts = [base(twice.shop.context.parent, name, file("etc/date", name)) for name in ("monday", "tuesday")]
    first = twice.build(text, contexts=contexts[0])
    second = twice.build(text, contexts=contexts[1])
    assert executed(second) == ["RUN date > u1u", "COPY --from=build /d-u1u/seen /date", "RUN cat u2u"]
    assert first.text("date") != second.text("date")
    assert executed(twice.build(text, contexts=contexts[0])) == []


def test_k1348_a_program_that_was_built_anew_is_copied_into_a_directory_anew(twice: Twice) -> None:
    text = (
        "FROM scratch AS builder\nWORKDIR /app\nCOPY resources ./resources\nRUN go build u1u\n"
        "FROM scratch\nWORKDIR /app\nCOPY --from=builder /d-u1u/seen /app"
    )
    first = twice.build(text, {"resources/a": "one"})
    second = twice.build(text, {"resources/a": "two"})
    assert executed(second)[-2:] == ["RUN go build u1u", "COPY --from=builder /d-u1u/seen /app"]
    assert first.text("app/seen") != second.text("app/seen")


def test_k845_k1600_a_step_after_copying_from_a_stage_is_redone_when_the_files_differ(twice: Twice) -> None:
    text = (
        "FROM scratch AS s\nWORKDIR /source\nCOPY . .\nFROM scratch\nWORKDIR /t\nCOPY --from=s /source .\nRUN chown u1u"
    )
    twice.build(text, {"myfile": "VALUE"})
    second = twice.build(text, {"myfile": "OTHER"})
    assert second.text("t/myfile") == "OTHER"
    assert executed(second)[-1] == "RUN chown u1u"


@pytest.mark.parametrize("source", ["FROM $SRC AS s", "FROM $SRC AS below\nFROM below AS s"], ids=["o655", "k1833"])
def test_a_stage_without_steps_is_what_its_base_is(twice: Twice, tmp_path: Path, source: str) -> None:
    contexts = {name: base(tmp_path, name, file("bin/tool", name))["base"] for name in ("one", "two")}
    text = f"ARG SRC\n{source}\nFROM scratch\nCOPY --from=s /bin/tool /tool"
    for name in contexts:
        assert twice.build(text, contexts=contexts, build_args={"SRC": name}).text("tool") == name


def test_k1833_the_same_command_on_another_base_through_a_stage(twice: Twice, tmp_path: Path) -> None:
    text = "FROM base AS below\nFROM below\nRUN cat /etc/os-release u1u"
    seen = set()
    for name in ("stretch", "buster"):
        built = twice.build(text, contexts=base(tmp_path, name, file("etc/os-release", name)))
        seen.add(built.text("d-u1u/seen"))
    assert len(seen) == 2


def test_b3291_owners_and_modes_of_files_in_a_stage_count(twice: Twice) -> None:
    text = "FROM scratch AS s\nCOPY{} f /f\nFROM scratch\nCOPY --from=s /f /f"
    twice.build(text.format(""), {"f": "1234567890"})
    assert twice.build(text.format(" --chown=1000:1001")).shown("mode", "uid", "gid") == {"f": "file 644 1000 1001"}
    assert twice.build(text.format(" --chmod=4755")).shown("mode", "uid", "gid") == {"f": "file 4755 0 0"}


# --- arguments and environment


def test_k728_a_variable_made_of_an_argument_counts(twice: Twice) -> None:
    text = "FROM scratch AS build\nARG RUNTIME_ENV\nENV RUNTIME_ENV $RUNTIME_ENV\nRUN printenv > u1u"
    first = twice.build(text, build_args={"RUNTIME_ENV": "production"})
    second = twice.build(text, build_args={"RUNTIME_ENV": "staging"})
    assert executed(second) == ["RUN printenv > u1u"]
    assert first.text("d-u1u/seen") != second.text("d-u1u/seen")


def test_k1688_arguments_count_although_only_a_script_reads_them(twice: Twice) -> None:
    text = "FROM scratch\nCOPY test.sh /\nARG VERSION\nRUN sh /test.sh u1u"
    twice.build(text, {"test.sh": "echo $VERSION"}, build_args={"VERSION": "1"})
    second = twice.build(text, build_args={"VERSION": "2"})
    assert executed(second) == ["RUN sh /test.sh u1u"]
    assert executed(twice.build(text, build_args={"UNKNOWN": "3"})) == ["RUN sh /test.sh u1u"]


def test_a_global_argument_reaches_only_stages_that_declare_it(twice: Twice) -> None:
    text = "ARG V=1\nFROM scratch AS a\nRUN make u1u\nFROM scratch\nARG V\nRUN make u2u\nCOPY --from=a /d-u1u /a"
    twice.build(text)
    assert executed(twice.build(text, build_args={"V": "2"})) == ["RUN make u2u", "COPY --from=a /d-u1u /a"]


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("COPY f /$A/f", "{}/f"),
        ("ADD f /$A/f", "{}/f"),
        ("WORKDIR /$A/foo", "{}/foo"),
        ("COPY $A /f", "f"),
        ("COPY --chown=$N f /f", "f"),
    ],
    ids=["o792 copy", "o792 add", "o813 workdir", "source", "owner"],
)
def test_variables_count_with_their_values(twice: Twice, line: str, path: str) -> None:
    text = f"FROM scratch\nARG A\nARG N\n{line}"
    twice.build(text, {"f": "f", "one": "1", "two": "2"}, build_args={"A": "one", "N": "1"})
    second = twice.build(text, build_args={"A": "two", "N": "2"})
    assert path.format("two") in second.tree
    assert executed(second)


def test_the_environment_of_the_base_counts(twice: Twice, tmp_path: Path) -> None:
    text = "FROM base\nRUN make u1u"
    for name, container in {"one": {"Env": ["A=1"]}, "two": {"Env": ["A=2"]}, "three": {"User": "7"}}.items():
        assert executed(twice.build(text, contexts=base(tmp_path, name, directory("etc"), **container)))


@pytest.mark.parametrize(
    "line", ["ENV A=2", "USER 7", "WORKDIR /", 'SHELL ["/bin/bash", "-c"]', "ARG A=2"], ids=lambda line: line.split()[0]
)
def test_what_a_command_finds_itself_in_counts(twice: Twice, line: str) -> None:
    text = "FROM scratch\nENV A=1\nWORKDIR /w\n{}\nRUN make u1u"
    twice.build(text.format("LABEL a=b"))
    assert executed(twice.build(text.format(line))) == ["RUN make u1u"]


# --- here-documents


def test_o824_the_text_of_a_here_document_of_run_counts(twice: Twice) -> None:
    for body, script in (("echo hello", ""), ("echo world", ""), ("echo hello", "#!/bin/awk\n"), ("x", "#!/bin/awk\n")):
        assert executed(twice.build(f"FROM scratch\nRUN <<EOF\n{script}{body}\nEOF"))


def test_o822_variables_in_here_documents_count(twice: Twice) -> None:
    text = "FROM scratch\nARG A\nCOPY <<EOF /out.txt\nvalue=${A}\nEOF"
    for value in ("one", "two"):
        assert twice.build(text, build_args={"A": value}).text("out.txt") == f"value={value}\n"
    quoted = text.replace("<<EOF", '<<"EOF"')
    assert twice.build(quoted, build_args={"A": "two"}).text("out.txt") == "value=${A}\n"
    assert executed(twice.build(quoted, build_args={"A": "three"})) == []


# --- where one part ends and the next begins


def test_o873_values_cannot_pass_for_other_variables(twice: Twice) -> None:
    text = 'FROM scratch\nARG A\nARG B\nRUN echo "A=[$A] B=[$B]" u1u'
    seen = set()
    for a, b in (("x-B=z", "y"), ("x", "z-B=y"), ("x\nB=z", "y"), ("x,B=z", "y"), ("x\0", "y"), ("x", "\0y")):
        seen.add(twice.build(text, build_args={"A": a, "B": b}).text("d-u1u/seen"))
    assert len(seen) == 6


def test_o875_two_steps_cannot_pass_for_one(twice: Twice) -> None:
    text = "FROM scratch AS a\nRUN one-RUN two # u1u\nFROM scratch AS b\nRUN one\nRUN two # u1u\nFROM scratch\n"
    text += "COPY --from=a / /a\nCOPY --from=b / /b"
    first, second = twice.build(text), twice.build(text)
    assert executed(second) == []
    assert first.text("a/d-u1u/seen") != first.text("b/d-u1u/seen")


def test_o912_names_and_contents_cannot_pass_for_each_other(twice: Twice) -> None:
    digest = hashlib.sha256(b"x").hexdigest()
    text = "FROM scratch\nCOPY d /d"
    contents: list[dict[str, str]] = [
        {f"a{digest}b": "x"},
        {"a": "x", "b": "x"},
        {"a": "xb", f"{digest}": ""},
        {"ab": "x"},
        {"a/b": "x"},
    ]
    for number, names in enumerate(contents):
        folder = f"d{number}"
        built = twice.build(
            text.replace("COPY d", f"COPY {folder}"), {f"{folder}/{name}": one for name, one in names.items()}
        )
        assert {path for path, entry in built.tree.items() if entry.type == "file"} == {f"d/{name}" for name in names}


# --- files


def test_k2241_names_of_files_in_a_directory_count(twice: Twice) -> None:
    text = "FROM scratch\nCOPY test test"
    twice.build(text, {"test/1.txt": "1", "test/2.txt": "2"})
    (twice.shop.context / "test/2.txt").rename(twice.shop.context / "test/3.txt")
    assert set(twice.build(text).tree) == {"test", "test/1.txt", "test/3.txt"}


@pytest.mark.parametrize("mode", [0o755, 0o600, 0o4755, 0o1644])
def test_modes_of_files_count(twice: Twice, mode: int) -> None:
    text = "FROM scratch\nCOPY d /d\nRUN ls u1u"
    twice.build(text, {"d/f": "x"})
    (twice.shop.context / "d/f").chmod(mode)
    second = twice.build(text)
    assert second.tree["d/f"].mode == mode
    assert executed(second) == ["COPY d /d", "RUN ls u1u"]


def test_links_on_the_way_to_a_file_count_by_what_they_lead_to(twice: Twice) -> None:
    text = "FROM scratch\nCOPY current/f /f\nCOPY current /d"
    twice.build(text, {"v1/f": "1", "v2/f": "2", "current": lambda path: path.symlink_to("v1")})
    (twice.shop.context / "current").unlink()
    (twice.shop.context / "current").symlink_to("v2")
    second = twice.build(text)
    assert (second.text("f"), second.text("d/f")) == ("2", "2")


def test_a_dockerignore_file_counts_by_what_it_leaves(twice: Twice) -> None:
    text = "FROM scratch\nCOPY . /d"
    twice.build(text, {"a": "1", "b": "2", ".dockerignore": "b\n.dockerignore"})
    assert "d/b" in twice.build(text, {".dockerignore": ".dockerignore"}).tree
    assert executed(twice.build(text, {".dockerignore": "# again\nb\n.dockerignore\n"})) == []


def test_equal_size_and_time_do_not_make_equal_files(twice: Twice) -> None:
    path = twice.shop.context / "f"
    text = "FROM scratch\nCOPY f /f"
    twice.build(text, {"f": "one"})
    before = path.stat()
    for value in ("two", "ten"):
        path.write_text(value)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert twice.build(text).text("f") == value


@pytest.fixture
def served() -> Iterator[tuple[str, dict[str, bytes]]]:
    """A web server without validators: address, and bodies by path."""
    bodies: dict[str, bytes] = {}

    class Handler(Quiet):
        def do_GET(self) -> None:
            self.do_HEAD()
            self.wfile.write(bodies[self.path])

        def do_HEAD(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(bodies[self.path])))
            self.end_headers()

    with serving(Handler) as port:
        yield f"http://127.0.0.1:{port}", bodies


def test_k1429_a_changed_download_is_noticed(twice: Twice, served: tuple[str, dict[str, bytes]]) -> None:
    address, bodies = served
    text = f"FROM scratch\nADD {address}/lock /f\nRUN chmod u1u"
    bodies["/lock"] = b"one"
    twice.build(text)
    bodies["/lock"] = b"two"
    second = twice.build(text)
    assert second.text("f") == "two"
    assert executed(second)[-1] == "RUN chmod u1u"
