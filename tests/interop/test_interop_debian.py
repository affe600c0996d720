"""A real program: packages installed from Debian's mirror, a second stage, an ordinary user; built, pushed and run."""

from __future__ import annotations

import json
import textwrap
import uuid
from pathlib import Path

import pytest

from tests.support import images, trees
from tests.support.commands import run
from tests.support.goldens import pybuild
from tests.support.need import need, need_root, need_tool
from tests.support.registry import TestRegistry

DOCKERFILE = """
    FROM {base} AS build
    RUN apt-get update && apt-get install -y --no-install-recommends python3
    WORKDIR /src
    COPY app.py .
    RUN python3 -m compileall -q . && python3 app.py > expected.txt

    FROM build AS program
    RUN useradd --create-home --uid 1234 runner && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/*
    COPY --from=build --chown=runner /src /home/runner/app
    WORKDIR /home/runner/app
    ENV GREETING="hello there"
    USER runner
    ENTRYPOINT ["python3", "app.py"]
    CMD ["by", "default"]
"""
PROGRAM = """
import json, os, sys, sqlite3, zlib
table = sqlite3.connect(":memory:").execute("select 6 * 7").fetchone()[0]
print(json.dumps({"args": sys.argv[1:], "uid": os.getuid(), "cwd": os.getcwd(), "answer": table,
                  "greeting": os.environ.get("GREETING"), "home": os.environ.get("HOME")}))
"""


@pytest.fixture(scope="module")
def built(
    debian_image: str, registry: TestRegistry, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path, Path]:
    """Build and push; return the name, the layout and the store."""
    need_root("needs root: dpkg changes owners")
    folder = tmp_path_factory.mktemp("debian")
    (folder / "Dockerfile").write_text(textwrap.dedent(DOCKERFILE).replace("{base}", debian_image))
    (folder / "app.py").write_text(PROGRAM)
    name = f"{registry.host}/program:1"
    output = f"type=oci,dest={folder}/oci,tar=false"
    done = pybuild(f"--tag={name}", "--push", f"--output={output}", folder, root=folder / "store", check=False)
    need("Temporary failure resolving" not in done.stderr, "needs Debian's mirror")
    assert done.returncode == 0, done.stderr
    return name, folder / "oci", folder / "store"


@pytest.fixture(scope="module")
def tree(built: tuple[str, Path, Path]) -> trees.Tree:
    return trees.tree_of(built[1])


def test_a_pulled_program_runs_as_its_user(built: tuple[str, Path, Path], tree: trees.Tree, tmp_path: Path) -> None:
    name, layout, _ = built
    copy = ["copy", "--src-tls-verify=false", f"docker://{name}", f"oci:{tmp_path}/pulled:1"]
    run([need_tool("skopeo"), "--insecure-policy", *copy])
    assert images.read_image(tmp_path / "pulled").digest == images.read_image(layout).digest
    bundle = tmp_path / "bundle"
    run([need_tool("umoci"), "unpack", "--image", f"{tmp_path}/pulled:1", bundle])
    assert trees.difference(tree, trees.tree_of(bundle / "rootfs")) == []
    said = json.loads(started(bundle))
    assert said == {
        "args": ["by", "default"],
        "uid": 1234,
        "cwd": "/home/runner/app",
        "answer": 42,
        "greeting": "hello there",
        "home": "/home/runner",
    }
    expected = json.loads((bundle / "rootfs/src/expected.txt").read_text())
    assert (expected["answer"], expected["uid"]) == (42, 0)
    assert (bundle / "rootfs/home/runner/app/app.py").stat().st_uid == 1234


def started(bundle: Path) -> str:
    """Run the bundle's own process with runc, changed only where nested containers need it."""
    path = bundle / "config.json"
    config = json.loads(path.read_text())
    config["process"]["terminal"] = False
    config["linux"].pop("resources", None)
    config["mounts"] = [one for one in config["mounts"] if one["type"] not in ("cgroup", "cgroup2")]
    path.write_text(json.dumps(config))
    state = bundle.parent / "state"
    program = need_tool("runc")
    done = run([program, "--root", state, "run", "--bundle", bundle, f"pybuild-{uuid.uuid4().hex}"], check=False)
    if done.returncode == 0:
        return done.stdout
    # A machine whose cgroups cannot be written to has no runc containers; the program itself can be tried all the same.
    process = config["process"]
    user = f"--userspec={process['user']['uid']}:{process['user']['gid']}"
    script = 'cd "$0" && exec "$@"'
    shell = [need_tool("chroot"), user, bundle / "rootfs", "/bin/sh", "-c", script, process["cwd"], *process["args"]]
    environment = dict(one.split("=", 1) for one in process["env"])
    assert "cgroup" in done.stderr, done.stderr
    return run(shell, env=environment).stdout


def test_what_apt_leaves(built: tuple[str, Path, Path], tree: trees.Tree) -> None:
    root = built[2]
    assert tree["var/lib/dpkg/status"].type == "file"
    assert tree["usr/bin/python3"].link == "python3.11"
    assert not [path for path in tree if path.startswith("var/lib/apt/lists/")]
    assert tree["tmp"].mode == 0o1777
    assert tree["usr/bin/passwd"].mode == 0o4755
    assert (tree["etc/shadow"].mode, tree["etc/shadow"].gid) == (0o640, 42)
    assert list((root / "tmp").iterdir()) == []
    assert str(root) not in Path("/proc/self/mountinfo").read_text()


def test_a_second_build_executes_nothing(built: tuple[str, Path, Path], registry: TestRegistry) -> None:
    name, layout, root = built
    mark = registry.mark()
    done = pybuild(f"--tag={name}", "--progress=plain", layout.parent, root=root)
    assert done.stdout == f"{name}@{images.read_image(layout).digest}\n"
    assert "DONE" not in done.stderr
    assert registry.requests(mark) == []
