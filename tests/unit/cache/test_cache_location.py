"""Where the store is, and which directories are refused."""

import errno
import os
from pathlib import Path

import pytest

from builder.cache.location import FORMAT, check_readable, choose_root, only_readable, prepare_root
from builder.errors import OutputError, UsageError

UID = os.geteuid()


def choose(env, tmp_path, explicit=None, uid=UID):
    warnings: list[str] = []
    root = choose_root(env, explicit, uid, warn=warnings.append, var_tmp=tmp_path / "var")
    return root, warnings


def made(path: Path, mode: int = 0o700) -> Path:
    path.mkdir(parents=True)
    path.chmod(mode)
    return path


def test_the_first_candidate_wins(tmp_path):
    home = made(tmp_path / "home")
    env = {"PYBUILD_ROOT": f"{tmp_path}/p", "XDG_CACHE_HOME": f"{tmp_path}/x", "HOME": str(home)}
    assert choose(env, tmp_path, tmp_path / "explicit")[0] == tmp_path / "explicit"
    assert choose(env, tmp_path)[0] == tmp_path / "p"
    del env["PYBUILD_ROOT"]
    assert choose(env, tmp_path)[0] == tmp_path / "x/pybuild"
    del env["XDG_CACHE_HOME"]
    assert choose(env, tmp_path)[0] == home / ".cache/pybuild"
    assert (home / ".cache").stat().st_mode & 0o7777 == 0o700
    del env["HOME"]
    root, warnings = choose(env, tmp_path)
    assert root == tmp_path / f"var/pybuild-{UID}"
    assert root.stat().st_mode & 0o7777 == 0o700
    assert (root / "VERSION").read_bytes() == FORMAT
    assert warnings == []


@pytest.mark.parametrize(
    "env",
    [
        {},
        {"HOME": ""},
        {"HOME": "~"},
        {"HOME": "relative", "XDG_CACHE_HOME": "./x"},
        {"HOME": "/nonexistent"},
        {"HOME": "/dev/null"},
        {"HOME": "/proc"},
        {"XDG_CACHE_HOME": "/dev/null/deep/er"},
        {"XDG_CACHE_HOME": "/nul\0byte"},
    ],
)
def test_homes_that_are_none_are_passed_over_in_silence(env, tmp_path):
    root, warnings = choose(env, tmp_path)
    assert root == tmp_path / f"var/pybuild-{UID}"
    assert warnings == []
    assert not Path("/nonexistent").exists()


def test_a_place_asked_for_by_the_environment_that_does_not_work_is_told(tmp_path):
    root, warnings = choose({"PYBUILD_ROOT": "relative"}, tmp_path)
    assert root == tmp_path / f"var/pybuild-{UID}"
    assert "PYBUILD_ROOT" in warnings[0]
    assert "not an absolute path" in warnings[0]


def test_an_explicit_directory_that_does_not_work_is_an_error(tmp_path):
    with pytest.raises(OutputError, match="/dev/null/store"):
        choose({}, tmp_path, "/dev/null/store")


def test_an_explicit_relative_directory_counts_from_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert choose({}, tmp_path, "store")[0] == tmp_path / "store"


def test_when_nothing_works_the_error_names_each_candidate_and_the_way_out(tmp_path):
    (tmp_path / "var").write_text("a file")
    env = {"PYBUILD_ROOT": "rel", "XDG_CACHE_HOME": "/dev/null", "HOME": "/nonexistent"}
    with pytest.raises(OutputError) as caught:
        choose(env, tmp_path)
    assert caught.value.exit_code == 73
    for expected in ("rel (PYBUILD_ROOT): not an absolute path", "/dev/null/pybuild", "/nonexistent/", "var/pybuild-"):
        assert expected in caught.value.message
    assert "--root" in (caught.value.hint or "")


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777, 0o1777, 0o720])
def test_a_directory_others_can_write_to_is_refused(tmp_path, mode):
    with pytest.raises(OutputError, match="others can write to it"):
        prepare_root(made(tmp_path / "s", mode), UID)


def test_a_directory_of_someone_else_is_refused_and_the_next_one_taken(tmp_path):
    made(tmp_path / "p")
    with pytest.raises(OutputError, match=f"belongs to uid {UID}"):
        prepare_root(tmp_path / "p", UID + 1)
    warnings: list[str] = []
    with pytest.raises(OutputError):  # as uid+1 nothing made here is ours
        choose_root({"PYBUILD_ROOT": f"{tmp_path}/p"}, None, UID + 1, warn=warnings.append, var_tmp=tmp_path)
    assert "belongs to uid" in warnings[0]


