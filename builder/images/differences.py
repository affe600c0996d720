"""Where two images differ: in their index, manifest, config or layers, told in the order in which they are read.

Layers with the same DiffID are not read. Others are compared entry by entry (layer_differences.py). What is found comes
as it is found, so the first difference costs no more than reading up to it and to the end of its layer.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator

from builder.image import descriptor as media
from builder.image.artifact import Artifact, Image
from builder.image.fields import Fields
from builder.image.manifest import Index, Manifest, is_attestation
from builder.image.mutate import repaired_history
from builder.image.platform import Platform
from builder.images.ignoring import Ignored
from builder.images.inspecting import is_image
from builder.images.layer_differences import layer_differences
from builder.images.tar_bytes import EntryDifference
from builder.values import dataclass, replace

_DEPTH_LIMIT = 60
_SHOWN = 200
_ABSENT = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One difference. ``part`` is index, manifest, config or layer; ``a`` and ``b`` are None where there is nothing.

    ``layer`` counts from 1, and ``step`` is what made it; ``entry`` is a path in it.
    """

    part: str
    field: str
    a: str | None
    b: str | None
    platform: str = ""
    layer: int | None = None
    step: str = ""
    entry: str | None = None

    def sentence(self) -> str:
        """Return the difference for people."""
        place = self.part if self.layer is None else f"layer {self.layer}"
        step = f" ({self.step})" if self.step else ""
        where = [*([self.platform] if self.platform else []), place + step]
        if self.entry is not None:
            where.append("/" + self.entry)
        return f"{': '.join(where)}: {_said(self.field, self.a, self.b)}"

    def to_json(self) -> dict[str, object]:
        """Return the difference for programs."""
        value: dict[str, object] = {"part": self.part, "field": self.field, "a": self.a, "b": self.b}
        if self.platform:
            value["platform"] = self.platform
        if self.layer is not None:
            value |= {"layer": self.layer, "step": self.step, "entry": self.entry}
        return value


def _said(field: str, a: str | None, b: str | None) -> str:
    name = f"{field}: " if field else ""
    if a is None and b is None:
        return field
    if a is None or b is None:
        only = b if a is None else a
        return f"{name}only in {'B' if a is None else 'A'}" + (f": {only}" if only else "")
    return f"{field} {a} vs {b}" if field else f"{a} vs {b}"


def differences(a: Artifact, b: Artifact, platform: Platform | None, ignored: Ignored) -> Iterator[Difference]:
    """Yield what differs. Without ``platform`` two indexes are compared with all their images.

    Of what is no image the manifests are compared. Raises PlatformNotFoundError, ManifestError, LayerFormatError, and
    what reading raises.
    """
    if a.digest == b.digest:
        return
    left, right = a.parsed(), b.parsed()
    if any(isinstance(one, Manifest) and not is_image(one) for one in (left, right)):
        values = [Fields.parse(one.raw, "manifest").value for one in (a, b)]
        yield from _values("manifest", "", values[0], values[1], ignored)
        return
    if platform is None and isinstance(left, Index) and isinstance(right, Index):
        yield from _index_differences(a, b, ignored)
        return
    if platform is None and isinstance(left, Index):
        other = b.image()
        yield from image_differences(a.image(other.config.platform), other, ignored)
    elif platform is None and isinstance(right, Index):
        one = a.image()
        yield from image_differences(one, b.image(one.config.platform), ignored)
    else:
        yield from image_differences(a.image(platform), b.image(platform), ignored)


# --- indexes


def _index_differences(a: Artifact, b: Artifact, ignored: Ignored) -> Iterator[Difference]:
    found = False
    for one in _index_fields(a, b, ignored):
        found = True
        yield one
    left, right = _by_platform(a), _by_platform(b)
    for name in dict.fromkeys([*left, *right]):
        if name not in left or name not in right:
            found = True
            digest = (left.get(name) or right[name]).digest
            yield Difference(
                part="index",
                field=f"image for {name}",
                a=digest if name in left else None,
                b=digest if name in right else None,
            )
            continue
        for one in image_differences(left[name], right[name], ignored, platform=name):
            found = True
            yield one
    if not found and ignored.nothing:
        yield Difference(part="index", field="digest", a=a.digest, b=b.digest)


