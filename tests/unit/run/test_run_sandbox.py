"""A step in root mode: how it ends, what it sees, what it cannot do, what it leaves (run-sandbox.md 7)."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from runbox import Box, directory, link, regular, tar_of

from builder.errors import SandboxError
from builder.rootfs.entry import LayerFormatError
from builder.run.spec import (
    BindMount,
    CacheMount,
    CommandFailedError,
    RunSpec,
    SecretMount,
    TmpfsMount,
    Ulimit,
)


def mounts(below: Path) -> list[str]:
    return [line for line in Path("/proc/mounts").read_text().splitlines() if below.name in line]


# -- how it ends -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 1, 7, 125, 126, 127, 255])
def test_the_commands_own_status(box: Box, code: int) -> None:
    status = box.run(f"exit {code}").status
    assert (status.phase, status.code, status.signal) == ("exit", code, 0)


def test_streams_stay_apart(box: Box) -> None:
    ran = box.run("echo out; echo err >&2")
    assert (ran.out, ran.err) == ("out\n", "err\n")


def test_death_by_a_signal(box: Box) -> None:
    # PID 1 ignores signals from inside, so the signal has to come from its child, through a shell that exits 128 + n.
    status = box.run("/bin/sh", "-c", "sh -c 'kill -9 $$'; exit $?").status
    assert (status.phase, status.code) == ("exit", 137)


def test_pid_1_cannot_be_killed_from_inside(box: Box) -> None:
    assert box.run("kill -9 $$; echo alive; exit 3").status.code == 3


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (("/no/such", "x"), 127, 'exec "/no/such" in image: no such file or directory'),
        (("nowhere", "x"), 127, 'exec "nowhere" in image: no such file or directory'),
        (("/etc/passwd", "x"), 126, 'exec "/etc/passwd" in image: permission denied'),
        (("/etc", "x"), 126, 'exec "/etc" in image: permission denied'),
    ],
)
def test_commands_that_cannot_be_started(box: Box, args: tuple[str, ...], code: int, text: str) -> None:
    status = box.run(*args).status
    assert (status.phase, status.code, status.why) == ("exec", code, text)


def test_a_missing_interpreter_is_named(box: Box) -> None:
    script = box.layer(tar_of([regular("script", b"#!/no/interpreter\n", 0o755), regular("junk", b"\0\1\2", 0o755)]))
    status = box.run("/script", "x", stack=[box.base, script]).status
    assert (status.phase, status.code) == ("exec", 127)
    assert "interpreter" in status.why
    assert box.run("/junk", "x", stack=[box.base, script]).status.code == 126


def test_an_image_without_a_shell_has_a_way_out(box: Box) -> None:
    bare = box.layer(tar_of([regular("file", b"")]))
    for word, hinted in (("/bin/sh", True), ("/bin/bash", False)):
        error = box.run(word, "-c", "true", stack=[bare]).status.failure("RUN true")
        assert ("the image has no shell" in (error.hint or "")) is hinted


def test_failures_become_errors_with_the_commands_status(box: Box) -> None:
    error = box.run("exit 9").status.failure("RUN exit 9")
    assert isinstance(error, CommandFailedError)
    assert (error.exit_code, error.status) == (9, 9)


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"user": "nobody"}, "no such user"),
        ({"cwd": "/etc/passwd/x"}, "working directory"),
        ({"mounts": (BindMount(target="/x", source=Path("/no/such/place")),)}, "cannot mount /x"),
        ({"mounts": (TmpfsMount(target="/"),)}, "cannot mount on"),
        ({"mounts": (TmpfsMount(target="/a\0"),)}, "has a NUL"),
        ({"cwd": "/a\0"}, "has a NUL"),
        ({"env": (("A", "\0"),)}, "has a NUL"),
    ],
)
def test_a_failing_setup_is_no_exit_status(box: Box, spec: dict[str, object], text: str) -> None:
    with pytest.raises(SandboxError, match=text):
        box.run("true", **spec)


def test_a_store_that_takes_no_layers_is_named(fresh_box: Box) -> None:
    (fresh_box.root / "layers").touch()
    with pytest.raises(SandboxError, match=r"root: .*/layers.*: ENOTDIR") as caught:
        fresh_box.run("true")
    assert "Traceback" not in caught.value.message


def test_timeout(box: Box) -> None:
    status = box.run("trap '' TERM INT HUP; setsid sleep 1000 & sleep 1000", timeout=0.3).status
    assert (status.code, status.signal, status.why) == (137, 9, "timeout 0.3s")
    assert str(status.failure("RUN sleep")) == "RUN sleep: killed by signal 9 (timeout 0.3s)"


def test_a_timeout_of_years(box: Box) -> None:
    assert box.run("exit 3", timeout=1e12).status.code == 3


def test_cancel(box: Box) -> None:
    cancel = threading.Event()
    threading.Timer(0.2, cancel.set).start()
    status = box.run("trap '' TERM INT HUP; setsid sleep 1000 & sleep 1000", cancel=cancel).status
    assert (status.code, status.why) == (137, "cancelled")


def test_background_processes_do_not_outlive_the_step(box: Box) -> None:
    assert box.run("setsid sleep 1000 & exit 0").status.ok


# -- what it sees ------------------------------------------------------------------------------------------------------


def test_environment_is_exactly_the_given_one(box: Box) -> None:
    ran = box.run("/bin/env", "-u", "_", env=(("PATH", "/bin"), ("X", "1 \u00e9")))
    assert sorted(ran.out.splitlines()) == ["HOME=/root", "PATH=/bin", "X=1 \u00e9"]
    assert "HOME=/h\n" in box.run("/bin/env", "-u", "_", env=(("HOME", "/h"),)).out


def test_identity(box: Box) -> None:
    assert box.run("id; pwd; umask; hostname; echo $$").out == (
        "uid=0(root) gid=0(root) groups=0(root)\n/\n0022\nbuildkitsandbox\n1\n"
    )
    ran = box.run("id; echo $HOME; echo x > /dev/stdout", user="app", cwd="/srv/a")
    assert ran.out == "uid=1000(app) gid=1001(app) groups=10(wheel),1001(app)\n/home/app\nx\n"
    made = {member.name: (member.uid, member.gid, member.mode) for member in ran.members}
    assert made == {"srv": (1000, 1001, 0o755), "srv/a": (1000, 1001, 0o755)}


def test_capabilities(box: Box) -> None:
    text = "grep -E '^(Cap|NoNew|Seccomp:)' /proc/self/status"
    root = dict(line.split(":\t") for line in box.run(text).out.splitlines())
    assert root == {
        "CapInh": "0000000000000000",
        "CapPrm": "00000000a80425fb",
        "CapEff": "00000000a80425fb",
        "CapBnd": "00000000a80425fb",
        "CapAmb": "0000000000000000",
        "NoNewPrivs": "0",
        "Seccomp": "2",
    }
    user = dict(line.split(":\t") for line in box.run(text, user="1000").out.splitlines())
    assert user["CapEff"] == user["CapPrm"] == "0000000000000000"


def test_signals_are_as_after_a_boot(box: Box) -> None:
    # Without a shell: the one of busybox ignores SIGQUIT.
    out = box.run("grep", "-E", "^Sig(Blk|Ign|Cgt)", "/proc/self/status").out
    assert out.split() == ["SigBlk:", "0" * 16, "SigIgn:", "0" * 16, "SigCgt:", "0" * 16]


def test_descriptors_and_stdin(box: Box) -> None:
    ran = box.run("ls /proc/self/fd; readlink /proc/self/fd/0; cat")
    assert ran.out.split() == ["0", "1", "2", "3", "/dev/null"]  # 3 is the directory ls itself has open


def test_hidden_and_read_only_parts_of_proc_and_sys(box: Box) -> None:
    ran = box.run(
        "echo 1 > /proc/sys/kernel/domainname; cat /proc/keys /proc/timer_list;"
        "ls /sys/firmware; echo 1 > /sys/kernel/uevent_seqnum; exit 0"
    )
    assert ran.out == ""
    assert ran.err.count("Read-only file system") == 2


def test_devices(box: Box) -> None:
    ran = box.run(
        "for d in null zero full random urandom tty; do test -c /dev/$d && echo $d; done;head -c 3 /dev/zero | wc -c"
    )
    assert ran.out.split() == ["null", "zero", "full", "random", "urandom", "tty", "3"]
    assert box.run("chmod 600 /dev/null; rm -f /dev/zero; exit 0").status.ok
    assert Path("/dev/null").stat().st_mode & 0o777 == 0o666


def test_a_device_made_by_the_step_cannot_be_opened(box: Box) -> None:
    disk = next(
        (Path("/sys/class/block") / name / "dev").read_text().strip() for name in os.listdir("/sys/class/block")
    )
    major, minor = disk.split(":")
    for place in ("/disk", "/dev/disk", "/dev/shm/disk", "/tmp/disk"):
        ran = box.run(
            f"mknod {place} b {major} {minor} || exit 0; head -c 1 {place} && exit 1; exit 0",
            mounts=(TmpfsMount(target="/tmp"),),
        )
        assert ran.status.ok, place
        assert "Permission denied" in ran.err


def test_network_none(box: Box) -> None:
    ran = box.run("ifconfig -a | grep -E '^[a-z]|UP|inet addr'; readlink /proc/self/ns/net", network="none")
    assert ran.out.startswith("lo ")
    assert "UP LOOPBACK" in ran.out
    assert "127.0.0.1" in ran.out
    assert os.readlink("/proc/self/ns/net") not in ran.out


def test_network_host(box: Box) -> None:
    assert box.run("readlink /proc/self/ns/net").out.strip() == os.readlink("/proc/self/ns/net")


def test_other_namespaces_are_new(box: Box) -> None:
    kinds = ("pid", "ipc", "uts", "mnt", "cgroup")
    inside = box.run(" ".join(f"readlink /proc/self/ns/{kind};" for kind in kinds)).out.split()
    assert all(os.readlink(f"/proc/self/ns/{kind}") != found for kind, found in zip(kinds, inside, strict=True))


def test_resolver_and_hosts_cannot_be_replaced(box: Box) -> None:
    image = box.layer(tar_of([regular("etc/resolv.conf", b"# the image's own\n")]))
    ran = box.run(
        "cat /etc/resolv.conf /etc/hosts; rm /etc/resolv.conf; mv /etc/hosts /x; echo > /etc/hosts; exit 0",
        stack=[box.base, image],
        hosts=(("db", "10.1.2.3"),),
        hostname="host",
    )
    assert ran.out == (
        Path("/etc/resolv.conf").read_text()
        + "127.0.0.1\tlocalhost host\n::1\tlocalhost ip6-localhost ip6-loopback\n10.1.2.3\tdb\n"
    )
    assert ran.err.count("busy") == 2
    assert ran.members == []


# -- what it cannot do -------------------------------------------------------------------------------------------------


def test_seccomp(box: Box) -> None:
    ran = box.run("unshare -U true; unshare -m true; mount -t tmpfs t /bin; umount /proc; su app -c id; exit 0")
    assert ran.err.lower().count("permi") == 4
    assert "uid=1000" in ran.out


def test_insecure_gives_what_we_have(box: Box) -> None:
    ran = box.run("mount -t tmpfs t /bin && /bin/true; grep CapEff /proc/self/status", insecure=True)
    assert box.run("mount -t tmpfs t /etc && echo yes", insecure=True).out == "yes\n"
    assert "a80425fb" not in ran.out


def test_insecure_gives_everybody_capabilities_and_devices(box: Box) -> None:
    script = "grep ^Cap /proc/self/status; grep ^Seccomp: /proc/self/status; ls /dev"
    ran = box.run(script, insecure=True, user="1000")
    shown = dict(line.split(":\t") for line in ran.out.splitlines() if ":\t" in line)
    ours = dict(line.split(":\t") for line in Path("/proc/self/status").read_text().splitlines() if line[:3] == "Cap")
    assert {shown[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {ours["CapBnd"]}
    assert shown["Seccomp"] == "0"
    assert ("kmsg" in ran.out) == os.path.exists("/dev/kmsg")
    assert ran.err == ""
    assert ran.members == []
    writing = "ls /dev; echo inside > /proc/sys/kernel/domainname; cat /proc/sys/kernel/domainname"
    assert box.run(writing, insecure=True).out.endswith("inside\n")
    secure = box.run(writing)
    assert "kmsg" not in secure.out
    assert "Read-only file system" in secure.err


def test_insecure_may_use_devices_it_makes(box: Box) -> None:
    for place in ("/zero", "/dev/mine"):
        text = f"mknod {place} c 1 5 && head -c 3 {place} | wc -c; rm {place}"
        assert box.run(text, insecure=True).out.strip() == "3"
        assert box.run(f"{text}; exit 0").out.strip() == "0"


def test_limits(box: Box) -> None:
    ran = box.run("ulimit -Sn; ulimit -Hn; ulimit -t", ulimits=(Ulimit("nofile", 64, 128), Ulimit("cpu", 5, 7)))
    assert ran.out.split() == ["64", "128", "5"]
    # The least that lets the kernel start a program: ours are not in the way.
    assert box.run("true", ulimits=(Ulimit("nofile", 3, 3),)).status.ok
    highest = int(Path("/proc/sys/fs/nr_open").read_text())
    with pytest.raises(SandboxError, match=r"--ulimit nofile: operation not permitted; the highest"):
        box.run("true", ulimits=(Ulimit("nofile", 1, highest + 1),))


# -- mounts ------------------------------------------------------------------------------------------------------------


def test_mount_points_leave_no_trace(fresh_box: Box, tmp_path: Path) -> None:
    cache, source = tmp_path / "cache", tmp_path / "source"
    cache.mkdir()
    source.mkdir()
    (source / "file").write_text("bound")
    ran = fresh_box.run(
        "cat /run/secrets/token /data/file /dev/pipes/script; echo kept > /var/cache/c/x; echo gone > /scratch/y;"
        "ls /rw; echo lost > /rw/new; stat -c %Y /etc; stat -c '%a %u %g' /run/secrets/token /var/cache/c;"
        "stat -c %a /scratch",
        mounts=(
            SecretMount(target="/run/secrets/token", data=b"s3cret\n", uid=1000, gid=1001),
            CacheMount(target="/var/cache/c", source=cache, mode=0o750, uid=5, gid=6),
            TmpfsMount(target="/scratch", size=1 << 20),
            BindMount(target="/data", source=source),
            BindMount(target="/rw", source=source, readonly=False),
        ),
        scripts=(("script", b"text\n"),),
    )
    assert ran.out.split("\n") == [
        "s3cret", "boundtext", "file", "1000000000", "400 1000 1001", "750 5 6", "1777", "",
    ]  # fmt: skip
    assert ran.status.ok
    assert ran.members == []
    assert (cache / "x").read_text() == "kept\n"
    assert os.listdir(source) == ["file"]


def test_temporary_files_have_the_mode_of_the_directory_that_is_there(box: Box) -> None:
    below = box.layer(tar_of([directory("kept", 0o750)]), [box.base])
    ran = box.run("stat -c %a /kept", stack=[box.base, below], mounts=(TmpfsMount(target="/kept"),))
    assert ran.out == "750\n"
    ran = box.run("echo x > /new/f && stat -c %u /new/f", user="app", mounts=(TmpfsMount(target="/new"),))
    assert ran.out == "1000\n"


def test_read_only_mounts(box: Box, tmp_path: Path) -> None:
    ran = box.run(
        "echo > /data/x; echo > /secret; chmod 777 /secret; exit 0",
        mounts=(BindMount(target="/data", source=tmp_path), SecretMount(target="/secret", data=b"x")),
    )
    assert ran.err.count("Read-only file system") == 3
    assert os.listdir(tmp_path) == []


def test_a_stub_that_is_used_stays(box: Box) -> None:
    ran = box.run("echo > /run/secrets/mine", mounts=(SecretMount(target="/run/secrets/token", data=b"x"),))
    assert ran.names == ["run", "run/secrets", "run/secrets/mine"]


def test_secrets_reach_neither_layer_nor_store(fresh_box: Box) -> None:
    value = b"planted-value-" + os.urandom(8).hex().encode()
    ran = fresh_box.run("wc -c < /secret; echo x > /file", mounts=(SecretMount(target="/secret", data=value),))
    assert ran.out.strip() == str(len(value))
    assert ran.names == ["file"]
    fresh_box.close()
    for place, _, files in os.walk(fresh_box.root):
        for name in files:
            assert value not in (Path(place) / name).read_bytes()


def test_large_secrets_and_scripts(box: Box) -> None:
    ran = box.run(
        "wc -c < /secret; /dev/pipes/big | wc -c",
        mounts=(SecretMount(target="/secret", data=b"x" * 500_000),),
        scripts=(("big", b"#!/bin/sh\ncat $0\n" + b"#" * 300_000),),
    )
    assert ran.out.split() == ["500000", "300017"]


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ("/absolute/x", "/etc/x"),
        ("/climbing/x", "/etc/x"),
        ("/../../etc/x", "/etc/x"),
        ("/dangling/x", "/not/there/x"),
        ("/out/deep/x", "/out/deep/x"),
    ],
)
def test_targets_stay_in_the_root(box: Box, target: str, shown: str) -> None:
    links = box.layer(
        tar_of(
            [
                link("absolute", "/etc"),
                link("climbing", "../../../../../../../../etc"),
                link("dangling", "/not/there"),
                directory("out"),
            ]
        )
    )
    ran = box.run(f"cat {shown}", stack=[box.base, links], mounts=(SecretMount(target=target, data=b"in"),))
    assert ran.out == "in"
    assert ran.members == []
    assert not Path("/etc/x").exists()


def test_a_loop_of_links_is_an_error(box: Box) -> None:
    links = box.layer(tar_of([link("a", "b"), link("b", "a")]))
    with pytest.raises(SandboxError, match="Too many levels of symbolic links"):
        box.run("true", stack=[box.base, links], mounts=(SecretMount(target="/a/x", data=b""),))


def test_subpaths_stay_in_their_source(box: Box, tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "mine").touch()
    os.symlink("/etc", tmp_path / "link")
    ran = box.run("ls /x", mounts=(BindMount(target="/x", source=tmp_path, subpath="link"),))
    assert ran.out == "mine\n"


def test_an_image_as_a_mount(box: Box) -> None:
    tool = box.layer(tar_of([directory("opt"), regular("opt/tool", b"#!/bin/sh\necho tool\n", 0o755)]))
    mount = BindMount(target="/mnt", stack=(box.base, tool), subpath="opt")
    ran = box.run("/mnt/tool; ls /mnt; echo > /mnt/x; exit 0", mounts=(mount,))
    assert ran.out == "tool\ntool\n"
    assert "Read-only" in ran.err
    assert ran.members == []


# -- what it leaves ----------------------------------------------------------------------------------------------------


def test_layers_of_steps_build_on_each_other(fresh_box: Box) -> None:
    box = fresh_box
    first = box.run("mkdir -p /a/b; echo 1 > /a/b/c; ln /a/b/c /a/d; mkdir /gone; echo > /gone/x")
    assert first.source is not None
    second = box.run("cat /a/d; rm -r /gone; rm /etc/group; chmod 700 /a/b; rm -r /a/b; mkdir /a/b; echo 2 > /a/b/e",
                     stack=[box.base, first.source])  # fmt: skip
    assert second.out == "1\n"
    assert second.names == [".wh.gone", "a", "a/b", "a/b/.wh.c", "a/b/e", "etc", "etc/.wh.group"]
    assert second.source is not None
    third = box.run("find /a /etc /gone; exit 0", stack=[box.base, first.source, second.source])
    assert sorted(third.out.split()) == [
        "/a",
        "/a/b",
        "/a/b/e",
        "/a/d",
        "/etc",
        "/etc/hosts",
        "/etc/passwd",
        "/etc/resolv.conf",
    ]
    # A kept upper directory and the unpacked layer must look the same.
    other = box.root.parent / "other"
    other.mkdir()
    with_unpacked = Box(other, box.busybox)
    try:
        text = "find / -xdev | xargs stat -c '%n %a %u %g %s %Y %h' | grep -vE '^/(proc|sys|dev|etc/hosts|etc/resolv)'"
        stack = [box.base, first.source, second.source]
        assert (
            with_unpacked.run(text, stack=stack).out.split("\n")[1:] == box.run(text, stack=stack).out.split("\n")[1:]
        )
    finally:
        with_unpacked.close()


def test_epoch_is_the_newest_time(box: Box) -> None:
    ran = box.run("echo > /x; touch -d @5 /y", epoch=1000)
    assert {member.name: member.mtime for member in ran.members} == {"x": 1000, "y": 5}
    assert ran.source is not None
    seen = box.run("stat -c %Y /x /y", stack=[box.base, ran.source])
    assert seen.out.split() == ["1000", "5"]


def test_nothing_changed(box: Box) -> None:
    assert box.run("chmod 644 /etc/passwd; touch /x; rm /x; chown 0:0 /etc").members == []
    assert box.run("echo > /x; exit 1").members == []


def test_scratch(box: Box) -> None:
    image = box.layer(tar_of([regular("busybox", box.busybox.read_bytes(), 0o755)]))
    ran = box.run("/busybox", "sh", "-c", "echo hi > /made", stack=[image], env=())
    assert ran.names == ["made"]


@pytest.mark.parametrize("count", [127, 499])
def test_many_layers(box: Box, count: int) -> None:
    layers = [box.layer(tar_of([regular(f"f{number}", b"")])) for number in range(count - 1)]
    assert box.run("ls / | wc -l; ls /f0 >/dev/null", stack=[box.base, *layers]).status.ok


def test_too_many_layers(box: Box) -> None:
    layers = [box.layer(tar_of([regular(f"f{number}", b"")])) for number in range(500)]
    with pytest.raises(SandboxError, match="501 layers"):
        box.run("true", stack=[box.base, *layers])


# -- several at once, and in the end -----------------------------------------------------------------------------------


def test_many_threads(box: Box) -> None:
    results: dict[tuple[int, int], tuple[int, str]] = {}

    def work(number: int) -> None:
        for step in range(3):
            ran = box.run(f"echo {number}.{step}; exit {number}")
            results[number, step] = (ran.status.code, ran.out)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {(n, s): (n, f"{n}.{s}\n") for n in range(16) for s in range(3)}


def test_nothing_is_left(fresh_box: Box) -> None:
    fresh_box.run("setsid sleep 1000 & echo > /x")
    with pytest.raises(SandboxError):
        fresh_box.run("true", user="nobody")
    fresh_box.close()
    assert mounts(fresh_box.root.parent) == []
    assert list((fresh_box.root / "tmp").iterdir()) == []


def test_a_tree_of_any_depth_is_removed(fresh_box: Box) -> None:
    deep = "mkdir /d && cd /d && i=0 && while [ $i -lt 1500 ]; do mkdir d && cd d && i=$((i+1)); done"
    assert fresh_box.run(deep + "; false").status.code == 1
    with pytest.raises(LayerFormatError, match="directories deep"):
        fresh_box.run(deep)
    fresh_box.close()
    assert list((fresh_box.root / "tmp").iterdir()) == []


def test_specs_do_not_show_what_they_carry() -> None:
    spec = RunSpec(args=("x",), env=(("TOKEN", "hidden"),), mounts=(SecretMount(target="/s", data=b"hidden"),))
    assert "hidden" not in repr(spec) + repr(spec.mounts)