def test_root_makes_no_directories_in_the_home_of_another_user(tmp_path):
    if UID == 0:
        os.chown(made(tmp_path / "home"), 1234, 1234)
    else:
        made(tmp_path / "home")
    with pytest.raises(OutputError, match="inside a directory of uid") as caught:
        choose_root({"HOME": f"{tmp_path}/home"}, None, 0, var_tmp=Path("/dev/null"))
    assert "/home/.cache" in caught.value.message
    assert list((tmp_path / "home").iterdir()) == []


def test_a_link_of_ours_is_followed(tmp_path):
    made(tmp_path / "disk")
    (tmp_path / "s").symlink_to(tmp_path / "disk")
    prepare_root(tmp_path / "s", UID)
    assert (tmp_path / "disk/VERSION").exists()


def test_a_link_to_a_directory_that_is_no_store_is_refused(tmp_path):
    precious = made(tmp_path / "precious/tmp").parent
    (tmp_path / "s").symlink_to(precious)
    with pytest.raises(OutputError, match="not empty and not a store"):
        prepare_root(tmp_path / "s", UID)


def test_a_link_made_by_someone_else_is_refused(tmp_path):
    target = made(tmp_path / "target")
    (tmp_path / "s").symlink_to(target)
    if UID != 0:
        with pytest.raises(OutputError, match="a symbolic link made by uid"):
            prepare_root(tmp_path / "s", UID + 1)
        return
    os.lchown(tmp_path / "s", 1234, 1234)
    with pytest.raises(OutputError, match="a symbolic link made by uid 1234"):
        prepare_root(tmp_path / "s", UID)
    assert list(target.iterdir()) == []


def test_a_dangling_link_is_refused(tmp_path):
    (tmp_path / "s").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OutputError, match="No such file"):
        prepare_root(tmp_path / "s", UID)
    assert not (tmp_path / "nowhere").exists()


def test_a_file_in_its_place_is_refused(tmp_path):
    (tmp_path / "s").write_text("")
    with pytest.raises(OutputError, match="not a directory"):
        prepare_root(tmp_path / "s", UID)


@pytest.mark.parametrize("leftover", ["lost+found", ".VERSION.12-ab"])
def test_a_fresh_volume_and_a_killed_start_are_no_obstacle(tmp_path, leftover):
    root = made(tmp_path / "s")
    (root / leftover).mkdir()
    prepare_root(root, UID)
    assert (root / "VERSION").read_bytes() == FORMAT


def test_a_store_that_others_can_read_is_closed(tmp_path):
    root = made(tmp_path / "s", 0o755)
    prepare_root(root, UID)
    assert root.stat().st_mode & 0o7777 == 0o700


@pytest.mark.parametrize("found", [b"pybuild store 2\n", b"", b"pybuild", b"\0" * 16])
def test_another_format_is_refused(tmp_path, found):
    root = made(tmp_path / "s")
    (root / "VERSION").write_bytes(found)
    with pytest.raises(OutputError, match="another format"):
        prepare_root(root, UID)


def test_a_version_file_that_is_a_link_or_a_fifo_is_refused(tmp_path):
    root = made(tmp_path / "a")
    (root / "VERSION").symlink_to("/etc/passwd")
    with pytest.raises(OutputError):
        prepare_root(root, UID)
    root = made(tmp_path / "b")
    os.mkfifo(root / "VERSION")
    with pytest.raises(OutputError):
        prepare_root(root, UID)


def test_a_store_that_can_only_be_read_is_looked_at(tmp_path, monkeypatch):
    root = tmp_path / "s"
    prepare_root(root, UID)
    assert only_readable({"PYBUILD_ROOT": str(root)}, None) is None  # it can be written
    # A read-only medium: for root, directory modes are no obstacle.
    monkeypatch.setattr(os, "access", lambda _, mode, **options: not (mode & os.W_OK and options))
    assert only_readable({"PYBUILD_ROOT": str(root)}, None) == root
    assert only_readable({}, root) == root
    assert only_readable({}, None) is None
    assert only_readable({}, tmp_path) is None


def test_a_second_store_of_another_user_says_what_its_owner_can_do(tmp_path, monkeypatch):
    root = tmp_path / "s"
    prepare_root(root, UID)
    check_readable(root)

    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(UsageError, match="cannot read the store") as caught:
        check_readable(root)
    assert f"chmod -R a+rX {root}" in caught.value.hint
