"""The process of one RUN that hands the step to runc or crun: --isolation=oci, when asked for (run-sandbox.md 2, E).

The tree is furnished by ``run.init``'s means, so mounts, secrets and what is left of them are as in mode root; the
runtime makes the namespaces and takes the rights away, told so by a config.json of the parity table. The runtime is
process 1 of a namespace around its own: when it ends, or we do, nothing of the step is left.

Standard library, ``run.init`` and what that has only.
"""

from __future__ import annotations

import json
import os
from typing import Any, NoReturn

from builder.run import attending, init
from builder.run.attending import SIGKILL, attend, send

CLONE_NEWPID = 0x20000000
CAPABILITIES = {
    0: "CHOWN",
    1: "DAC_OVERRIDE",
    3: "FOWNER",
    4: "FSETID",
    5: "KILL",
    6: "SETGID",
    7: "SETUID",
    8: "SETPCAP",
    10: "NET_BIND_SERVICE",
    13: "NET_RAW",
    18: "SYS_CHROOT",
    27: "MKNOD",
    29: "AUDIT_WRITE",
    31: "SETFCAP",
}
_PERSONALITY = (0x40000, 0x100000, 0x200000, 0x400000)  # what weakens the layout of memory
_OURS = (b"/proc", b"/sys", b"/sys/fs/cgroup")  # made by the runtime

Plan = dict[str, Any]


def config(plan: Plan, cwd: str) -> Plan:
    """Return the runtime's configuration for a step whose root is furnished. Pure."""
    uid, gid, groups, _ = plan["identity"]
    covers = [op for op in plan["mounts"] if op["op"] == "cover"]
    names = [f"CAP_{name}" for number, name in CAPABILITIES.items() if plan["capabilities"] >> number & 1]
    spaces = ["pid", "ipc", "uts", "mount", "cgroup"]
    if plan["namespaces"] & init.CLONE_NEWNET:
        spaces.append("network")
    flags = ["nosuid", "noexec", "nodev"]
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": uid, "gid": gid, "umask": 0o022, "additionalGids": list(groups)},
            "args": [os.fsdecode(word) for word in plan["args"]],
            "env": [f"{os.fsdecode(name)}={os.fsdecode(value)}" for name, value in plan["env"]],
            "cwd": cwd,
            "capabilities": {"bounding": names, "permitted": names, "effective": names if uid == 0 else []},
            "noNewPrivileges": False,
        },
        "root": {"path": os.fsdecode(plan["scratch"] + b"/m")},
        "hostname": plan["hostname"].decode(),
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": flags},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*flags, "ro"]},
        ],
        "linux": {
            "namespaces": [{"type": name} for name in spaces],
            "maskedPaths": [os.fsdecode(path) for op in covers for path in op["masked"]],
            "readonlyPaths": [os.fsdecode(path) for op in covers for path in op["readonly"]],
            "seccomp": seccomp(plan["denied"]),
        },
    }


def seccomp(denied: list[str]) -> Plan:
    """Return the filter of ``run.seccomp`` in the runtime's words."""
    flags = {"index": 0, "value": 0x7E020000, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            {"names": denied, "action": "SCMP_ACT_ERRNO", "errnoRet": 1},
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
            *(
                {
                    "names": ["clone"],
                    "action": "SCMP_ACT_ERRNO",
                    "errnoRet": 1,
                    "args": [{**flags, "value": 1 << bit, "valueTwo": 1 << bit}],
                }
                for bit in range(32)
                if 0x7E020000 >> bit & 1
            ),
            *(
                {
                    "names": ["socket"],
                    "action": "SCMP_ACT_ERRNO",
                    "errnoRet": 1,
                    "args": [{"index": 0, "value": family, "op": "SCMP_CMP_EQ"}],
                }
                for family in (38, 40)
            ),
            *(
                {
                    "names": ["personality"],
                    "action": "SCMP_ACT_ERRNO",
                    "errnoRet": 1,
                    # A question has all bits set, the highest too.
                    "args": [{"index": 0, "value": 1 << 31 | bit, "valueTwo": bit, "op": "SCMP_CMP_MASKED_EQ"}],
                }
                for bit in _PERSONALITY
            ),
        ],
    }


