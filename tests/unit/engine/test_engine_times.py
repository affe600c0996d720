"""Epochs, histories and what makes two builds one image (reproducibility.md, cli-and-outputs.md 3.3)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from builder.engine.request import EpochChoice
from builder.engine.times import rfc3339
from builder.errors import BuilderError, ImageError
from builder.image.annotations import Annotation
from tests.support.builds import Workshop
from tests.support.images import directory, file, layer, write_layout


def test_without_an_epoch_times_are_kept(shop: Workshop) -> None:
    shop.put({"f": "1"})
    os.utime(shop.context / "f", (12345, 12345))
    assert shop.build("FROM scratch\nCOPY f /f").tree["f"].mtime == 12345


@pytest.mark.parametrize(
    ("choice", "args", "text", "expected"),
    [
        (EpochChoice(given="100"), {"SOURCE_DATE_EPOCH": "200"}, "", 100),
        (EpochChoice(environment="300"), {"SOURCE_DATE_EPOCH": "200"}, "ARG SOURCE_DATE_EPOCH=250\n", 200),
        (EpochChoice(environment="300"), {}, "ARG SOURCE_DATE_EPOCH=250\n", 250),
        (EpochChoice(environment="300"), {}, "ARG SOURCE_DATE_EPOCH\n", 300),
        (EpochChoice(environment="300"), {}, "", 300),
        (EpochChoice(environment=""), {}, "", None),
        (EpochChoice(given="", environment="300"), {}, "", None),
        (EpochChoice(reproducible=True), {}, "", 0),
        (EpochChoice(reproducible=True, environment="300"), {}, "", 300),
        (EpochChoice(given="context"), {}, "", None),
        (EpochChoice(given="0"), {}, "", 0),
        (EpochChoice(), {"E": "120"}, "ARG E\nARG SOURCE_DATE_EPOCH=${E:-60}\n", 120),
        (EpochChoice(), {}, "ARG E\nARG SOURCE_DATE_EPOCH=${E:-60}\n", 60),
    ],
)
def test_where_the_epoch_comes_from(
    shop: Workshop, choice: EpochChoice, args: dict[str, str], text: str, expected: int | None
) -> None:
    shop.put({"f": "1"})
    built = shop.build(f"{text}FROM scratch\nWORKDIR /w\nCOPY f /w/f\nENV a=b", epoch=choice, build_args=args)
    if expected is None:
        assert built.tree["w"].mtime > 1_600_000_000
        assert not built.config.created.startswith("1970")
        return
    assert (built.tree["w"].mtime, built.tree["w/f"].mtime) == (expected, expected)
    assert {one.created for one in built.config.history} == {built.config.created} == {rfc3339(expected)}


@pytest.mark.parametrize("text", ["abc", "-1", "1.5", "1e9", "\u0661", str(10**13), " 1", "0x10", "9" * 5000])
def test_epochs_that_are_no_seconds_are_refused(shop: Workshop, text: str) -> None:
    with pytest.raises(BuilderError, match="SOURCE_DATE_EPOCH") as caught:
        shop.build("FROM scratch", epoch=EpochChoice(given=text))
    assert caught.value.exit_code == 64


def test_an_argument_of_a_stage_sees_the_epoch_that_counts(shop: Workshop) -> None:
    text = "FROM scratch\nARG SOURCE_DATE_EPOCH\nENV E=${SOURCE_DATE_EPOCH-unset}"
    assert "E=77" in shop.build(text, epoch=EpochChoice(environment="77")).config.config.env
    assert "E=78" in shop.build(text, epoch=EpochChoice(given="78", environment="77")).config.config.env
    assert "E=unset" in shop.build(text).config.config.env


def test_an_epoch_only_lowers_times(shop: Workshop) -> None:
    shop.put({"old": "1", "new": "2"})
    os.utime(shop.context / "old", (50, 50))
    os.utime(shop.context / "new", (5000, 5000))
    tree = shop.build("FROM scratch\nCOPY . /d", epoch=100).tree
    assert (tree["d/old"].mtime, tree["d/new"].mtime, tree["d"].mtime) == (50, 100, 100)


def test_another_epoch_is_other_work_and_the_same_is_not(shop: Workshop) -> None:
    text = "FROM scratch\nCOPY f /f"
    first = shop.build(text, {"f": "1"}, epoch=100)
    assert shop.build(text, epoch=200).seen.executed
    again = shop.build(text, epoch=100)
    assert (again.seen.executed, again.digest) == ([], first.digest)


def test_two_checkouts_with_other_times_and_umasks_give_one_image(tmp_path: Path) -> None:
    digests = set()
    text = "FROM scratch AS s\nWORKDIR /w\nCOPY . /w/x\nCOPY <<E /doc\n1\nE\nFROM s\nCOPY --from=s /w /again/deep"
    for number, (umask, when) in enumerate(((0o000, 1_000_000), (0o077, 2_000_000))):
        before = os.umask(umask)
        try:
            one = Workshop(tmp_path / f"store-{number}", tmp_path / f"checkout-{number}")
            one.context.mkdir()
            one.put({"d/sub/f": "f", "d/l": lambda path: path.symlink_to("sub/f"), "run.sh": "#!"})
            (one.context / "run.sh").chmod(0o777 & ~umask)
            for path in sorted(one.context.rglob("*")):
                os.utime(path, (when, when), follow_symlinks=False)
            digests.add(one.build(text, epoch=EpochChoice(reproducible=True)).digest)
        finally:
            os.umask(before)
    assert len(digests) == 1


# --- history and created


def base_layout(path: Path, **config: Any) -> str:
    write_layout(path, [layer(directory("w"), file("w/f", "1"))], config=config)
    return f"oci-layout://{path}"


def test_history_says_what_made_each_layer(shop: Workshop, tmp_path: Path) -> None:
    base = base_layout(tmp_path / "base")
    built = shop.build(
        "FROM b\nENV a=b\nCOPY f /f\nWORKDIR /w\nCOPY none* /\nLABEL x=y", {"f": "1"}, contexts={"b": base}, epoch=60
    )
    ours = "1970-01-01T00:01:00Z"
    assert [(one.created_by, one.empty_layer, one.created) for one in built.config.history] == [
        ("test layer 0", False, "2020-01-01T00:00:00Z"),
        ("ENV a=b", True, ours),
        ("COPY f /f # buildkit", False, ours),
        ("WORKDIR /w", True, ours),
        ("COPY none* / # buildkit", True, ours),
        ("LABEL x=y", True, ours),
    ]
    assert len(built.config.diff_ids) == 2
    assert built.config.created == ours


def test_an_image_that_is_its_base_has_the_bases_time_but_no_later_than_the_epoch(
    shop: Workshop, tmp_path: Path
) -> None:
    base = base_layout(tmp_path / "base")
    assert shop.build("FROM b", contexts={"b": base}).config.created == "2020-01-01T00:00:00Z"
    assert shop.build("FROM b", contexts={"b": base}, epoch=2**31).config.created == "2020-01-01T00:00:00Z"
    early = shop.build("FROM b", contexts={"b": base}, epoch=60).config
    assert early.created == "1970-01-01T00:01:00Z"
    assert early.history[0].created == "2020-01-01T00:00:00Z"


@pytest.mark.parametrize("created", [None, "", "2020-01-01T00:00:00.123456789+02:00"])
def test_a_base_that_says_no_times_is_no_obstacle(shop: Workshop, tmp_path: Path, created: str | None) -> None:
    base = base_layout(tmp_path / "base", history=[{"created": created}], created=created)
    first, second = (shop.build("FROM b\nENV a=b", contexts={"b": base}) for _ in range(2))
    assert first.digest == second.digest
    first, second = (shop.build("FROM b", contexts={"b": base}) for _ in range(2))
    assert first.digest == second.digest
    assert shop.build("FROM b", contexts={"b": base}, epoch=60).config.created == "1970-01-01T00:01:00Z"


def test_a_base_with_times_that_are_none_is_refused_as_everywhere(shop: Workshop, tmp_path: Path) -> None:
    base = base_layout(tmp_path / "base", history=[{"created": "yesterday"}])
    with pytest.raises(ImageError, match="'yesterday' is not an RFC 3339 time"):
        shop.build("FROM b", contexts={"b": base})


def test_an_image_without_layers(shop: Workshop) -> None:
    first = shop.build("FROM scratch\nENV a=b")
    assert (first.layers, first.config.diff_ids) == ([], ())
    assert [one.empty_layer for one in first.config.history] == [True]
    assert shop.build("FROM scratch\nENV a=b").digest == first.digest
    assert shop.build("FROM scratch").config.history == ()


def test_unknown_fields_of_the_bases_config_survive(shop: Workshop, tmp_path: Path) -> None:
    more = {"os.features": ["x"], "x-mine": {"a": [1]}}
    base = base_layout(tmp_path / "base", **more)
    assert shop.build("FROM b\nENV a=b", contexts={"b": base}).config.extra == more


def test_annotations_and_labels_of_the_command_line(shop: Workshop) -> None:
    built = shop.build("FROM scratch\nLABEL a=1 b=2", labels={"b": "3"}, annotations=(Annotation("k", "v"),))
    assert dict(built.config.config.labels) == {"a": "1", "b": "3"}
    assert dict(built.image.manifest.annotations) == {"k": "v"}
