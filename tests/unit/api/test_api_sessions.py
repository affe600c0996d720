"""Builds and images through the calls for programs: what comes back, who hears of it, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder import (
    AuthenticationError,
    BuilderError,
    BuildRequest,
    CommandFailedError,
    ContextError,
    DockerfileError,
    EpochChoice,
    ImageError,
    InterruptedBuildError,
    Output,
    OutputError,
    Platform,
    RegistryError,
    RegistrySettings,
    Session,
    UsageError,
    build,
    events,
    open_session,
)
from tests.support import registry as registries
from tests.support import tokenserver
from tests.support.need import need_root
from tests.support.registry import TestRegistry


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM scratch AS one\nCOPY f /f\nENV A=b\nCOPY --link f /g\n")
    (folder / "f").write_text("x")
    return folder


@pytest.fixture
def session(store_root: Path) -> Iterator[Session]:
    with open_session(store_root, variables={}) as made:
        yield made


def request(context: Path, **fields: object) -> BuildRequest:
    return BuildRequest(context=str(context), **fields)  # type: ignore[arg-type]  # whatever a test wants


def test_a_build_says_what_it_made(session: Session, context: Path) -> None:
    result = session.build(request(context), tags=["app:1", "app:1", "team/app:2"])

    assert [name.familiar for name in result.names] == ["app:1", "team/app:2"]
    (image,) = result.images
    assert (result.digest, result.image_id, result.is_index) == (image.digest, image.image_id, False)
    assert [(one.created_by[:4], one.media_type[-4:]) for one in image.layers] == [("COPY", "gzip"), ("COPY", "gzip")]
    assert [one.diff_id for one in image.layers] == image.config["rootfs"]["diff_ids"]
    assert [one.digest for one in image.layers] == [one["digest"] for one in json.loads(image.raw_manifest)["layers"]]
    assert [one.cached for one in result.steps] == [False, False]
    again = session.build(request(context))
    assert again.digest == result.digest
    assert [one.cached for one in again.steps] == [True, True]


def test_a_build_is_compared_with_the_one_before_in_the_same_session(session: Session, context: Path) -> None:
    session.build(context)
    (context / "f").write_text("another")
    assert all("file f: " in one.reason for one in session.build(context).steps)


def test_a_context_is_enough(session: Session, context: Path) -> None:
    digest = session.build(request(context)).digest
    assert [session.build(context).digest, build(str(context), session=session).digest] == [digest, digest]


def test_several_platforms_are_an_index(session: Session, context: Path) -> None:
    platforms = (Platform.parse("linux/amd64"), Platform.parse("linux/arm64"))
    result = session.build(request(context, platforms=platforms))
    assert result.is_index
    assert [image.platform for image in result.images] == [*platforms]
    assert result.image_id == result.digest
    assert result.digest not in [image.digest for image in result.images]


def test_the_command_line_builds_the_same(
    session: Session, store_root: Path, context: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from builder.cli.main import main

    made = session.build(request(context), tags=["app:1"])
    assert main([f"--root={store_root}", "-t", "app:1", str(context)]) == 0
    out, err = capfd.readouterr()
    assert out.rstrip().endswith(f"@{made.digest}")
    assert err.count("CACHED") == 2


def test_images_go_round(session: Session, context: Path, registry: TestRegistry, tmp_path: Path) -> None:
    name = f"{registry.host}/round/app"
    made = session.build(request(context), tags=[f"{name}:1"], push=True)
    assert session.push(f"{name}:1", f"{name}:2") == made.digest
    assert sorted(registry.tags("round/app")) == ["1", "2"]
    assert session.copy(f"{name}:1", f"docker-archive:{tmp_path}/app.tar:other:3") == made.digest
    with open_session(tmp_path / "another", variables={}) as other:
        (loaded,) = other.load(tmp_path / "app.tar")
        assert loaded.name is not None
        assert (loaded.name.familiar, loaded.image_id, loaded.whole) == ("other:3", made.image_id, True)
        assert other.pull(f"{name}:2") == made.digest
        other.tag("other:3", "more:1", "more:2")
        names = sorted(one.name.familiar for one in other.images() if one.name is not None)
    assert names == sorted([f"{name}:2", "more:1", "more:2", "other:3"])


def test_an_image_is_looked_at_wherever_it_is(session: Session, context: Path, registry: TestRegistry) -> None:
    name = f"{registry.host}/looked/at:1"
    platforms = (Platform.parse("linux/amd64"), Platform.parse("linux/arm64"))
    made = session.build(request(context, platforms=platforms), tags=[name], push=True)
    assert session.digest(name) == made.digest
    for place in (name, f"docker://{name}", f"store:{name}"):
        image = session.inspect(place, platform="linux/arm64")
        assert (image, str(image.platform)) == (made.images[1], "linux/arm64")
        assert [one.digest for one in image.layers] == [one.digest for one in made.images[1].layers]


def test_what_a_build_would_do_is_told_and_not_done(session: Session, context: Path) -> None:
    first, second = session.explain(context)
    assert (first.cached, first.reason, first.name) == (False, "never built here", "[one 2/3] COPY f /f")
    assert second.reason.endswith(first.name), "what it is made of"
    assert not session.images()
    session.build(context)
    assert [(one.cached, one.reason) for one in session.explain(context)] == [(True, "")] * 2
    (context / "f").write_text("y")
    first, _ = session.explain(context)
    assert not first.cached
    assert "f: " in first.reason


def test_a_store_is_tidied(store_root: Path, context: Path) -> None:
    with open_session(store_root, variables={}) as session:
        named = session.build(context, tags=["kept:1", "other:1"])
        (context / "f").write_text("y")
        unnamed = session.build(context)
        session.remove("other:1")
        assert session.prune() == 0, "what the session has used stays"
    for path in store_root.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
    with open_session(store_root, variables={}) as session:
        assert session.prune(max_size=1 << 40) == 0
        assert session.prune(max_age=3600.0) > 0
        assert [one.name.familiar for one in session.images() if one.name is not None] == ["kept:1"]
        assert session.inspect("kept:1") == named.images[0]
        with pytest.raises(ImageError):
            session.inspect(str(unnamed.digest))


def test_accounts_are_for_their_registries(store_root: Path, context: Path, tmp_path: Path) -> None:
    with tokenserver.serve(tmp_path / "tokens") as tokens, registries.serve(tmp_path / "r", token=tokens) as served:
        tokens.add_account("ci", "the password", {"team/app": {"pull", "push"}})
        name = f"{served.host}/team/app:1"
        with open_session(store_root, variables={}, accounts={served.host: ("ci", "the password")}) as session:
            made = session.build(request(context), tags=[name], push=True)
        assert served.tags("team/app") == {"1": made.digest}
        with (
            open_session(store_root, variables={}, accounts={served.host: ("ci", "another one")}) as session,
            pytest.raises(AuthenticationError) as refused,
        ):
            session.push(name, f"{served.host}/team/app:2")
    assert "another one" not in f"{refused.value!r}{refused.value}{refused.value.hint}"
    assert refused.value.exit_code == 77


def test_nothing_is_known_of_a_name_that_is_not_there(session: Session) -> None:
    for use in (lambda: session.tag("app:9", "app:10"), lambda: session.push("app:9"), lambda: session.remove("app:9")):
        with pytest.raises(ImageError, match="app:9 is not in the store"):
            use()
    with pytest.raises(UsageError, match="is in a registry already"):
        session.push("docker://app:9")


def test_a_listener_hears_and_may_end_it(store_root: Path, context: Path) -> None:
    heard: list[events.Event] = []
    with open_session(store_root, variables={}, on_event=heard.append) as session:
        session.build(request(context))
    assert [one.name for one in heard if isinstance(one, events.VertexCompleted)]
    assert isinstance(heard[-1], events.BuildFinished)

    def refuse(event: events.Event) -> None:
        raise LookupError(f"no {type(event).__name__} please")

    with open_session(store_root, variables={}, on_event=refuse) as session, pytest.raises(LookupError, match="please"):
        session.build(request(context))


def test_a_build_can_be_cancelled(store_root: Path, context: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYBUILD_ROOT", str(store_root))
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(InterruptedBuildError):
        build(request(context, outputs=(Output("oci", context.parent / "a.tar"),)), cancel=cancel)
    assert not (context.parent / "a.tar").exists()
    with open_session(store_root) as session:
        session.cancel()
        with pytest.raises(InterruptedBuildError):
            session.build(request(context, no_cache=True))


def test_a_step_that_runs_is_killed_by_cancelling(store_root: Path, context: Path, busybox_layout: Path) -> None:
    need_root("needs root: RUN")
    (context / "Dockerfile").write_text("FROM base\nRUN echo ready; sleep 1000\n")
    cancel = threading.Event()
    said: list[bytes] = []

    def listen(event: events.Event) -> None:
        if isinstance(event, events.Output):
            said.append(event.data)
            cancel.set()

    base = {"base": f"oci-layout://{busybox_layout}:latest"}
    opening = open_session(store_root, variables=os.environ, on_event=listen, cancel=cancel)
    with opening as session, pytest.raises(InterruptedBuildError):
        session.build(request(context, contexts=base))
    assert b"".join(said) == b"ready\n"


def test_ctrl_c_kills_the_step_and_leaves_the_session(store_root: Path, context: Path, busybox_layout: Path) -> None:
    need_root("needs root: RUN")
    (context / "Dockerfile").write_text("FROM base AS good\nRUN true\nFROM base\nRUN echo ready; sleep 1000\n")
    base = {"base": f"oci-layout://{busybox_layout}:latest"}

    def listen(event: events.Event) -> None:
        if isinstance(event, events.Output):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with open_session(store_root, variables=os.environ, on_event=listen) as session:
            with pytest.raises(KeyboardInterrupt):
                session.build(request(context, contexts=base))
            assert session.build(request(context, contexts=base, target="good")).digest
    finally:
        signal.signal(signal.SIGINT, before)
    assert [one.name for one in threading.enumerate() if one.name == "pybuild-sandbox"] == []


def test_the_status_of_a_step_is_the_errors(session: Session, context: Path, busybox_layout: Path) -> None:
    need_root("needs root: RUN")
    (context / "Dockerfile").write_text("FROM base\nRUN --mount=type=secret,id=s cat /run/secrets/s; exit 7\n")
    base = {"base": f"oci-layout://{busybox_layout}:latest"}
    with pytest.raises(CommandFailedError) as failed:
        session.build(request(context, contexts=base, secrets={"s": lambda: b"hidden value"}))
    assert failed.value.exit_code == 7
    assert "hidden value" not in f"{failed.value}{failed.value!r}"


def test_a_program_may_ignore_how_its_children_end(session: Session, context: Path, busybox_layout: Path) -> None:
    need_root("needs root: RUN")
    (context / "Dockerfile").write_text("FROM base\nRUN true\nRUN exit 7\n")
    base = {"base": f"oci-layout://{busybox_layout}:latest"}
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with pytest.raises(CommandFailedError) as failed:
            session.build(request(context, contexts=base))
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert failed.value.exit_code == 7


def test_errors_are_values_too(session: Session, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM scratch\nCOPY nothing /\n")
    with pytest.raises(ContextError) as missing:
        session.build(request(context))
    assert (missing.value.place, missing.value.exit_code) == (f"{context}/Dockerfile:2:1", 66)
    assert "COPY nothing" in missing.value.excerpt
    assert missing.value.code.startswith("PB66")
    with pytest.raises(DockerfileError):
        session.build(request(context, target="none"))
    with pytest.raises(UsageError, match="a push needs a name"):
        session.build(request(context), push=True)
    with pytest.raises(UsageError, match="its digest is what it is"):
        session.build(request(context), tags=["app@sha256:" + "0" * 64])
    with pytest.raises(UsageError, match="forbids it"):
        session.build(request(context, offline=True), tags=["localhost:1/a"], push=True)
    assert issubclass(CommandFailedError, BuilderError)


def test_a_build_of_a_session_has_a_listener_and_an_end_of_its_own(store_root: Path, context: Path) -> None:
    everything: list[events.Event] = []
    own: list[events.Event] = []
    cancel = threading.Event()

    def refuse(event: events.Event) -> None:
        raise LookupError("no")

    with open_session(store_root, variables={}, on_event=everything.append) as session:
        build(request(context), session=session, on_event=own.append)
        assert own
        assert not everything
        with pytest.raises(LookupError):
            session.build(request(context), on_event=refuse)
        cancel.set()
        with pytest.raises(InterruptedBuildError):
            session.build(request(context, no_cache=True), cancel=cancel)
        session.build(request(context, no_cache=True))
    assert isinstance(everything[-1], events.BuildFinished)


def test_what_fails_beside_others_ends_its_own_build_only(
    store_root: Path, context: Path, busybox_layout: Path
) -> None:
    """The steps beside the one that failed are stopped: that must not be what the session's next build finds."""
    need_root("needs root: RUN")
    (context / "Dockerfile").write_text(
        "FROM base AS long\nRUN sleep 1000\nFROM base AS bad\nRUN sleep 0.2; exit 7\nFROM base AS good\nRUN true\n"
        "FROM scratch\nCOPY --from=long /bin/sh /a\nCOPY --from=bad /bin/sh /b\n"
    )
    base = {"base": f"oci-layout://{busybox_layout}:latest"}
    cancel = threading.Event()
    with open_session(store_root, variables=os.environ, cancel=cancel) as session:
        with pytest.raises(CommandFailedError):
            session.build(request(context, contexts=base, jobs=2))
        assert session.build(request(context, contexts=base, target="good")).digest
    assert not cancel.is_set()


