"""What a build grants its steps: agents, hosts, name servers, limits, permissions; and caches that start with files."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.engine.request import AgentSource
from builder.errors import BuilderError
from builder.run.spec import Provision
from tests.support import reaper, ssh
from tests.support.builds import Built, Workshop
from tests.support.cli import environment, pybuild, write_context
from tests.support.commands import run
from tests.support.need import need_root
from tests.support.users import User

Build = Callable[..., Built]


# --- caches that start with files

FULL = """
FROM base AS full
RUN mkdir -p /d/sub && echo {0} > /d/f && ln -s f /d/l && ln /d/f /d/h && chown 12:34 /d/f && ln -s /d/sub /d/up \\
    && echo deep > /d/sub/g && chmod 711 /d/sub
FROM base
"""


def test_a_new_cache_starts_with_a_stages_files(build: Build) -> None:
    mount = "--mount=type=cache,target=/c,from=full,source=/d,mode=0750,uid=5,gid=6"
    look = "cd /c; stat -c '%a %u:%g %h %n' . f l sub; cat f sub/g"
    first = build(FULL.format("one") + f"RUN {mount} ({look}) > /seen; echo mine > /c/f")
    assert first.text("seen").splitlines() == [
        "750 5:6 3 .", "644 12:34 2 f", "777 0:0 1 l", "711 0:0 2 sub", "one", "deep",
    ]  # fmt: skip
    # It is no new one any more, whoever asks; with other files it would be another one.
    assert build(FULL.format("one") + f"RUN {mount} cat /c/h > /again").text("again") == "mine\n"
    assert build(FULL.format("two") + f"RUN {mount} cat /c/h > /other").text("other") == "two\n"
    plain = build(f"RUN {mount.replace('from=full,source=/d,', '')} ls /c | wc -l > /plain")
    assert plain.text("plain") == "0\n"
    assert not {"c", "d"} & set(plain.tree)


def test_a_cache_starts_with_a_directory_below_a_link_but_not_outside(build: Build) -> None:
    mount = "--mount=type=cache,target=/c,id={},from=full,source={}"
    lines = f"RUN {mount.format('a', '/d/up')} cat /c/g > /seen"
    assert build(FULL.format("one") + lines).text("seen") == "deep\n"
    outside = "FROM base AS full\nRUN ln -s ../../../../../../../../etc /up\nFROM base\n"
    lines = f"RUN {mount.format('b', '/up')} cat /c/passwd > /seen"
    with open("/etc/passwd") as stream:
        assert build(outside + lines).text("seen") != stream.read()
    with pytest.raises(BuilderError, match=r"/nothing.*not found"):
        build(FULL.format("one") + f"RUN {mount.format('c', '/nothing')} true")


def test_a_cache_starts_with_files_of_a_context_or_an_image(build: Build, tmp_path: Path) -> None:
    named = write_context(tmp_path / "named", "", {"d/f": "context", "d/x": "", ".dockerignore": "**/x\n"})
    step = "RUN --mount=type=cache,target=/c,from={0},source={1} ls /c > /seen"
    built = build(step.format("named", "d"), contexts={"named": str(named)})
    assert built.text("seen") == "f\n"
    assert "busybox" in build(step.format("base", "bin")).text("seen")
    assert build(step.format("scratch", "x")).text("seen") == ""


# --- agents


def test_a_step_may_list_keys_and_sign_and_nothing_else(build: Build, tmp_path: Path) -> None:
    key = ssh.make_key(tmp_path / "key", "the-key")
    tools = {"tools": str(ssh.client(tmp_path / "tools"))}
    shutil.copy(tmp_path / "key.pub", tmp_path / "tools")
    mounts = "--mount=type=bind,from=tools,target=/tools --mount=type=ssh"
    with ssh.agent(tmp_path, key) as socket:
        built = build(
            f"RUN {mounts} {ssh.CLIENT} -l > /listed; {ssh.CLIENT} -T /tools/key.pub; echo $? > /signed; "
            f"{ssh.CLIENT} -D; echo $? > /deleted; {ssh.CLIENT} -x < /dev/null; echo $SSH_AUTH_SOCK > /place; "
            "stat -c '%a %u:%g %F' $SSH_AUTH_SOCK > /is",
            contexts=tools,
            ssh={"default": AgentSource(socket)},
        )
        assert "the-key" in ssh.keys_of(socket)
    assert "the-key" in built.text("listed")
    assert built.text("signed") == "0\n"
    assert built.text("deleted") == "1\n"
    assert built.text("place") == "/run/buildkit/ssh_agent.0\n"
    assert built.text("is") == "600 0:0 socket\n"
    assert not any(path.startswith("run/") for path in built.tree)


def test_an_agents_socket_belongs_to_whom_it_is_given(build: Build, tmp_path: Path) -> None:
    key = ssh.make_key(tmp_path / "key", "the-key")
    tools = {"tools": str(ssh.client(tmp_path / "tools"))}
    mounts = "--mount=type=bind,from=tools,target=/tools --mount=type=ssh,id={},target=/a/b,uid=7,gid=8,mode=0660"
    lines = "RUN echo me:x:7:8::/:/bin/sh >> /etc/passwd && mkdir -m 777 /o\nUSER 7\nENV SSH_AUTH_SOCK=/mine\n"
    lines += f"RUN {mounts.format('x')} stat -c '%a %u:%g' /a/b > /o/is; echo $SSH_AUTH_SOCK >> /o/is; "
    lines += f"SSH_AUTH_SOCK=/a/b {ssh.CLIENT} -l > /o/listed"
    with ssh.agent(tmp_path, key) as socket:
        built = build(lines, contexts=tools, ssh={"x": AgentSource(socket)})
    assert built.text("o/is") == "660 7:8\n/mine\n"
    assert "the-key" in built.text("o/listed")


def test_agents_that_are_not_there(build: Build, tmp_path: Path) -> None:
    built = build("RUN --mount=type=ssh test -z $SSH_AUTH_SOCK && test ! -e /run/buildkit && touch /fine")
    assert "fine" in built.tree
    with pytest.raises(BuilderError, match="SSH agent default: not found") as caught:
        build("RUN --mount=type=ssh,required true")
    assert (caught.value.exit_code, caught.value.hint) == (64, "pass --ssh default")
    with pytest.raises(BuilderError, match=r"--ssh other: .*gone: "):
        build("RUN --mount=type=ssh,id=other true #1", ssh={"other": AgentSource(tmp_path / "gone")})


def test_keys_are_in_an_agent_while_steps_run_and_nowhere_else(tmp_path: Path, busybox_layout: Path) -> None:
    need_root("needs root: RUN")
    secret = ssh.make_key(tmp_path / "key", "first-key").read_bytes()
    ssh.make_key(tmp_path / "two", "second-key")
    tools = ssh.client(tmp_path / "tools")
    text = "FROM base\n" + "".join(
        f"RUN --mount=type=bind,from=tools,target=/tools --mount=type=ssh,id=k,required {ssh.CLIENT} -l | tee /k{n}\n"
        for n in (1, 2)
    )
    context = write_context(tmp_path / "context", text)
    named = [f"--build-context=base=oci-layout://{busybox_layout}:latest", f"--build-context=tools={tools}"]
    root = tmp_path / ("store" + "x" * 120)  # longer than a socket's name can be
    # As a subreaper: whatever is left behind would be seen.
    program = [sys.executable, reaper.__file__, "60", "1", sys.executable, "-m", "builder.cli.main"]
    env = {name: value for name, value in environment(root).items() if name != "SSH_AUTH_SOCK"}
    done = run([*program, *named, "--debug", f"--ssh=k={tmp_path}/key,{tmp_path}/two", context], env=env)
    assert done.stdout.startswith("ended"), done.stdout
    assert done.stderr.count("first-key") == done.stderr.count("second-key") == 2
    lines = secret.splitlines()[1:-1]
    for place, _, names in os.walk(root):
        for name in names:
            data = Path(place, name).read_bytes() if Path(place, name).is_file() else b""
            assert not any(line in data for line in lines), name
    assert not any(line.decode() in done.stdout + done.stderr for line in lines)
    assert os.listdir(root / "tmp") == []


def test_a_killed_build_leaves_no_agent(tmp_path: Path, busybox_layout: Path) -> None:
    need_root("needs root: RUN")
    ssh.make_key(tmp_path / "key", "the-key")
    context = write_context(tmp_path / "context", "FROM base\nRUN --mount=type=ssh sleep 1000\n")
    named = f"--build-context=base=oci-layout://{busybox_layout}:latest"
    program = [sys.executable, reaper.__file__, "2", "2", sys.executable, "-m", "builder.cli.main"]
    done = run([*program, named, f"--ssh=default={tmp_path}/key", context], env=environment(tmp_path / "store"))
    assert done.stdout == "killed\n"


# --- hosts, name servers, limits


def test_hosts_and_name_servers(build: Build, shop: Workshop) -> None:
    lines = "RUN cat /etc/hosts > /hosts; cat /etc/resolv.conf > /resolver; head -c 8 /dev/urandom > /r"
    given = {"hosts": (("db", "10.9.8.7"), ("six", "fd00::1"))}
    first = build(lines, **given, provision=Provision(dns=("192.0.2.1", "fd00::53"), search=("a.example", "b.example")))
    assert first.text("hosts").splitlines()[2:] == ["10.9.8.7\tdb", "fd00::1\tsix"]
    resolver = [line for line in first.text("resolver").splitlines() if line[:2] in ("na", "se", "do")]
    assert resolver == ["search a.example b.example", "nameserver 192.0.2.1", "nameserver fd00::53"]
    assert not {"etc/hosts", "etc/resolv.conf"} & set(first.tree)
    # Names count for the cache; addresses and servers belong to today's network.
    moved = build(lines, hosts=(("db", "10.0.0.1"), ("six", "fd00::2")))
    assert moved.digest == first.digest
    assert build(lines, hosts=(("db", "10.9.8.7"),)).digest != first.digest


def test_limits_of_processes_and_shared_memory(build: Build) -> None:
    lines = "RUN (ulimit -Sn; ulimit -Hn; ulimit -Sc; df -k /dev/shm | tail -n 1 | tr -s ' ' | cut -d ' ' -f 2) > /seen"
    lines += "; head -c 20000000 /dev/zero > /dev/shm/x; stat -c %s /dev/shm/x >> /seen; head -c 8 /dev/urandom > /r"
    limits = (("nofile", 100, 200), ("core", 0, 0))
    first = build(lines, ulimits=limits, shm_size=16 << 20)
    assert first.text("seen").split() == ["100", "200", "0", "16384", str(16 << 20)]
    assert build(lines, ulimits=limits, shm_size=16 << 20).digest == first.digest
    assert build(lines, ulimits=limits, shm_size=17 << 20).digest != first.digest
    assert build(lines, ulimits=limits[:1], shm_size=16 << 20).digest != first.digest


def test_a_limit_that_nobody_can_raise_is_named(build: Build) -> None:
    highest = int(Path("/proc/sys/fs/nr_open").read_text())
    with pytest.raises(BuilderError, match=r"--ulimit nofile: .*; the highest limit possible here is [0-9]+") as caught:
        build("RUN true", ulimits=(("nofile", 5, highest + 1),))
    assert caught.value.exit_code == 71


def test_memory_and_cpus_are_limited_or_a_warning_says_not(build: Build) -> None:
    lines = "RUN cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max > /seen; true\nRUN echo > /two"
    built = build(lines, provision=Provision(memory=64 << 20, cpus=0.5))
    about = [text for text in built.seen.warnings if "--memory" in text]
    if about:
        assert len(about) == 1
        assert about[0].startswith("--memory and --cpus have no effect: no cgroup v2 is ours to use (")
    else:
        assert built.text("seen").splitlines() == [str(64 << 20), "50000 100000"]
    # Neither is part of what a step gives.
    assert build(lines, provision=Provision(memory=65 << 20)).digest == built.digest


# --- permissions


def test_insecure_steps_need_a_permission(build: Build) -> None:
    lines = (
        "# a comment\nFROM base\nRUN --security=insecure mount -t tmpfs t /mnt && grep CapEff /proc/self/status > /seen"
    )
    with pytest.raises(
        BuilderError, match=r"Dockerfile.test:3.*entitlement security\.insecure is not allowed"
    ) as caught:
        build(lines)
    assert caught.value.exit_code == 65
    assert "--allow security.insecure" in (caught.value.hint or "")
    built = build(lines.replace("/mnt", "/tmp"), allow=frozenset({"security.insecure"}))
    ours = int(
        next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "CapEff" in line), 16
    )
    assert int(built.text("seen").split()[1], 16) == ours


def test_without_a_network_the_hosts_needs_a_permission(build: Build) -> None:
    look = "readlink /proc/self/ns/net > /seen; head -c 8 /dev/urandom > /r"
    ours = os.readlink("/proc/self/ns/net") + "\n"
    with pytest.raises(BuilderError, match=r"entitlement network\.host is not allowed"):
        build(f"RUN --network=host {look}", network="none")
    allowed = build(f"RUN --network=host {look}", network="none", allow=frozenset({"network.host"}))
    assert allowed.text("seen") == ours
    assert build(f"RUN --network=default {look}", network="none").text("seen") != ours
    assert build(f"RUN --network=none {look}").text("seen") != ours
    assert build(f"RUN {look}").text("seen") == ours


# --- the same for others, by the command line


def test_an_ordinary_user_grants_the_same(subuid_user: User, busybox_layout: Path, tmp_path: Path) -> None:
    run(["chmod", "-R", "go+rX", busybox_layout])
    home = subuid_user.home / "grants"
    text = f"""\