def _by_platform(artifact: Artifact) -> dict[str, Image]:
    found: dict[str, Image] = {}
    for image in artifact.images():
        name = (image.descriptor.platform or image.config.platform).full
        number = sum(one.split(" #")[0] == name for one in found)
        found[f"{name} #{number + 1}" if number else name] = image
    return found


def _index_fields(a: Artifact, b: Artifact, ignored: Ignored) -> Iterator[Difference]:
    left, right = a.parsed(), b.parsed()
    if not (isinstance(left, Index) and isinstance(right, Index)):
        return
    if left.media_type != right.media_type and not ignored.has("format"):
        yield Difference(part="index", field="mediaType", a=left.media_type, b=right.media_type)
    if not ignored.has("annotations"):
        yield from _values("index", "annotations", dict(left.annotations), dict(right.annotations), ignored)
        for number, (one, other) in enumerate(zip(left.manifests, right.manifests, strict=False)):
            place = f"manifests[{number}].annotations"
            if not (is_attestation(one) or is_attestation(other)):
                yield from _values("index", place, dict(one.annotations), dict(other.annotations), ignored)
    attested = [[str(one.digest) for one in parsed.manifests if is_attestation(one)] for parsed in (left, right)]
    if attested[0] != attested[1] and not ignored.has("attestations"):
        yield Difference(part="index", field="attestations", a=_short(attested[0]), b=_short(attested[1]))


# --- one image


def image_differences(a: Image, b: Image, ignored: Ignored, *, platform: str = "") -> Iterator[Difference]:
    """Yield what differs between two images, config first, then the layers from the bottom."""
    if a.digest == b.digest:
        return
    found = False
    for one in _image_differences(a, b, ignored):
        found = True
        yield _placed(one, platform)
    if not found and ignored.nothing:
        config = a.manifest.config.digest != b.manifest.config.digest
        digests = [one.manifest.config.digest if config else one.digest for one in (a, b)]
        part, field = "config" if config else "manifest", "the same values, written differently: digest"
        yield Difference(part=part, field=field, a=digests[0], b=digests[1], platform=platform)


def _placed(one: Difference, platform: str) -> Difference:
    return replace(one, platform=platform) if platform else one


def _image_differences(a: Image, b: Image, ignored: Ignored) -> Iterator[Difference]:
    yield from _config_differences(a, b, ignored)
    yield from _layer_stacks(a, b, ignored)
    yield from _manifest_differences(a, b, ignored)


_MANIFEST_SKIPPED = frozenset({"schemaVersion", "mediaType", "config", "layers", "annotations"})


def _manifest_differences(a: Image, b: Image, ignored: Ignored) -> Iterator[Difference]:
    left, right = a.manifest, b.manifest
    if not ignored.has("format"):
        for field, one, other in (
            ("mediaType", left.media_type, right.media_type),
            ("config.mediaType", left.config.media_type, right.config.media_type),
        ):
            if one != other:
                yield Difference(part="manifest", field=field, a=one, b=other)
    if not ignored.has("annotations"):
        yield from _values("manifest", "annotations", dict(left.annotations), dict(right.annotations), ignored)
    rest = [
        {key: value for key, value in Fields.parse(raw, "manifest").value.items() if key not in _MANIFEST_SKIPPED}
        for raw in (a.raw_manifest, b.raw_manifest)
    ]
    yield from _values("manifest", "", rest[0], rest[1], ignored)


