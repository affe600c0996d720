"""Mirrors as they are: Debian's docker-registry as a pull-through cache of another."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import registry as registries
from tests.support.cli import digest_of, pybuild, write_context


def test_a_pull_through_cache(tmp_path: Path, busybox_layout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with registries.serve(tmp_path / "upstream") as upstream:
        name = upstream.push(busybox_layout, "team/busybox:1")
        caching = f"proxy:\n  remoteurl: http://{upstream.host}\n"
        monkeypatch.setattr(registries, "_CONFIGURATION", registries._CONFIGURATION + caching)
        with registries.serve(tmp_path / "cache") as cache:
            context = write_context(tmp_path / "context", f"FROM {name}\nCOPY Dockerfile /\n")
            words = ["--registry-mirror", f"{upstream.host}={cache.host}", "--tag", f"{upstream.host}/team/app:1"]
            built = pybuild(*words, "--push", context, root=tmp_path / "store")
            assert upstream.tags("team/app") == {"1": digest_of(built)}
            paths = [one.path for one in cache.requests() if one.status == 200]
            assert any(path.startswith("/v2/team/busybox/manifests/1") for path in paths)
            assert any("/blobs/" in path for path in paths)
            mark = upstream.mark()
            (context / "Dockerfile").write_text(f"FROM {name}\nLABEL a=b\n")
            pybuild(*words[:2], "--output", f"type=oci,dest={tmp_path / 'out.tar'}", context, root=tmp_path / "other")
            assert not [one for one in upstream.requests(since=mark) if "/blobs/" in one.path], "the cache has them"
