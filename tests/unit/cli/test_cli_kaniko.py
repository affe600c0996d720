"""What each flag of kaniko's executor becomes, what is left out, what is refused; docs/kaniko.md has the table."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from builder.cli.human import plain
from builder.cli.kaniko.flags import FLAGS, OLD, SUBCOMMANDS
from builder.cli.kaniko.given import read
from builder.cli.kaniko.translate import Equivalent, equivalent
from builder.cli.options import parse
from builder.errors import BuilderError, UsageError
from tests.support.cli import pybuild

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPO = "https://git.example/a.git?keep-git-dir=true&submodules=false"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current directory with files that flags name."""
    for name in ("Dockerfile", "elsewhere/Dockerfile", "elsewhere/Other", "Mine", "ca.pem", "me.pem"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("FROM reg.example/base\nCOPY --from=other.example:5000/x:1 / /\nFROM alpine\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def same(*words: str, **environment: str) -> Equivalent:
    return equivalent(read(words, environment), environment)


TRANSLATIONS: list[tuple[str, str]] = [
    # what is built
    ("-c . -d r.example/a", "-t r.example/a --push ."),
    ("--context=dir://elsewhere -d=a", "-f Dockerfile -t a --push ./elsewhere"),
    ("-celsewhere -da -fOther", "-f elsewhere/Other -t a --push ./elsewhere"),
    ("-c . -f Mine -d a", "-f Mine -t a --push ."),
    ("-c . -f nosuch -d a", "-f ./nosuch -t a --push ."),
    ("-c dir://. --context-sub-path elsewhere -f Other -d a", "-f ./elsewhere/Other -t a --push ./elsewhere"),
    ("-c . --context-sub-path elsewhere -d a", "-t a --push ."),
    ("-c tar://c.tgz -d a", "-t a --push - < c.tgz"),
    ("-c tar://stdin -d a", "-t a --push -"),
    ("-c tar://stdin -f sub/D -d a", "-f sub/D -t a --push -"),
    ("-c https://h.example/c.tgz -f sub/D -d a", "-f sub/D -t a --push https://h.example/c.tgz"),
    ("-c https://h.example/c.tgz -f Mine -d a", "-f - -t a --push https://h.example/c.tgz < Mine"),
    ("-c git://git.example/a.git -f D -d a", f"-f D -t a --push '{REPO}'"),
    ("-c git://git.example/a -f D -d a", f"-f D -t a --push '{REPO}'"),
    ("-c git://git.example/a.git#refs/heads/b -f D -d a", f"-f D -t a --push '{REPO}#refs/heads/b'"),
    (f"-c git://git.example/a.git#refs/heads/b#{COMMIT} -f D -d a", f"-f D -t a --push '{REPO}#{COMMIT}'"),
    ("-c git://git.example/a.git#x --git branch=b,depth=1 -f D -d a", f"-f D -t a --push '{REPO}#b'"),
    ("-c git://git.example/a.git --context-sub-path s/t -f D -d a", f"-f D -t a --push '{REPO}#:s/t'"),
    (
        "-c git://git.example/a.git --git recurse-submodules=true,single-branch=true -f D -d a",
        "-f D -t a --push 'https://git.example/a.git?keep-git-dir=true'",
    ),
    ("-c . -d a --target build", "-t a --push --target build ."),
    ("-c . -d a --build-arg A=1 --build-arg=B", "--build-arg A=... --build-arg B=... -t a --push ."),
    ("-c . -d a --label a=b --label c=d", "-t a --push --label a=b --label c=d ."),
    ("-c . -d a --annotation a=b", "-t a --push --annotation a=b ."),
    ("-c . -d a --custom-platform linux/arm64", "-t a --push --platform linux/arm64 ."),
    ("-c . -d a --customPlatform linux/arm64", "-t a --push --platform linux/arm64 ."),
    ("-c . -d a --secret id=a,src=ca.pem", "-t a --push --secret id=a,src=ca.pem ."),
    # where it goes
    ("-c . -d a -d b:1 --destination c", "-t a -t b:1 -t c --push ."),
    ("-c . --no-push", "--push=false ."),
    ("-c . -d a --no-push", "-t a --push=false ."),
    ("-c . -d a --no-push=false", "-t a --push ."),
    ("-c . -d a --no-push --tar-path o.tar", "-t a --push=false -o type=docker,dest=o.tar ."),
    ("-c . -d a --tarPath=o.tar", "-t a --push -o type=docker,dest=o.tar ."),
    ("-c . --no-push --tar-path a,b", "--push=false -o 'type=docker,\"dest=a,b\"' ."),
    ("-c . --no-push --oci-layout-path l", "--push=false -o type=oci,tar=false,dest=l ."),
    ("-c . -d a --digest-file d", "-t a --push --digest-file d ."),
    ("-c . -d a --image-name-with-digest-file d", "-t a --push ."),
    ("-c . -d a --image-name-tag-with-digest-file d", "-t a --push ."),
    ("-c . -d a --image-format docker", "-t a --push --format docker ."),
    ("-c . -d a --compression zstd --compression-level 3", "-t a --push --compression-level 3 --compression zstd ."),
    ("-c . -d a --compression-level -1", "-t a --push ."),
    ("-c . -d a --reproducible", "-t a --push --reproducible ."),
    ("-c . -d a --reproducible=false", "-t a --push --reproducible=false ."),
    # the cache
    (
        "-c . -d r.example/a:1 --cache",
        "-t r.example/a:1 --push --cache-from r.example/a/cache"
        " --cache-to type=registry,ref=r.example/a/cache,mode=max,ignore-error=true .",
    ),
    (
        "-c . -d a --cache true --cache-repo r.example/c --cache-copy-layers",
        "-t a --push --cache-from r.example/c --cache-to type=registry,ref=r.example/c,mode=max,ignore-error=true .",
    ),
    ("-c . -d a --cache=true --cache-repo=r.example/c --no-push-cache", "-t a --push --cache-from r.example/c ."),
    (
        "-c . --no-push --cache --cache-repo oci:/layers",
        "--push=false --cache-from type=local,src=/layers"
        " --cache-to type=local,dest=/layers,mode=max,ignore-error=true .",
    ),
    ("-c . -d a --cache=false", "-t a --push --no-cache ."),
    (
        "-c . -d a --cache --no-push-cache --cache-repo r.example/c --cache-run-layers=false",
        "-t a --push --no-cache --cache-from r.example/c .",
    ),
    ("-c . -d a --cache-repo r.example/c", "-t a --push ."),
    # registries
    (
        "-c . -d r.example:5000/a -d s.example/b --insecure",
        "-t r.example:5000/a -t s.example/b --push --insecure-registry r.example:5000 --insecure-registry s.example .",
    ),
    (
        "-c . -d r.example/a --skip-tls-verify --cache --no-push-cache --cache-repo c.example/x",
        "-t r.example/a --push --cache-from c.example/x --insecure-registry r.example --insecure-registry c.example .",
    ),
    (
        "-c . --no-push --insecure-pull",
        "--push=false --insecure-registry reg.example --insecure-registry other.example:5000 .",
    ),
    (
        "-c . --no-push --skip-tls-verify-pull --registry-mirror m.example/hub",
        "--push=false --insecure-registry reg.example --insecure-registry other.example:5000"
        " --insecure-registry m.example --registry-mirror m.example/hub .",
    ),
    (
        "-c . --no-push --insecure-registry a.example --skip-tls-verify-registry b.example",
        "--push=false --insecure-registry a.example --insecure-registry b.example .",
    ),
    (
        "-c . --no-push --registry-mirror a.example --registry-mirror b.example/hub",
        "--push=false --registry-mirror a.example --registry-mirror b.example/hub .",
    ),
    (
        "-c . --no-push --registry-mirror a.example --skip-default-registry-fallback",
        "--push=false --registry-map docker.io=a.example .",
    ),
    (
        "-c . --no-push --registry-map q.example=a.example;q.example=https://b.example/x --registry-map=r.example=c.io",
        "--push=false --registry-map q.example=a.example --registry-map q.example=b.example/x"
        " --registry-map r.example=c.io"
        " --registry-map q.example=q.example --registry-map r.example=r.example .",
    ),
    (
        "-c . --no-push --registry-map q.example=http://a.example:5000 --skip-default-registry-fallback=true",
        "--push=false --insecure-registry a.example:5000 --registry-map q.example=a.example:5000 .",
    ),
    (
        "-c . --no-push --registry-certificate r.example=ca.pem --registry-client-cert r.example=me.pem,me.pem",
        "--push=false --registry-certificate r.example=ca.pem --registry-client-cert r.example=me.pem,me.pem .",
    ),
    # how
    ("-c . -d a -v debug", "-t a --push --debug ."),
    ("-c . -d a --verbosity=trace --log-format=json", "-t a --push --debug --progress json ."),
    ("-c . -d a -v warn", "-t a --push --progress quiet ."),
    ("-c . -d a -vinfo --log-format color", "-t a --push ."),
    ("-c . -d a --log-format json", "-t a --push --progress json ."),
    ("-c . -d a --kaniko-dir nosuch", "-t a --push ."),
    ("-c . -d a --dryrun --digest-file d --build-arg A=1", "explain --build-arg A=... ."),
    ("-c . --no-push --tar-path= --digest-file= --image-name-with-digest-file= --target=", "--push=false ."),
    ("-c . --dryrun=false -d a", "-t a --push ."),
    ("--root s -c . --no-push --debug -- --jobs 2 --pull", "--push=false --root s --debug --jobs 2 --pull ."),
]  # fmt: skip


@pytest.mark.parametrize(("theirs", "ours"), TRANSLATIONS)
def test_what_is_translated(theirs: str, ours: str) -> None:
    found = same(*theirs.split())
    assert found.shown == f"pybuild {ours}"
    parse("explain" if found.dry else "build", found.words)


EXECUTORS_FLAGS = """
annotation azure-container-registry-config bucket build-arg cache cache-copy-layers cache-dir cache-repo
cache-run-layers cache-ttl cleanup compressed-caching compression compression-level context context-sub-path
credential-helpers custom-platform customPlatform destination digest-file dockerfile dryrun force
force-build-metadata git ignore-path ignore-var-run image-download-retry image-format image-fs-extract-retry
image-name-tag-with-digest-file image-name-with-digest-file insecure insecure-pull insecure-registry
kaniko-dir label log-format log-timestamp materialize no-push no-push-cache oci-layout-path pre-cleanup
preserve-context push-ignore-immutable-tag-errors push-retry registry-certificate registry-client-cert
registry-map registry-mirror reproducible secret single-snapshot skip-default-registry-fallback
skip-push-permission-check skip-tls-verify skip-tls-verify-pull skip-tls-verify-registry skip-unused-stages
snapshot-mode snapshotMode tar-path tarPath target use-new-run verbosity whitelist-var-run
"""
"""Those of the last release of the executor, and of its fork; a new one belongs here first."""


def test_there_is_an_answer_to_every_flag_of_an_executor() -> None:
    assert sorted([*FLAGS, *OLD]) == sorted(EXECUTORS_FLAGS.split())
    assert {flag.name for flag in FLAGS.values() if flag.fate == "refused"} == {"bucket", "materialize"}


@pytest.mark.parametrize("name", ["pybuild.toml", "pyproject.toml"])
def test_a_projects_file_is_not_read(folder: Path, name: str) -> None:
    """An executor's flags say all there is; whoever wants more asks for it."""
    (folder / name).write_text("[tool.pybuild.build]\n" if "project" in name else "[build]\n")
    found = same("-c", "dir://.", "-d", "a")
    assert found.shown == "pybuild --no-project-config -t a --push ."
    assert found.notices == (
        f"{name} is not read: an executor does not know it; -- --no-project-config=false reads it",
    )
    for own in ("--no-project-config=false", "--no-project-config"):
        found = same("-c", ".", "-d", "a", "--", own)
        assert (found.shown, found.notices) == (f"pybuild -t a --push {own} .", ())
    found = same("-c", ".", "-d", "a", PYBUILD_NO_PROJECT_CONFIG="1")
    assert (found.shown, found.notices) == ("pybuild -t a --push .", ())


def test_a_dry_run_needs_no_destination_and_leaves_no_files() -> None:
    found = same("-c", ".", "--dryrun", "--tar-path", "x.tar", "--cleanup")
    assert (found.shown, found.dry, found.names, found.tagged) == ("pybuild explain .", True, "", "")


def given_in(command: str) -> set[str]:
    words = [word.partition("=")[0] for word in command.split() if word.startswith("--")]
    return {OLD.get(word[2:], word[2:]) for word in words} | {
        flag.name for flag in FLAGS.values() if flag.short and f"-{flag.short}" in {w[:2] for w in command.split()}
    }


def test_every_flag_that_means_something_is_in_the_table_above() -> None:
    tried = {name for theirs, _ in TRANSLATIONS for name in given_in(theirs)}
    assert {flag.name for flag in FLAGS.values() if flag.fate in ("renamed", "translated")} - tried == set()


@pytest.mark.parametrize("name", [flag.name for flag in FLAGS.values() if flag.fate == "always"])
def test_what_needs_nothing(name: str) -> None:
    for value in ("true", "false") if FLAGS[name].kind == "switch" else ("5",):
        found = same("-c", ".", "--no-push", f"--{name}={value}")
        assert (found.shown, found.notices) == ("pybuild --push=false .", ())


@pytest.mark.parametrize("name", [flag.name for flag in FLAGS.values() if flag.fate == "ignored"])
def test_what_is_left_out_is_said(name: str) -> None:
    flag = FLAGS[name]
    values = {True: "true", False: "false"} if flag.kind == "switch" else {True: "x", False: "x"}
    found = same("-c", ".", "--no-push", f"--{name}={values[flag.speaking]}")
    assert found.shown == "pybuild --push=false ."
    assert found.notices == (f"--{name} is left out: {plain(flag.here)}",)
    if flag.kind == "switch":
        assert same("-c", ".", "--no-push", f"--{name}={values[not flag.speaking]}").notices == ()


def test_a_part_of_a_plain_directory_is_left_out_as_there() -> None:
    (notice,) = same("-c", ".", "--no-push", "--context-sub-path", "elsewhere").notices
    assert "needs a context with dir:// or git://" in notice


@pytest.mark.parametrize("name", [flag.name for flag in FLAGS.values() if flag.fate == "refused"])
def test_what_is_refused_says_what_to_use(name: str) -> None:
    with pytest.raises(UsageError, match=f"--{name} is not for pybuild") as caught:
        same("-c", ".", "--no-push", f"--{name}={'true' if FLAGS[name].kind == 'switch' else 'x'}")
    assert caught.value.hint == plain(FLAGS[name].here)
    if FLAGS[name].kind == "switch":
        assert same("-c", ".", "--no-push", f"--{name}=false").shown == "pybuild --push=false ."


MISTAKES: list[tuple[str, str, str]] = [
    ("-c .", "--destination is missing", "or --no-push"),
    ("-c= --no-push", "--context is empty", "--context ."),
    ("-c dir:// --no-push", "--context is empty", "--context ."),
    ("--no-push", "without --context it is /workspace/", "--context ."),
    ("-c s3://b/c.tgz --no-push", "not from there", "fetch the archive first"),
    ("-c gs://b/c.tgz --no-push", "not from there", "fetch the archive first"),
    ("-c https://acc.blob.core.windows.net/c/c.tgz --no-push", "not from there", "fetch the archive first"),
    ("-c ftp://u:s3cret@h/c.tgz --no-push", "ftp://...@h/c.tgz: not from there", "fetch the archive first"),
    ("-c tar://c.tgz --context-sub-path x --no-push", "tar://c.tgz is taken as a whole", "unpack the archive"),
    ("-c tar://c.tgz -f Mine --no-push", "already takes standard input", "put it into the archive"),
    ("-c . -f https://h.example/D --no-push", "not from a URL", "fetch it first"),
    ("-c git://h.example/a#b#c0ffee --no-push -f x", "a commit has its whole name", "40 or 64"),
    ("-c git://h.example/a --git colour=red --no-push", "unknown word 'colour=red'", "recurse-submodules"),
    ("-c git://h.example/a --git insecure-skip-tls=true --no-push", "with a certificate", "GIT_SSL_CAINFO"),
    ("-c . --no-push --cache", "--cache needs to know where", "--cache-repo"),
    ("-c . --no-push --cache=perhaps", "--cache=perhaps: expected true or false", ""),
    ("-c . -d a --target x --target y", "several stages", "one after the other"),
    ("-c . -d a --digest-file gs://b/d", "a file is written here", "gsutil"),
    ("-c . --no-push --image-name-with-digest-file d", "needs a --destination", ""),
    ("-c . -d UPPER", "is not a repository name", "lower-case"),
    ("-c tar://c.tgz --no-push --insecure-pull", "not known before the Dockerfile is read", "--insecure-registry HOST"),
    ("-c . --no-push --registry-map x", "expected FROM=TO", ""),
    ("-c . --no-push -v loud", "there is no such level", "one of trace"),
    ("-c . -d", "--destination needs a value", ""),
    ("-c . --destnation a", "has no flag --destnation", "did you mean --destination?"),
    ("-c . --jobs 4 -d a", "has no flag --jobs", "after --"),
    ("-x -c .", "has no flag -x", "after --"),
    ("-c . -d a stray", "stray belongs to no flag", "quote spaces"),
    *((word, f"{word} is another command", use) for word, use in SUBCOMMANDS.items()),
]


@pytest.mark.parametrize(("theirs", "problem", "hint"), MISTAKES)
def test_mistakes(theirs: str, problem: str, hint: str) -> None:
    with pytest.raises(BuilderError) as caught:
        same(*theirs.split())
    assert problem in caught.value.message
    assert hint in (caught.value.hint or "")
    assert caught.value.exit_code == 64
    assert "s3cret" not in str(caught.value)


def test_a_registry_that_a_build_argument_names_is_not_guessed(folder: Path) -> None:
    (folder / "Dockerfile").write_text("ARG R\nFROM $R/base\n")
    with pytest.raises(UsageError, match="is known when the build runs"):
        same("-c", ".", "--no-push", "--insecure-pull")


# --- the environment


def test_build_arguments_without_a_value_are_the_variables_or_empty() -> None:
    words = same("-c", ".", "--no-push", "--build-arg", "A", "--build-arg", "B", A="x y").words
    assert words[:4] == ("--build-arg", "A=x y", "--build-arg", "B=")


@pytest.mark.parametrize(
    ("environment", "ours"),
    [
        ({"KANIKO_NO_PUSH": "true"}, "-t a --push=false ."),
        ({"KANIKO_NO_PUSH": "0"}, "-t a --push ."),
        ({"KANIKO_REGISTRY_MIRROR": "m.example"}, "-t a --push --registry-mirror m.example ."),
        (
            {"KANIKO_REGISTRY_MAP": "q.example=m.example"},
            "-t a --push --registry-map q.example=m.example --registry-map q.example=q.example .",
        ),
        ({"FF_KANIKO_RUN_VIA_TINI": "true", "KANIKO_CLEANUP": "1", "BENCHMARK_FILE": "x"}, "-t a --push ."),
    ],
)  # fmt: skip
def test_variables(environment: dict[str, str], ours: str) -> None:
    assert same("-c", ".", "-d", "a", **environment).shown == f"pybuild {ours}"


@pytest.mark.parametrize(
    ("environment", "account"),
    [
        ({"GIT_TOKEN": "t/k"}, "t%2Fk:@"),
        ({"GIT_USERNAME": "u@v", "GIT_PASSWORD": "p:w"}, "u%40v:p%3Aw@"),
        ({}, "own:@"),
    ],
)
def test_accounts_for_git_are_in_what_runs_and_not_in_what_is_shown(environment: dict[str, str], account: str) -> None:
    found = same("-c", "git://own@git.example/a.git", "-f", "D", "--no-push", **environment)
    assert found.words[-1] == f"https://{account}git.example/a.git?keep-git-dir=true&submodules=false"
    assert shlex.split(found.shown)[-1] == "https://...@git.example/a.git?keep-git-dir=true&submodules=false"
    assert same("-c", "git://h/a.git", "-f", "D", "--no-push", GIT_PULL_METHOD="http").words[-1].startswith("http://h/")


def test_passwords_among_our_own_options_are_not_shown() -> None:
    own = ("--creds", "ann:s3cret", "--creds=r.example=bob:s3cret", "--build-arg=T=s3cret", "--build-arg", "U=s3cret")
    found = same("-c", ".", "--no-push", "--", *own, "--registry-mirror=https://a:s3cret@m.example")
    assert "s3cret" not in found.shown
    assert found.shown.startswith("pybuild --push=false --creds ... --creds=... --build-arg=T=... --build-arg U=... ")
    assert own[0] in found.words
    assert own[-1] in found.words


GITLAB = {"CI_REGISTRY": "r.example", "CI_REGISTRY_USER": "job", "CI_REGISTRY_PASSWORD": "s3cret"}


def test_the_account_of_a_gitlab_job_is_for_those_that_have_no_other(folder: Path) -> None:
    words = ("-c", ".", "-d", "r.example/a")
    found = same(*words, HOME=str(folder), **GITLAB)
    assert found.environment == {"PYBUILD_CREDS": "r.example=job:s3cret"}
    assert found.shown.startswith("PYBUILD_CREDS=... pybuild ")
    assert same(*words, "--credential-helpers", "gitlab", HOME=str(folder), **GITLAB).environment
    assert same(*words, "--credential-helpers=", HOME=str(folder), **GITLAB).environment == {}
    assert same(*words, HOME=str(folder), DOCKER_AUTH_CONFIG="{}", **GITLAB).environment == {}
    (folder / ".docker").mkdir()
    (folder / ".docker/config.json").write_text("{}")
    assert same(*words, HOME=str(folder), **GITLAB).environment == {}


def test_accounts_that_were_put_where_an_executor_has_them(folder: Path) -> None:
    (folder / "k/.docker").mkdir(parents=True)
    (folder / "k/.docker/config.json").write_text("{}")
    found = same("-c", ".", "-d", "a", "--kaniko-dir", f"{folder}/k", **GITLAB)
    assert found.environment == {"DOCKER_CONFIG": f"{folder}/k/.docker"}
    assert same("-c", ".", "-d", "a", KANIKO_DIR=f"{folder}/k").environment == found.environment
    assert same("-c", ".", "-d", "a", KANIKO_DIR=f"{folder}/k", DOCKER_CONFIG="/x").environment == {}


# --- the help


def test_help_lists_every_flag(tmp_path: Path) -> None:
    text = pybuild("kaniko", "--help", root=tmp_path / "store").stdout
    assert [name for name in FLAGS if f"--{name}" not in text] == []


def test_texts_are_fit_for_a_terminal_and_a_table() -> None:
    for flag in FLAGS.values():
        assert flag.here.count("`") % 2 == 0, flag.name
        assert not flag.here.endswith("."), flag.name
        assert (flag.fate == "renamed") == bool(flag.option), flag.name