FROM scratch AS files
COPY --chown=12:34 f /d/f
FROM base
RUN --mount=type=bind,from=tools,target=/tools --mount=type=ssh,uid=7,gid=8,mode=0660 \\
    --mount=type=cache,target=/c,from=files,source=/d,uid=5,mode=0710 \\
    {ssh.CLIENT} -l && stat -c '%a %u:%g' $SSH_AUTH_SOCK /c /c/f && ulimit -n && tail -n 1 /etc/hosts && \\
    df -k /dev/shm | tail -n 1 | tr -s ' ' | cut -d ' ' -f 2
RUN --security=insecure mount -t tmpfs t /tmp && echo mounted
"""
    write_context(tmp_path / "project", text, {"f": "f"})
    ssh.make_key(tmp_path / "project" / "key", "users-key")
    ssh.client(tmp_path / "project" / "tools")
    run(["cp", "-r", tmp_path / "project", home])
    run(["cp", "-r", busybox_layout, home / "layout"])
    run(["chown", "-R", f"{subuid_user.uid}:{subuid_user.gid}", home])
    options = ["--add-host=db=10.9.8.7", "--shm-size=2m", "--ulimit=nofile=64:128", f"--ssh=default={home}/key"]
    named = [f"--build-context=base=oci-layout://{home}/layout:latest", f"--build-context=tools={home}/tools"]
    arguments = ["--root", home / "store", *named, *options]
    done = subuid_user.pybuild("--progress=plain", "--allow=security.insecure", *arguments, home)
    expected = ("users-key", "660 7:8", "710 5:0", "644 12:34", " 64\n", "10.9.8.7\tdb", "2048", "mounted")
    assert [text for text in expected if text not in done.stderr] == [], done.stderr
    refused = subuid_user.pybuild("--ulimit=nofile=1000000000", *arguments[:3], home, check=False)
    assert refused.returncode == 64
    assert "cannot raise it" in refused.stderr


def test_grants_by_the_command_line(tmp_path: Path, busybox_layout: Path) -> None:
    need_root("needs root: RUN")
    context = write_context(tmp_path / "context", "FROM base\nRUN cat /etc/hosts; ulimit -n; cat /etc/resolv.conf\n")
    named = f"--build-context=base=oci-layout://{busybox_layout}:latest"
    options = [
        "--add-host",
        "gate:host-gateway",
        "--dns",
        "192.0.2.7",
        "--dns-search",
        "x.example",
        "--ulimit=nofile=77",
    ]
    done = pybuild("--progress=plain", *options, named, context, root=tmp_path / "store")
    for text in ("127.0.0.1\tgate", " 77\n", "nameserver 192.0.2.7", "search x.example"):
        assert text in done.stderr


WAYS = ["--isolation=userns", "--isolation=single", "--isolation=chroot", "--snapshotter=copy"]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way[2:])
def test_other_ways_to_run_grant_the_same(way: str, tmp_path: Path, busybox_layout: Path) -> None:
    need_root("needs root: RUN in every way")
    key = ssh.make_key(tmp_path / "key", "the-key")
    tools = ssh.client(tmp_path / "tools")
    text = f"""\