def limits(plan: Plan) -> list[Plan]:
    """Return the step's resource limits in the runtime's words."""
    return [
        {"type": f"RLIMIT_{name.upper()}", "soft": soft % (1 << 64), "hard": hard % (1 << 64)}
        for _, name, soft, hard in plan["limits"]
    ]


def command(plan: Plan, runtime: str, name: str, report: int) -> NoReturn:
    """Furnish the root and become the runtime. Raises OSError, Failure."""
    init.prctl(init.PR_SET_PDEATHSIG, SIGKILL)
    os.setsid()
    os.umask(0)
    tree, cwd = init.furnish(plan)
    for path in _OURS[:2]:
        os.close(tree.point(path, "dir"))
    os.close(cwd)
    init.mount(b"proc", b"/proc", b"proc", 0)
    os.umask(0o022)
    send(report, ("stubs", tree.stubs))
    base = os.fsdecode(plan["scratch"])
    words = [runtime, "--root", f"{base}/state", "--log", f"{base}/log", "run", "--bundle", base, name]
    os.execve(runtime, words, {"PATH": os.defpath})


def complaint(log: str) -> tuple[str, int, int, str] | None:
    """Return how a step ended that the runtime could not start, from its log; None if it could."""
    lines = [line for line in log.splitlines() if "level=error" in line or '"error"' in line]
    if not lines:
        return None
    text = lines[-1].partition("msg=")[2].strip('"').replace('\\"', '"') or lines[-1]
    if "exec" in text and ("no such file" in text or "not found" in text):
        return "exec", 127, 0, text
    if "exec" in text and ("permission denied" in text or "format error" in text):
        return "exec", 126, 0, text
    return "setup", 71, 0, text


def janitor(runtime: str, base: str, name: str) -> tuple[int, int]:
    """Start what lets the runtime remove the control groups of a container that was killed; return its pid and a pipe.

    It acts when the pipe closes, so also after our own death. Made before there is a process namespace whose end is
    the end of everything started from here.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(reader)
        return child, writer
    os.close(writer)
    os.read(reader, 1)
    words = [runtime, "--root", f"{base}/state", "--log", f"{base}/log-of-delete", "delete", "--force", name]
    try:
        if os.path.isdir(f"{base}/state/{name}"):
            os.execve(runtime, words, {"PATH": os.defpath})
    finally:
        os._exit(0)


def helper(plan: Plan, channel: int, life: int) -> None:
    """Mount the layers, ask who the user is, run the step, leave the tree as the command left it."""
    root = init.open_root(plan)
    if not init.identify(plan, channel, root):
        return
    value = config(plan, os.fsdecode(plan["cwd"]))
    value["process"]["rlimits"] = limits(plan)
    with open(b"config.json", "w") as file:
        json.dump(value, file)
    plan["mounts"] = [op for op in plan["mounts"] if op["op"] != "cover" and op["target"] not in _OURS]
    name = f"pybuild-{os.getpid()}"
    cleaner, alive = janitor(plan["runtime"], os.fsdecode(plan["scratch"]), name)
    init.unshare(CLONE_NEWPID)
    stubs, result = attend(life, plan["timeout"], command, plan, plan["runtime"], name)
    os.close(alive)
    os.waitpid(cleaner, 0)
    try:
        with open(b"log", errors="replace") as file:
            result = complaint(file.read()) or result
    except OSError:
        pass  # it never wrote one
    init.remove_stubs(root, stubs)
    send(channel, ("result", *result))


def main() -> None:
    """Carry out one RUN."""
    attending.main(helper)