def test_a_request_shows_no_secret() -> None:
    asked = BuildRequest(
        context="https://ann:hunter2@git.example/app.git",
        contexts={"other": "https://hunter2@git.example/other.git"},
        secrets={"id": lambda: b"hunter2"},
        environment={"TOKEN": "hunter2"},
    )
    assert "git.example/app.git" in repr(asked)
    assert "hunter2" not in repr(asked)


def test_a_closed_session_says_so(store_root: Path, context: Path) -> None:
    with open_session(store_root, variables={}) as session:
        pass
    for use in (lambda: session.build(context), session.images, lambda: session.tag("a", "b")):
        with pytest.raises(ValueError, match="the session is closed"):
            use()


def test_a_build_that_finds_everything_needs_no_room(store_root: Path, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM scratch\nENV A=b\n")
    wanted = request(context, epoch=EpochChoice("0"))  # without a step there is no record of when it was created
    heard: list[events.Event] = []
    with open_session(store_root, variables={}) as session:
        made = session.build(wanted)
    (store_root / "leases").rmdir()
    (store_root / "leases").write_text("no room for leases")
    with open_session(store_root, variables={}, on_event=heard.append) as session:
        assert session.build(wanted).digest == made.digest
        with pytest.raises(OutputError):
            session.tag("a", "b")
    assert any(isinstance(one, events.Warned) and "finds everything" in one.message for one in heard)


def test_offline_asks_nobody(store_root: Path) -> None:
    with open_session(store_root, variables={}, offline=True) as session, pytest.raises(RegistryError, match="offline"):
        session.pull("localhost:1/app:1")


def test_settings_of_registries_are_checked_at_once(store_root: Path) -> None:
    wrong = {"localhost:1": RegistrySettings(mirrors=("ftp://no",))}
    with pytest.raises(UsageError, match=r'registries\["localhost:1"\]'), open_session(store_root, registries=wrong):
        pass


def test_builds_in_threads_share_a_session(session: Session, context: Path) -> None:
    digests: list[str] = []
    threads = [
        threading.Thread(target=lambda: digests.append(session.build(request(context)).image_id)) for _ in "abcd"
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(digests) == 4
    assert len({*digests}) == 1


def test_the_process_is_left_as_it_was(session: Session, context: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = os.getcwd(), dict(os.environ), os.umask(0o027)
    session.build(request(context))
    assert (os.getcwd(), dict(os.environ), os.umask(before[2])) == (before[0], before[1], 0o027)
    assert capfd.readouterr() == ("", "")