FROM scratch AS files
COPY f /d/f
FROM base
RUN --mount=type=bind,from=tools,target=/tools --mount=type=ssh,mode=0660 \\
    --mount=type=cache,target=/c,from=files,source=/d,mode=0710 \\
    --mount=type=secret,id=s,required,mode=0440,env=S,target=/s \\
    {ssh.CLIENT} -l && stat -c '%a %n' $SSH_AUTH_SOCK /c && cat /c/f && ulimit -n && tail -n 1 /etc/hosts && \\
    test "$S" = "$(cat /s)" && stat -c '%a %n' /s && echo new > /c/f && touch /made
RUN --mount=type=cache,target=/c,from=files,source=/d,mode=0710 cat /c/f; ls -d /tools /s /run/buildkit /c
"""
    context = write_context(tmp_path / "context", text, {"f": "seeded\n"})
    named = [f"--build-context=base=oci-layout://{busybox_layout}:latest", f"--build-context=tools={tools}"]
    options = ["--add-host=db:10.9.8.7", "--ulimit=nofile=64", f"--ssh=default={key}", "--secret=id=s,env=SECRET", "-o"]
    out = tmp_path / "out"
    done = pybuild(
        "--progress=plain", way, *named, *options, f"type=local,dest={out}", context,
        root=tmp_path / "store", env={"SECRET": "word"}, status=1,
    )  # fmt: skip
    expected = ("the-key", "660 /run/buildkit/ssh_agent.0", "710 /c", "seeded", " 64\n", "10.9.8.7\tdb", " new\n")
    assert [text for text in (*expected, "440 /s") if text not in done.stderr] == [], done.stderr
    # What was mounted is gone: ls finds only the cache of its own step.
    assert done.stderr.count("No such file") == 3, done.stderr
    assert "word" not in done.stderr


@pytest.mark.parametrize("way", ["--isolation=root", *WAYS], ids=lambda way: way[2:])
def test_writes_to_mounted_files_are_forgotten(way: str, tmp_path: Path, busybox_layout: Path) -> None:
    need_root("needs root: RUN in every way")
    text = """\
