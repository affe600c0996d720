"""No secret value anywhere but in the process that was meant to read it: planted ones are searched for everywhere."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from pathlib import Path

import pytest

from tests.support import fake_registry, githttp, images
from tests.support.cli import digest_of, pybuild, write_context
from tests.support.fake_registry import FakeRegistry
from tests.support.need import need_root
from tests.support.needles import forms, found_in

FILE_SECRET = "planted-FILE-5f2b9c"
ENV_SECRET = "planted-ENV-81d0aa"
PASSWORD = "planted-PASSWORD-3e77"
GIT_PASSWORD = "planted-GIT-0b41"
PROOF = hashlib.sha256(f"{FILE_SECRET}+{ENV_SECRET}".encode()).hexdigest()

RUN = """\
RUN --mount=type=secret,id=file,required --mount=type=secret,id=env,env=TOKEN,required \\
    --mount=type=secret,id=file,target=/etc/elsewhere,mode=0444,uid=1000 \\
    --mount=type=cache,target=/cache \\
    printf '%s+%s' "$(cat /run/secrets/file)" "$TOKEN" | sha256sum > /proof && \\
    cmp /etc/elsewhere /run/secrets/file && touch /cache/used
"""


NEEDLES = [form for one in (FILE_SECRET, ENV_SECRET, PASSWORD, GIT_PASSWORD) for form in forms(one)]


def search(*places: Path | str | bytes) -> list[str]:
    """Return where a planted value was found."""
    return found_in(NEEDLES, *places)


def test_the_search_finds(tmp_path: Path) -> None:
    for number, form in enumerate(NEEDLES):
        (tmp_path / str(number)).write_bytes(b"before" + form + b"after")
    packed = zlib.compressobj(wbits=31)
    (tmp_path / "packed").write_bytes(packed.compress(PASSWORD.encode()) + packed.flush())
    assert len(set(search(tmp_path))) >= len(NEEDLES)
    assert any("packed inflated" in one for one in search(tmp_path))
    header = base64.b64encode(f"ann:{PASSWORD}".encode()).decode()
    assert search(f"Authorization: Basic {header}")


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text(FILE_SECRET)
    return path


@pytest.mark.parametrize("progress", ["plain", "json", "debug"])
def test_build_secrets(tmp_path: Path, busybox_layout: Path, secret_file: Path, progress: str) -> None:
    need_root("needs root: RUN")
    context = write_context(tmp_path / "context", f"FROM base\n{RUN}COPY --from=base /etc/passwd /p\n")
    out, store, metadata = tmp_path / "out", tmp_path / "store", tmp_path / "metadata.json"
    how = ["--progress=plain", "--debug"] if progress == "debug" else [f"--progress={progress}"]
    arguments = [*how, f"--build-context=base=oci-layout://{busybox_layout}:latest", "-t", "x:1"]
    arguments += [f"--secret=id=file,src={secret_file}", "--secret=id=env,env=PLANTED", f"--metadata-file={metadata}"]
    outputs = [f"type=oci,tar=false,dest={out}", f"type=docker,dest={out}.tar", f"type=local,dest={out}.tree"]
    arguments += [word for output in outputs for word in ("-o", output)]
    env = {"PLANTED": ENV_SECRET}
    first = pybuild(*arguments, context, root=store, env=env)
    again = pybuild(*arguments, context, root=store, env=env)
    proof = Path(f"{out}.tree/proof").read_text().split()[0]
    assert proof == PROOF, "the step has to have read both"
    archive = images.read_image(Path(f"{out}.tar"), docker=True)
    everything = [archive.raw_config, *map(images.inflate, archive.layers)]
    said = [first.stdout, first.stderr, again.stdout, again.stderr]
    assert search(store, out, Path(f"{out}.tree"), metadata, *everything, *said) == []
    assert not (Path(f"{out}.tree") / "run/secrets").exists()


@pytest.mark.parametrize("progress", ["plain", "json"])
def test_build_secrets_of_a_step_that_fails(
    tmp_path: Path, busybox_layout: Path, secret_file: Path, progress: str
) -> None:
    need_root("needs root: RUN")
    step = RUN.replace("touch /cache/used", "exit 3")
    context = write_context(tmp_path / "context", f"FROM base\n{step}")
    metadata = tmp_path / "metadata.json"
    arguments = [f"--progress={progress}", f"--build-context=base=oci-layout://{busybox_layout}:latest"]
    arguments += [f"--secret=id=file,src={secret_file}", "--secret=id=env,env=PLANTED", f"--metadata-file={metadata}"]
    done = pybuild(*arguments, context, root=tmp_path / "store", env={"PLANTED": ENV_SECRET}, status=3)
    assert search(tmp_path / "store", metadata, done.stdout, done.stderr) == []
    assert json.loads(metadata.read_text())["command_status"] == 3


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_registry_passwords(tmp_path: Path, busybox_layout: Path, auth: fake_registry.Auth) -> None:
    """Pulled from and pushed to with an account, also after the account is no longer good."""
    with fake_registry.serve() as fake:
        _fill(fake, busybox_layout)
        fake.auth, fake.accounts, fake.readable = auth, {"ann": PASSWORD}, {"base", "mine"}
        config = tmp_path / "docker"
        config.mkdir()
        account = base64.b64encode(f"ann:{PASSWORD}".encode()).decode()
        (config / "config.json").write_text(json.dumps({"auths": {fake.host: {"auth": account}}}))
        context = write_context(tmp_path / "context", f"FROM {fake.host}/base:1\nCOPY f /f\n", {"f": "f"})
        store, metadata = tmp_path / "store", tmp_path / "metadata.json"
        arguments = ["--progress=json", "-t", f"{fake.host}/mine:1", "--push", f"--metadata-file={metadata}", context]
        env = {"DOCKER_CONFIG": str(config)}
        first = pybuild(*arguments, root=store, env=env)
        assert digest_of(first) in fake.manifests["mine"]
        debug = pybuild("--debug", "--no-cache", "--pull", *arguments, root=store, env=env)
        pushed = [one for blobs in fake.blobs.values() for one in blobs.values()]
        said = [first.stdout, first.stderr, debug.stdout, debug.stderr]
        assert search(store, metadata, *map(images.inflate, pushed), *said) == []
        assert any(one.headers.get("authorization") for one in fake.seen)
        fake.accounts = {"ann": "another"}
        fake.expire_tokens()
        refused = pybuild("--pull", *arguments, root=store, env=env, status=77)
        assert search(store, metadata, refused.stdout, refused.stderr) == []


def _fill(fake: FakeRegistry, layout: Path) -> None:
    for blob in (layout / "blobs/sha256").iterdir():
        fake.put_blob("base", blob.read_bytes())
    stored = images.read_image(layout)
    fake.put_manifest("base", "1", stored.raw_manifest, stored.manifest["mediaType"])


@pytest.mark.parametrize("progress", ["plain", "json"])
def test_passwords_in_git_urls(tmp_path: Path, progress: str) -> None:
    served = tmp_path / "served"
    write_context(served / "repo", "FROM scratch\nCOPY f /f\nLABEL a=b\n", {"f": "f"})
    githttp.repository(served / "repo")
    with githttp.serve(served, f"ann:{GIT_PASSWORD}") as (host, asked):
        url = f"http://ann:{GIT_PASSWORD}@{host}/repo/.git"
        store, out, metadata = tmp_path / "store", tmp_path / "out", tmp_path / "metadata.json"
        arguments = [f"--progress={progress}", f"--metadata-file={metadata}", "-o", f"type=oci,tar=false,dest={out}"]
        for extra in ([], ["--debug"]):
            done = pybuild(*arguments, *extra, f"{url}#main", root=store)
            assert search(store, out, metadata, done.stdout, done.stderr) == []
        assert any(asked), "the account was needed"
        named = f"--build-context=code={url}#main"
        inner = write_context(tmp_path / "context", "FROM scratch\nCOPY --from=code f /f\n")
        done = pybuild(*arguments, named, inner, root=store)
        assert search(store, out, metadata, done.stdout, done.stderr) == []
        wrong = pybuild(*arguments, f"{url}#none", root=store, status=66)
        assert search(store, metadata, wrong.stdout, wrong.stderr) == []
