"""Commands that look at strangers' images: whatever their JSON says, there is an answer or one of our errors."""

from __future__ import annotations

import copy
import hashlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builder.archive.files import open_files
from builder.archive.oci_layout import read_layout
from builder.cache.store import Store
from builder.cli.commands.inspect import as_record
from builder.cli.template import render
from builder.engine.build import Environment
from builder.errors import BuilderError
from builder.image.platform import Platform
from builder.images.differences import differences
from builder.images.history import steps
from builder.images.ignoring import Ignored
from builder.images.inspecting import Names, describe, verbose_value
from builder.images.lists import entries_of, list_bytes
from builder.images.validating import check
from tests.support import images
from tests.support.builds import Recording, no_registry

_OCI = "application/vnd.oci.image."
_LAYER = images.layer(images.file("a", "1"))
_NATIVE = Platform("linux", images.host_architecture())

_scalars = st.none() | st.booleans() | st.integers(-1, 1 << 70) | st.floats(allow_nan=False) | st.text(max_size=5)
_values = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2)
)


def _put(layout: Path, value: Any) -> dict[str, Any]:
    raw = json.dumps(value).encode("utf-8", "surrogatepass")
    digest = hashlib.sha256(raw).hexdigest()
    (layout / "blobs" / "sha256" / digest).write_bytes(raw)
    return {"digest": f"sha256:{digest}", "size": len(raw)}


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _places(inner, (*path, key))


def _changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    made = copy.deepcopy(value)
    inner = made
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = new
    return made


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    layout = tmp_path_factory.mktemp("hostile")
    container = {"Cmd": ["sh"], "Labels": {"a": "b"}, "ExposedPorts": {"80/tcp": {}}, "Healthcheck": {"Test": ["x"]}}
    images.write_layout(layout, [_LAYER], container=container, config={"author": "me", "os.features": ["x"]})
    return layout


def _all(layout: Path, env: Environment) -> None:
    artifact = read_layout(open_files(layout), "")
    value = describe(artifact, _NATIVE, Names())
    json.dumps(value)
    for template in ("json", "{{.}}", "{{range $k, $v := .Config.Labels}}{{$k}}{{$v}}{{end}}{{.Config.ExposedPorts}}"):
        try:
            render(template, as_record(value))
        except BuilderError:
            pass
    json.dumps(verbose_value("x", artifact))
    list(check(artifact))
    list_bytes(artifact.root.media_type, entries_of(artifact))
    image = artifact.image(_NATIVE)
    list(steps(image, env, read=True))


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    with Store.open(tmp_path_factory.mktemp("store")) as store:
        yield Environment(store, no_registry, Recording(), threading.Event())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(data=st.data(), new=_values)
def test_any_json_is_shown_or_refused(base: Path, env: Environment, data: st.DataObject, new: Any) -> None:
    good = read_layout(open_files(base), "latest")
    first = images.read_image(base, "latest")
    documents = {"config": dict(first.config), "manifest": dict(first.manifest)}
    index = {
        "schemaVersion": 2,
        "mediaType": _OCI + "index.v1+json",
        "manifests": [{"mediaType": _OCI + "manifest.v1+json", "platform": {"os": "linux", "architecture": "amd64"}}],
    }
    which = data.draw(st.sampled_from(["config", "manifest", "index", "entry"]))
    target = {"index": index, "entry": index["manifests"][0]}.get(which) or documents[which]
    path = data.draw(st.sampled_from(list(_places(target))))
    if which == "config":
        documents["config"] = _changed(documents["config"], path, new)
        documents["manifest"]["config"] = {**documents["manifest"]["config"], **_put(base, documents["config"])}
    elif which == "manifest":
        documents["manifest"] = _changed(documents["manifest"], path, new)
    entry = {**index["manifests"][0], **_put(base, documents["manifest"])}
    if which == "entry" and path:
        entry = _changed(entry, path, new)
    index["manifests"] = [entry]
    if which == "index":
        index = _changed(index, path, new) if path else index
    root = {"mediaType": _OCI + "index.v1+json", **_put(base, index)}
    shaped = base / "index.json"
    before = shaped.read_text()
    try:
        shaped.write_text(json.dumps({"schemaVersion": 2, "manifests": [root]}))
        _all(base, env)
        list(differences(good, read_layout(open_files(base), ""), _NATIVE, Ignored()))
    except BuilderError:
        pass
    finally:
        shaped.write_text(before)