FROM base AS stage
RUN mkdir /d && echo stage > /d/f
FROM base
RUN --mount=target=/context,rw --mount=from=stage,source=/d,target=/stage,rw --mount=from=base,target=/image,rw \\
    --mount=from=named,target=/named,rw --mount=type=tmpfs,target=/tmpfs,size=1m \\
    cat /context/f /stage/f /named/f > /seen && rm /image/bin/sh && rm /context/f && echo new > /stage/f && \\
    touch /named/new /tmpfs/new
RUN --mount=target=/context --mount=from=stage,source=/d,target=/stage --mount=from=base,target=/image \\
    --mount=from=named,target=/named \\
    cat /context/f /stage/f >> /seen && ls /named /image/bin/sh >> /seen
RUN --mount=target=/context touch /context/new || echo read-only >> /seen
"""
    context = write_context(tmp_path / "context", text, {"f": "context\n"})
    named = write_context(tmp_path / "named", "", {"f": "named\n"})
    contexts = [f"--build-context=base=oci-layout://{busybox_layout}:latest", f"--build-context=named={named}"]
    out = tmp_path / "out"
    pybuild(way, *contexts, "-o", f"type=local,dest={out}", context, root=tmp_path / "store")
    lines = (out / "seen").read_text().split()
    assert lines[:8] == ["context", "stage", "named", "context", "stage", "/image/bin/sh", "/named:", "Dockerfile"]
    assert lines[8:] == (["f"] if "chroot" in way else ["f", "read-only"])
    assert sorted(os.listdir(named)) == ["Dockerfile", "f"]
    assert not {"context", "stage", "image", "named", "tmpfs"} & set(os.listdir(out))
