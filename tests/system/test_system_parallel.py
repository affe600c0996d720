"""Many builds at once on one store: each gets the image it would get alone, and equal work is done once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.cli import environment, pybuild, write_context
from tests.support.need import need_root

AT_ONCE = 8
DOCKERFILE = """\
FROM base AS shared
COPY shared/ /shared/
RUN mkdir /work && cat /shared/* > /work/all && sleep 0.2 && echo $((6 * 7)) times
FROM base AS own
COPY own/{group} /own
RUN --mount=type=cache,target=/cache,sharing=locked \\
    cp /own /cache/f && sleep 0.05 && cmp /own /cache/f && cp /cache/f /f
FROM shared
COPY --from=own /f /f
WORKDIR /made/{group}
RUN --network=none echo {group} > /group && rm -r /shared
LABEL number={number}
"""


def test_eight_builds_on_one_store(busybox_layout: Path, tmp_path: Path) -> None:
    need_root("needs root: RUN")
    files: dict[str, str | bytes] = {f"shared/{number}": bytes([number]) * 100_000 for number in range(20)}
    files |= {f"own/{group}": f"{group}" * 1000 for group in range(3)}
    commands, contexts = [], []
    named = f"--build-context=base=oci-layout://{busybox_layout}:latest"
    for number in range(AT_ONCE):
        dockerfile = DOCKERFILE.format(group=number % 3, number=number)
        context = write_context(tmp_path / f"context-{number}", dockerfile, files)
        for path in [*context.rglob("*"), context]:
            os.utime(path, (1_500_000_000, 1_500_000_000))
        contexts.append(context)
        options = ["--source-date-epoch=1600000000", named, "-t", f"x:{number}"]
        options += [f"--output=type=oci,dest={tmp_path}/{number}.tar", f"--iidfile={tmp_path}/{number}.id"]
        commands.append([*options, str(context)])

    shared = tmp_path / "store"
    program = [sys.executable, "-m", "builder.cli.main"]
    running = [
        subprocess.Popen(
            [*program, *command], env=environment(shared), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for command in commands
    ]
    said = [process.communicate()[0] for process in running]
    assert [process.returncode for process in running] == [0] * AT_ONCE, "\n".join(said)
    assert not any("Traceback" in text for text in said)
    assert (os.listdir(shared / "tmp"), os.listdir(shared / "leases")) == ([], [])

    for number, command in enumerate(commands):
        together = (tmp_path / f"{number}.tar").read_bytes()
        alone = tmp_path / "alone" if number < 3 else shared  # of each group one in a store that has seen no other
        pybuild(*command, root=alone)
        assert (tmp_path / f"{number}.tar").read_bytes() == together, number
    # The shared step ran once: whoever came second waited and took the first one's layer.
    assert "\n".join(said).count("42 times") == 1