def _config_differences(a: Image, b: Image, ignored: Ignored) -> Iterator[Difference]:
    left, right = (dict(Fields.parse(one.raw_config, "config").value) for one in (a, b))
    for value in (left, right):
        value.pop("rootfs", None)
        if ignored.has("history"):
            value.pop("history", None)
        config = value.get("config")
        if ignored.has("labels") and isinstance(config, dict):
            value["config"] = {key: one for key, one in config.items() if key != "Labels"}
    yield from _values("config", "", left, right, ignored)


def _values(part: str, path: str, a: object, b: object, ignored: Ignored, depth: int = 0) -> Iterator[Difference]:
    """Yield where two JSON values differ."""
    if depth > _DEPTH_LIMIT:
        yield Difference(part=part, field=f"{path}: nested too deeply to be compared", a=None, b=None)
    elif isinstance(a, dict) and isinstance(b, dict):
        for key in dict.fromkeys([*a, *b]):
            if not (key == "created" and ignored.has("times")):
                name = f"{path}.{key}" if path else key
                yield from _member(part, name, a.get(key, _ABSENT), b.get(key, _ABSENT), ignored, depth)
    elif isinstance(a, list) and isinstance(b, list):
        for number, (one, other) in enumerate(itertools.zip_longest(a, b, fillvalue=_ABSENT)):
            yield from _member(part, f"{path}[{number}]", one, other, ignored, depth)
    elif type(a) is not type(b) or a != b:
        yield Difference(part=part, field=path, a=_short(a), b=_short(b))


def _member(part: str, name: str, a: object, b: object, ignored: Ignored, depth: int) -> Iterator[Difference]:
    if a is _ABSENT or b is _ABSENT:
        shown = [None if one is _ABSENT else _short(one) for one in (a, b)]
        yield Difference(part=part, field=name, a=shown[0], b=shown[1])
    else:
        yield from _values(part, name, a, b, ignored, depth + 1)


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


# --- layers


def _layer_stacks(a: Image, b: Image, ignored: Ignored) -> Iterator[Difference]:
    steps = [_steps(one) for one in (a, b)]
    left, right = a.layers, b.layers
    for number, (one, other) in enumerate(zip(left, right, strict=False), start=1):
        step = steps[0].get(number) or steps[1].get(number) or ""
        if one.diff_id == other.diff_id:
            if one.descriptor.digest != other.descriptor.digest and not ignored.has("compression"):
                yield Difference(
                    part="layer",
                    layer=number,
                    step=step,
                    field="the same tar, compressed differently:",
                    a=f"{_compression(one.descriptor.media_type)}, {one.descriptor.size} bytes",
                    b=f"{_compression(other.descriptor.media_type)}, {other.descriptor.size} bytes",
                )
            continue
        for found in layer_differences(one, other, ignored):
            yield _in_layer(found, number, step)
    for number in range(min(len(left), len(right)) + 1, max(len(left), len(right)) + 1):
        longer, which = (left, 0) if len(left) > len(right) else (right, 1)
        size = f"{longer[number - 1].descriptor.size} bytes"
        yield Difference(
            part="layer",
            layer=number,
            step=steps[which].get(number, ""),
            field="",
            a=size if which == 0 else None,
            b=size if which == 1 else None,
        )


def _in_layer(found: EntryDifference, number: int, step: str) -> Difference:
    return Difference(part="layer", layer=number, step=step, entry=found.path, field=found.field, a=found.a, b=found.b)


def _compression(media_type: str) -> str:
    if media_type in (media.OCI_LAYER, media.DOCKER_LAYER, media.OCI_FOREIGN_LAYER):
        return "uncompressed"
    return media_type.rpartition("+" if "+" in media_type else ".")[2]


def _steps(image: Image) -> dict[int, str]:
    """Return what made each layer, numbered from 1."""
    history = repaired_history(image.config.history, len(image.layers))
    made = [one.created_by for one in history if not one.empty_layer]
    texts = (" ".join(one.split()) for one in made)
    return {number: text if len(text) <= 60 else text[:57] + "..." for number, text in enumerate(texts, start=1)}
