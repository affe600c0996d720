"""What a RUN runs in."""

from __future__ import annotations

from builder.catalog.kinds import Kind

KINDS = (
    Kind(
        code="PB7101",
        title="A RUN cannot be isolated here",
        errors=("SandboxError",),
        texts=(
            "isolation {isolation} is not one of {choices}",
            "isolation={isolation} needs root",
            "cannot create a user namespace ({attempts})",
            "RUN cannot be isolated here ({attempts})",
            "newuidmap and newgidmap are not installed (Debian: apt-get install uidmap)",
            'newuidmap: no range for user "{name}" in {path}',
        ),
        cause="The system allows this user neither to be root nor to make user namespaces. Dockerfiles without RUN "
        "need nothing of that.",
        way_out="`pybuild doctor` tries what there is and says what to change; the hint has the setting of Docker, "
        "Kubernetes and Ubuntu.",
    ),
    Kind(
        code="PB7102",
        title="The store cannot be the ground of an overlay",
        errors=("SandboxError",),
        texts=(
            "fuse-overlayfs cannot be used in the store {store} ({attempts})",
            "the store {store} is on overlayfs, which cannot be an overlay upper ({attempts})",
            "cannot mount an overlay in the store {store} on {kind} ({attempts})",
            "the image has {number} layers; the kernel's overlay takes {limit}",
        ),
        cause="RUN mounts an overlay over the unpacked layers, and the file system of the store does not take it, or "
        "the image has more layers than the kernel.",
        way_out="Put the store on ext4, xfs, btrfs or tmpfs with `--root DIR` (in a container: on a volume), or use "
        "`--snapshotter auto`.",
    ),
    Kind(
        code="PB7103",
        title="A user or group does not exist in the user namespace",
        errors=("SandboxError",),
        texts=(
            "{path} belongs to {uid}:{gid}, which the user namespace does not have",
            "cannot give a cache mount to uid {uid} gid {gid}: {reason}",
            "USER {user}: uid {uid} gid {gid} do not exist in this user namespace",
        ),
        cause="The files or the USER of the image have an id that this user may not use.",
        way_out="Give the user a range of 65536 ids in /etc/subuid and /etc/subgid, or run as root.",
    ),
    Kind(
        code="PB7104",
        title="The image has no such user",
        errors=("SandboxError",),
        texts=(
            "USER {text}: {number} is not a user or group number",
            "no such user {user} in /etc/passwd of the image",
            "no such group {group} in /etc/group of the image",
        ),
        cause="USER names somebody who is not in /etc/passwd or /etc/group of the image.",
        way_out="Create the user in a RUN before, or use a number.",
    ),
    Kind(
        code="PB7105",
        title="The image is for another machine",
        errors=("SandboxError",),
        texts=(
            'exec "{name}" in image: it is for {architecture}, this machine is {machine}, binfmt_misc has no handler'
            " for it, and there is no static qemu-{architecture}-static on PATH",
            'exec "{args}" in image: an emulator from PATH does not search the image for it',
            "RUN is not supported on {machine}: its system calls are not known here",
        ),
        cause="Its programs are for another processor, and no emulator is registered here.",
        way_out="Register qemu with binfmt_misc, put a static `qemu-ARCH-static` on PATH, or build for this platform.",
    ),
    Kind(
        code="PB7106",
        title="A step could not be set up",
        errors=("SandboxError",),
        texts=(
            "no thread can be started for {name}: {error}",
            "cannot make a control group: {path}: {reason}",
            "cannot mount on {target}: the target must be below /",
            "{name} cannot be the name of a script",
            "the sandbox's worker ended unexpectedly{value}",
            "the RUN has a NUL in its command, environment, directory or mounts",
            "the RUN was lost: {why}",
            "cannot start a process for the RUN: {reason}",
            "cannot set up the RUN: {why}",
        ),
        cause="The system refused a mount, a process or a control group, or the sandbox was killed.",
        way_out="`pybuild doctor` shows what works here. The kernel's log (`dmesg`) tells of processes that were killed"
        " for lack of memory.",
    ),
    Kind(
        code="PB7107",
        title="This isolation cannot do that",
        errors=("SandboxError",),
        texts=(
            "isolation=oci: neither runc nor crun is installed",
            "isolation=chroot cannot take the network from a RUN",
            "isolation=oci has no --security=insecure",
            "isolation=oci has no --memory and --cpus",
        ),
        cause="`--isolation` forces a way that lacks what the step or an option needs.",
        way_out="Use `--isolation auto`, which takes the best there is.",
    ),
    Kind(
        code="PB7108",
        title="A step left a link to a secret in the image",
        errors=("SandboxError",),
        texts=("a link to the secret {name} was left in the image",),
        cause="Without mounts of its own (`--isolation chroot`), a step finds its secrets as files among those of the "
        "image. The command has linked or moved one of them; its contents are wiped, and there is no layer.",
        way_out="Read the secret in the step, and write down only what may be known.",
    ),
)
