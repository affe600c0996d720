"""Which value holds, of those that the command line, variables and files say, and how mistakes in files are named."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builder.cli.config.keys import KEYS, Key
from builder.cli.config.names import target_names
from tests.support.called import Call, Called
from tests.support.cli import write_context

LEVELS = ("system", "user", "project", "named", "environment", "command line")
KEY, OPTION, VARIABLE = "stage", "--target", "PYBUILD_TARGET"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project to be in, a home of its own, and nothing said anywhere."""
    write_context(
        tmp_path / "project", "FROM scratch\nLABEL a=b\n", {".git/HEAD": "", "sub/Dockerfile": "FROM scratch\n"}
    )
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path


@pytest.fixture
def say(place: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Write the file of a level."""

    def write(level: str, text: str) -> None:
        files = {"user": "home/.config/pybuild/pybuild.toml", "project": "project/pybuild.toml", "named": "named.toml"}
        path = place / files[level]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        if level == "named":
            monkeypatch.setenv("PYBUILD_CONFIG", str(path))

    return write


def shown(called: Called) -> dict[str, Any]:
    (build,) = called.json["builds"]
    values: dict[str, Any] = build["values"]
    return values


def test_what_counts_most(
    call: Call, place: Path, say: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each place, from the one that counts least on, overrides those before it."""
    words = ["config", "show", "--json", "--origin", "."]

    def value() -> tuple[str, str]:
        found = shown(call(*words)).get(KEY, {"value": "", "origin": ""})
        return found["value"], found["origin"]

    assert value() == ("", "")
    say("user", f"[build]\n{KEY} = 'user'\n")
    assert value() == ("user", f"{place}/home/.config/pybuild/pybuild.toml:2: build.stage (user)")
    say("project", f"[build]\n{KEY} = 'project'\n")
    assert value() == ("project", f"{place}/project/pybuild.toml:2: build.stage (project)")
    say("named", f"[build]\n{KEY} = 'named'\n")
    assert value() == ("named", f"{place}/named.toml:2: build.stage (--config)")
    monkeypatch.setenv(VARIABLE, "variable")
    assert value() == ("variable", f"{VARIABLE} (environment)")
    words += [OPTION, "option"]
    assert value() == ("option", f"{OPTION} (command line)")


FLAGS = [one for one in KEYS if one.kind == "flag"]


@pytest.mark.parametrize("key", FLAGS, ids=lambda key: key.name)
def test_a_flag_is_switched_on_and_off_by_what_counts_more(
    call: Call, say: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch, key: Key
) -> None:
    option = key.option
    # --no-base-annotations is base-annotations = false.
    on, off = ("false", "true") if option.endswith(f"no-{key.name}") else ("true", "false")

    def value(*words: str) -> str | None:
        text: str | None = shown(call("config", "show", "--json", *words, ".")).get(key.name)
        return text

    say("user", f"[build]\n{key.name} = {on}\n")
    assert value() == on
    if key.project == "yes":
        say("project", f"[build]\n{key.name} = {off}\n")
        assert value() == off
    say("named", f"[build]\n{key.name} = {on}\n")
    assert value() == on
    monkeypatch.setenv(key.variable, off)
    assert (value(), value(option), value(f"{option}=true")) == (off, on, on)
    monkeypatch.setenv(key.variable, on)
    assert (value(), value(f"{option}=false"), value(option, f"{option}=false")) == (on, off, off)


@pytest.mark.parametrize("text", ["1", "true", "TRUE", "t"])
def test_the_projects_file_may_be_left_out(
    call: Call, say: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    say("project", "[build]\nno-cache = true\n[target.api]\n")
    monkeypatch.setenv("PYBUILD_NO_PROJECT_CONFIG", text)
    assert shown(call("config", "show", "--json", ".")) == {"context": "."}
    assert call("config", "targets").lines == ["no file describes a target"]
    assert target_names(os.environ) == {}
    assert shown(call("config", "show", "--json", "--no-project-config=false", ".")) == {
        "context": ".",
        "no-cache": "true",
    }
    monkeypatch.setenv("PYBUILD_NO_PROJECT_CONFIG", "yes")
    assert "PYBUILD_NO_PROJECT_CONFIG=yes: expected true or false" in call(".", status=64).err


def test_a_target_comes_before_what_it_inherits(call: Call, say: Callable[[str, str], None]) -> None:
    say(
        "project",
        """
        [build]
        stage = "build"
        pull = "always"
        format = "docker"
        compat = 1
        [target.far]
        stage = "far"
        pull = "missing"
        format = "oci"
        [target.near]
        inherits = ["far"]
        stage = "near"
        pull = "never"
        [target.other]
        tags = ["x:1"]
        [target.api]
        inherits = ["near", "other", "far"]
        stage = "api"
        """,
    )
    assert shown(call("config", "show", "--json", "api")) == {
        "context": ".",
        "stage": "api",
        "pull": "never",
        "format": "oci",
        "compat": "1",
        "tags": ["x:1"],
    }
    assert shown(call("config", "show", "--json", "."))["stage"] == "build"


def test_a_trusted_file_adds_to_a_projects_target(call: Call, say: Callable[[str, str], None]) -> None:
    say("project", "[target.api]\ncontext = 'sub'\nargs = { A = '1', B = '1' }\n")
    say("named", "[target.api]\nsecrets = [{ id = 'x', env = 'X' }]\nargs = { B = '2' }\n")
    assert shown(call("config", "show", "--json", "api")) == {
        "context": "sub",
        "args": ["A=1", "B=2"],
        "secrets": ["id=x,env=X"],
    }


def test_a_project_does_not_choose_who_inherits_trust(call: Call, say: Callable[[str, str], None]) -> None:
    say("project", "[target.base]\nargs = { A = '1' }\n[target.api]\ninherits = ['base', 'release']\n")
    say("named", "[target.base]\njobs = 1\n[target.release]\npush = true\nargs = { B = '2' }\n")
    assert shown(call("config", "show", "--json", "api")) == {"context": ".", "args": ["A=1"]}
    assert shown(call("config", "show", "--json", "base")) == {"context": ".", "args": ["A=1"], "jobs": "1"}
    say("named", "[target.base]\njobs = 1\n[target.release]\npush = true\n[target.api]\ninherits = 'base'\n")
    assert shown(call("config", "show", "--json", "api")) == {"context": ".", "args": ["A=1"], "jobs": "1"}


def test_a_projects_group_has_no_trusted_target(call: Call, place: Path, say: Callable[[str, str], None]) -> None:
    say(
        "project",
        "[target.api]\n[target.web]\n[group]\nall = ['web', 'more']\nmore = 'api'\nwebs = 'web'\ndefault = 'all'",
    )
    say("named", "[target.api]\npush = true\n[group]\nmine = ['api', 'web']\ntheirs = ['webs', 'more']\n")
    for words in ((), ("all",), ("more",), ("default",), ("theirs",), ("web", "all")):
        told = call("config", "show", *words, status=64).err
        assert f"{place}/named.toml: target.api: a project's file may not say this: that its group" in told
        assert "hint: name api in the command, or write the group into named.toml" in told
    for words in (("mine",), ("api", "web"), ("webs",)):
        call("config", "show", *words)


def test_entries_with_names_are_put_together_and_lists_replaced(
    call: Call, say: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYBUILD_SECRET", "id=b,env=THERE\nid=c,env=C")
    monkeypatch.setenv("PYBUILD_PLATFORM", "linux/arm64\nlinux/amd64")
    say(
        "user",
        """
        [build]
        secrets = [{ id = "a", env = "A" }, "id=b,env=HERE"]
        add-host = ["db:10.0.0.1", "cache=10.0.0.2"]
        ulimits = { nofile = "1024", core = "0" }
        labels = ["a", "b=1"]
        tags = ["a:1", "b:1"]
        platforms = "linux/riscv64"
        dns = ["10.0.0.1"]
        """,
    )
    words = ["--tag=c:1", "--label=b=2", "--label=c", "--add-host=db:10.0.0.9", "--ulimit=core=1", "--dns=10.0.0.2"]
    assert shown(call("config", "show", "--json", *words, ".")) == {
        "context": ".",
        "secrets": ["id=a,env=A", "id=b,env=THERE", "id=c,env=C"],
        "add-host": ["db:10.0.0.9", "cache=10.0.0.2"],
        "ulimits": ["nofile=1024", "core=1"],
        "labels": ["a", "b=2", "c"],
        "tags": ["c:1"],
        "platforms": ["linux/arm64", "linux/amd64"],
        "dns": ["10.0.0.2"],
    }


def test_a_variable_turns_off_what_a_file_turns_on(
    call: Call, say: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    say("user", "[build]\npush = true\noffline = true\nno-cache = true\nbase-annotations = false\n")
    monkeypatch.setenv("PYBUILD_PUSH", "false")
    monkeypatch.setenv("PYBUILD_OFFLINE", "0")
    monkeypatch.setenv("PYBUILD_NO_CACHE", "")
    monkeypatch.setenv("PYBUILD_BASE_ANNOTATIONS", "True")
    found = shown(call("config", "show", "--json", "."))
    wanted = {"push": "false", "offline": "false", "no-cache": "true", "base-annotations": "true"}
    assert found == {"context": ".", **wanted}


def test_the_epoch_of_the_environment_comes_before_a_files(
    call: Call, say: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    say("project", "[build]\nsource-date-epoch = 1700000000\n")
    assert shown(call("config", "show", "--json", "."))["source-date-epoch"] == "1700000000"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    assert "source-date-epoch" not in shown(call("config", "show", "--json", "."))
    words = ["--source-date-epoch", "2"]
    assert shown(call("config", "show", "--json", *words, "."))["source-date-epoch"] == "2"


def test_paths_are_beside_their_file(
    call: Call, place: Path, say: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    say(
        "project",
        """
        [target.api]
        context = "sub"
        dockerfile = "sub/Dockerfile"
        contexts = { a = "sub", b = "docker-image://debian", c = "oci-layout://sub:1" }
        outputs = [{ type = "oci", dest = "a,b.tar" }, "type=local,dest=out"]
        iidfile = "iid"
        """,
    )
    say(
        "named",
        """
        [build]
        secrets = [{ id = "a", src = "secret" }, "id=b,env=B"]
        ssh = ["default", "x=key,other"]
        cache-from = ["registry.example/a", { type = "local", src = "cache" }]
        cache-to = { type = "local", dest = "/cache" }
        """,
    )
    monkeypatch.chdir(place / "project/sub")
    top = str(place / "project")
    found = shown(call("config", "show", "--json", "api"))
    assert os.path.realpath(found.pop("context")) == f"{top}/sub"
    assert found == {
        "dockerfile": f"{top}/sub/Dockerfile",
        "contexts": [f"a={top}/sub", "b=docker-image://debian", f"c=oci-layout://{top}/sub:1"],
        "outputs": [f'type=oci,"dest={top}/a,b.tar"', f"type=local,dest={top}/out"],
        "iidfile": f"{top}/iid",
        "secrets": [f"id=a,src={place}/secret", "id=b,env=B"],
        "ssh": ["default", f"x={place}/key,{place}/other"],
        "cache-from": ["registry.example/a", f"type=local,src={place}/cache"],
        "cache-to": ["type=local,dest=/cache"],
    }


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["a"], "target.a.timings: {0}/out/l/x is in what an output writes ({1}: target.a.outputs)"),
        (["c", "b"], "target.b.context: {0}/out/l is in what an output writes ({1}: target.c.outputs)"),
        (["c", "f"], "target.f.contexts.x: {0}/out/l is in what an output writes ({1}: target.c.outputs)"),
        (["c", "g"], "target.g.dockerfile: {0}/out/D is in what an output writes ({1}: target.c.outputs)"),
        (["c", "h"], "target.h.outputs: {0}/out/h.tar is in what an output writes ({1}: target.c.outputs)"),
        (["-o", "out", "b"], "target.b.context: {0}/out/l is in what an output writes (--output)"),
        (["--iidfile", "out/iid", "c"], "target.c.outputs: {0}/out/iid would be in what it writes (--iidfile)"),
    ],
)
def test_nothing_of_a_project_goes_where_an_image_puts_links(
    call: Call, place: Path, say: Callable[[str, str], None], words: list[str], problem: str
) -> None:
    say(
        "project",
        """
        [target]
        a = { outputs = "out", timings = "out/l/x" }
        b = { context = "out/l" }
        c = { outputs = "type=local,dest=out" }
        d = { iidfile = "out/../iid", context = "out" }
        f = { contexts = { x = "out/l" } }
        g = { dockerfile = "out/D" }
        h = { outputs = "type=tar,dest=out/h.tar" }
        """,
    )
    project = place / "project"
    text = problem.format(project, f"{project}/pybuild.toml").replace(": ", ": a project's file may not say this: ", 1)
    for command in (["config", "show", *words], words):
        assert text in re.sub(r"toml:\d+:", "toml:", call(*command, status=64).err)
    assert not (project / "out").exists()
    call("config", "show", "c", "d")
    call("config", "show", "--no-project-config", "-o", "out", "--iidfile", "out/iid", ".")


def test_show_for_people(
    call: Call, place: Path, say: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    say("project", '[build]\ntags = ["a:1"]\nlabels = { x = "\\u001b[31m" }\n')
    say(
        "user",
        "[store]\nmax-size = '5g'\nroot = 'here'\n[registry.'x.example']\nmirrors = 'm.example'\ninsecure = true\n"
        "[registries.map]\n'a.example' = 'b.example'\n",
    )
    monkeypatch.setenv("PYBUILD_PLATFROM", "x")
    user = f"{place}/home/.config/pybuild/pybuild.toml"
    assert call("config", "show", "--origin", ".").lines == [
        f"# {place}/project/pybuild.toml (project)",
        f"# {user} (user)",
        "",
        "[build]",
        "context = .        # CONTEXT (command line)",
        f"labels  = x=\ufffd[31m  # {place}/project/pybuild.toml:3: build.labels.x (project)",
        f"tags    = a:1      # {place}/project/pybuild.toml:2: build.tags[0] (project)",
        "",
        "[store]",
        f"root = {place}/home/.config/pybuild/here",
        "max-size = 5g",
        "",
        "[registry.x.example]",
        "mirrors = m.example",
        "insecure = true",
        "",
        "[registries.map]",
        "a.example = b.example",
        "# PYBUILD_PLATFROM means nothing (did you mean PYBUILD_PLATFORM?)",
    ]


def test_targets(call: Call, say: Callable[[str, str], None]) -> None:
    assert call("config", "targets").lines == ["no file describes a target"]
    say("project", "[target.api]\ndescription = 'an API'\n[target.web]\n[group]\ndefault = ['api', 'web']\n")
    assert call("config", "targets").lines == ["default  builds api, web", "api      an API", "web"]
    assert call("config", "targets", "--no-project-config").lines == ["no file describes a target"]
    assert call("config", "targets", "--json").json[1] == {"name": "api", "description": "an API"}
    assert target_names(os.environ) == {"default": "builds api, web", "api": "an API", "web": ""}
    say("project", "[target.api]\npush = true\n")
    assert target_names(os.environ) == {}


# --- mistakes


@pytest.mark.parametrize(
    ("text", "problem", "hint"),
    [
        ("[builds]", "builds: there is no such setting", "did you mean build?"),
        ('[build]\ncontext = "a\\u0000"', "build: expected texts without NUL characters", ""),
        ("build = 1", "build: expected a table", ""),
        ("[build]\ntag = 'x'", "build.tag: there is no such setting", "it is called tags here"),
        ("[build]\nbuild-arg = []", "build.build-arg: there is no such setting", "it is called args here"),
        ("[build]\nplatfroms = []", "build.platfroms: there is no such setting", "did you mean platforms?"),
        ("[build]\nnonsense = []", "build.nonsense: there is no such setting", "pybuild config schema"),
        ("[build]\ncreds = 'me:pw'", "build.creds: passwords do not belong", "pybuild login"),
        ("[build]\ninherits = 'x'", "build.inherits: there is no such setting", ""),
        ("[build]\nno-cache = 'yes'", "build.no-cache: expected true or false", ""),
        ("[build]\ntags = 5", "build.tags: expected a text or a list of them", ""),
        ("[build]\ntags = ['a', 5]", "build.tags[1]: expected a text", ""),
        ("[build]\nargs = 5", "build.args: expected a table of texts, or a list of NAME=VALUE", ""),
        ("[build]\nargs = { A = 3.10 }", "build.args.A: expected a text", 'put the value in quotes: A = "3.1"'),
        ("[build]\nargs = { A = true }", "build.args.A: expected a text", 'put the value in quotes: A = "true"'),
        ("[build]\nargs = { A = [] }", "build.args.A: expected a name without = and a text", ""),
        ("[build]\nargs = { 'A=B' = '' }", 'build.args."A=B": expected a name without =', ""),
        ("[build]\ncontexts = { a = '' }", "build.contexts.a: say where it is", ""),
        ("[build]\npull = 'alwys'", "build.pull: expected one of auto, always, missing, never", "always"),
        ("[build]\noutputs = 5", "build.outputs: expected a table, a text, or a list", ""),
        ("[build]\noutputs = [{}]", "build.outputs[0]: expected a table, a text, or a list", ""),
        ("[build]\noutputs = [{ dest = [] }]", "build.outputs[0].dest: expected a text, a number", ""),
        ("[build]\noutputs = { dest = [] }", "build.outputs.dest: expected a text, a number", ""),
        ("[target.'a b']", 'target."a b": a name has letters', ""),
        ("[target.-a]", "target.-a: a name has letters", ""),
        ("[target]\na = 1", "target.a: expected a table", ""),
        ("[target.a]\ninherits = 'b'", "target.a.inherits: there is no target called b", "no file describes another"),
        ("[target.a]\ninherits = 'b'\n[target.b]\ninherits = 'a'", "target.a.inherits: it inherits from itself", ""),
        ("[target.api]\n[group]\nall = 'apl'", "group.all: there is no target called apl", "did you mean api?"),
        ("[group]\na = 'b'\nb = 'a'", "group.a: it contains itself", ""),
        ("[target.a]\n[group]\na = 'a'", "group.a: there is a target of this name", ""),
        ("[build]\ntags = ['A B']", "build.tags[0]: ", ""),
        ("[build]\nplatforms = ['linux/amd64', 'vax']", "build.platforms[1]: unknown architecture", "os/architecture"),
        ("[build]\nannotations = { 'x:y' = 'z' }", 'build.annotations."x:y": unknown annotation type', ""),
        ("[build]\ncompat = 99", "build.compat: ", ""),
        (
            "[build]\noutputs = 'type=zip'",
            "build.outputs: a project's file may not say this: the types of outputs are",
            "",
        ),
    ],
)
def test_mistakes_in_a_projects_file(
    call: Call, place: Path, say: Callable[[str, str], None], text: str, problem: str, hint: str
) -> None:
    say("project", text)
    told = call("config", "show", ".", status=64).err
    assert problem in re.sub(rf"{place}/project/pybuild.toml:(\d:)? ", "", told)
    assert "pybuild.toml:" in told
    assert hint in told
    assert call(".", status=64).err == told


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[build]\nmemory = '1k'", "build.memory: at least 4m"),
        ("[build]\ncpus = 'many'", "build.cpus: expected a number of CPUs"),
        ("[build]\nallow = ['all']", "build.allow[0]: there is no such permission"),
        ("[build]\nadd-host = ['x']", "build.add-host[0]: expected NAME:ADDRESS"),
        ("[build]\ndns = ['x']", "build.dns[0]: 'x' is not an IP address"),
        ("[build]\nulimits = { x = '1' }", "build.ulimits.x: there is no limit 'x'"),
        ("[build]\ncache-from = [{ type = 's3' }]", "build.cache-from[0]: unknown type 's3'"),
        ("[build]\ncache-to = [{ type = 'local' }]", "build.cache-to[0]: type=local needs dest=DIR"),
        ("[build]\nsecrets = [{ id = 'a', src = 'a,b' }]", "build.secrets[0].src: commas separate"),
        ("[build]\njobs = 'many'", "build.jobs: expected a whole number"),
        ("[build]\ntimeout = -1", "build.timeout: expected a number of seconds"),
        ("[build]\ncompression = 'rar'", "build.compression: unknown compression 'rar'"),
        ("[build]\ncompression-level = 99", "build.compression-level: the level of gzip"),
        ("[build]\nsecrets = 'id=a,src=gone'", "build.secrets: there is no file"),
        ("[build]\nssh = ['default=gone']", "build.ssh[0]: "),
        ("[build]\ncompat = 1", "build.compat: the level is not for a user's or a machine's file"),
        ("[store]\nmax-size = 'much'", "store.max-size much: expected a size"),
        ("[registry.x]\nmirror = 'y'", "registry.x.mirror: there is no such setting"),
    ],
)
def test_mistakes_in_a_users_file(
    call: Call, place: Path, say: Callable[[str, str], None], text: str, problem: str
) -> None:
    say("user", text)
    told = call(".", status=(64, 66)).err
    assert problem in re.sub(rf"{place}/home/.config/pybuild/pybuild.toml:(\d:)? ", "", told), told


@pytest.mark.parametrize(
    ("variable", "value", "problem"),
    [
        ("PYBUILD_NO_CACHE", "yes", "PYBUILD_NO_CACHE=yes: expected true or false"),
        ("PYBUILD_PULL", "x", "PYBUILD_PULL=x: expected one of auto"),
        ("PYBUILD_ISOLATION", "vm", "PYBUILD_ISOLATION=vm: expected one of auto"),
        ("PYBUILD_TAG", "a\nA B", "PYBUILD_TAG: "),
        ("PYBUILD_PLATFORM", "vax", "PYBUILD_PLATFORM: unknown architecture"),
        ("PYBUILD_REGISTRY_MAP", "x", "--registry-map x: expected FROM=TO"),
    ],
)
def test_mistakes_in_variables(
    call: Call, place: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, problem: str
) -> None:
    monkeypatch.setenv(variable, value)
    assert problem in call(".", status=64).err


def test_a_mistake_has_its_line(call: Call, place: Path, say: Callable[[str, str], None]) -> None:
    text = """\
    # [build]
    [ build ]  # what
    tags = [
      "a:1",
    ]
    labels."a.b" = "1"
    [target."api"]
    args = { A = "1", "B C" = "2" }
    [target.web]
    contexts.far = ".."
    """
    for wrong, line, field in (
        ('"a:1"', 3, "build.tags[0]"),
        ('"1"', 6, 'build.labels."a.b"'),
        ('"2"', 8, 'target.api.args."B C"'),
        ("contexts", 10, "target.web.contxets"),
        ("args", 8, "target.api.contxets"),
        ("target.web", 9, "contxets"),
        ("as it is", 0, "target.web.contexts.far"),
    ):
        say("project", text.replace(wrong, "5" if wrong[0] == '"' else "contxets" if line else "", 1))
        named = f"pybuild.toml:{line or 10}: {field}"
        assert named in call("config", "targets", status=64).err
    say("project", text.replace('contexts.far = ".."', "pull = 'never'"))
    assert "pybuild.toml:10: target.web.pull" in call("config", "show", "--origin", "web").out


def test_mistakes_are_in_the_metadata_file(call: Call, place: Path, say: Callable[[str, str], None]) -> None:
    say("project", "[build]\npush = true\n")
    call("--metadata-file", "m.json", ".", status=64)
    assert "build.push" in json.loads((place / "project/m.json").read_text())["message"]
