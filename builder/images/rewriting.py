"""Images of an artifact changed one by one, and the indexes above them written anew so that they lead to the results.

Manifests that are no images (attestations, signatures and other artifacts) are never changed; in Docker's format there
is no place for them. What documents look like afterwards is documents.py's business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

from builder.image import descriptor as media
from builder.image.artifact import DOCUMENT_LIMIT, NESTING_LIMIT, Artifact, Image, Parts
from builder.image.blobs import Layer
from builder.image.descriptor import Descriptor
from builder.image.digest import DiffID, Digest
from builder.image.fields import Fields
from builder.image.manifest import Index, Manifest, ManifestError, is_attestation, parse_manifest
from builder.image.mutate import Format
from builder.images.documents import (
    Entry,
    NewImage,
    config_type,
    format_of,
    is_image,
    pointing,
    write_index,
    write_manifest,
)
from builder.values import dataclass, field, replace

REFERENCE_DIGEST = "vnd.docker.reference.digest"
"""The annotation of an attestation's entry that says which image of the index it is about."""


@dataclass(frozen=True, slots=True)
class LayerChange:
    """One layer, as it was (None: new) and as it is."""

    diff_id: DiffID
    before: Descriptor | None
    after: Descriptor


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One image, as it was and as it is: descriptors of its manifest and its config, and all of its layers."""

    platform: str
    before: Descriptor
    after: Descriptor
    config_before: Descriptor
    config_after: Descriptor
    layers: tuple[LayerChange, ...]


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The artifact that came out, what happened to each image, and what was lost (texts for people)."""

    artifact: Artifact
    changes: tuple[Change, ...]
    warnings: tuple[str, ...]

    def of_images(self) -> Rewritten:
        """Return it, unless there was no image in the artifact. Raises ManifestError."""
        if not self.changes:
            raise ManifestError(f"{self.artifact.content.where} is no image", hint="copy takes artifacts as they are")
        return self


@dataclass(slots=True)
class Rewriter:
    """One run over an artifact. ``change`` is asked for every image; ``image_format`` None keeps each one's own.

    ``annotate`` changes the annotations of indexes. ``change`` may raise whatever it likes.
    """

    content: Parts
    change: Callable[[Image], NewImage]
    image_format: Format | None = None
    annotate: Callable[[Mapping[str, str]], Mapping[str, str]] = lambda found: found
    _documents: dict[Digest, bytes] = field(default_factory=dict)
    _layers: dict[Digest, Layer] = field(default_factory=dict)
    _changes: dict[Digest, Change] = field(default_factory=dict)
    _lost: dict[str, None] = field(default_factory=dict)
    _visited: int = 0

    @classmethod
    def run(
        cls,
        artifact: Artifact,
        change: Callable[[Image], NewImage],
        image_format: Format | None = None,
        annotate: Callable[[Mapping[str, str]], Mapping[str, str]] = lambda found: found,
    ) -> Rewritten:
        """Return ``artifact`` with every image changed. Raises ManifestError for what cannot be in the format."""
        content = Parts(where=artifact.content.where, rest=artifact.content)
        work = cls(content, change, image_format, annotate)
        after = work._document(artifact.root, artifact.raw, NESTING_LIMIT)
        if after is None:
            raise ManifestError(f"{content.where} is no image, and Docker's format has nothing else")
        root = pointing(artifact.root, after)
        made = Parts(where=content.where, documents=work._documents, layers=work._layers, rest=artifact.content)
        raw = artifact.raw if root.digest == artifact.digest else work._documents[root.digest]
        return Rewritten(Artifact(root, raw, made), tuple(work._changes.values()), tuple(work._lost))

    def _document(self, descriptor: Descriptor, raw: bytes, depth: int) -> Descriptor | None:
        """Rewrite one document and return what leads to it now; None for what the format has no place for."""
        self._visited += 1
        if self._visited > DOCUMENT_LIMIT:
            raise ManifestError(f"{self.content.where} has more than {DOCUMENT_LIMIT} manifests")
        parsed = parse_manifest(raw, descriptor.media_type)
        if isinstance(parsed, Manifest):
            if is_image(parsed):
                return self._image(descriptor, raw)
            return self._kept(descriptor, parsed)
        if not depth:
            raise ManifestError(f"{self.content.where}: indexes are nested more than {NESTING_LIMIT} deep")
        return self._index(descriptor, raw, parsed, depth)

    def _kept(self, descriptor: Descriptor, parsed: Manifest) -> Descriptor | None:
        if self.image_format != "docker":
            return descriptor
        kind = "attestation" if is_attestation(descriptor) else parsed.config.media_type or "artifact"
        self._lose(f"{descriptor.digest} ({kind}) is left out: Docker's format has only images")
        return None

    def _lose(self, text: str) -> None:
        self._lost[text] = None

    def _image(self, descriptor: Descriptor, raw: bytes) -> Descriptor:
        known = self._changes.get(descriptor.digest)
        if known is not None:
            return pointing(descriptor, known.after)
        image = Image.of(self.content, descriptor, raw)
        new = self.change(image)
        image_format = self.image_format or format_of(image.manifest.media_type)
        made, lost = write_manifest(raw, image_format, new)
        if lost:
            self._lose(f"the image {_name(image)} loses {', '.join(lost)}: Docker's format does not have them")
        self._documents[Digest.of(made)] = made
        config = Descriptor(
            media_type=config_type(image_format), digest=Digest.of(new.raw_config), size=len(new.raw_config)
        )
        self._documents[config.digest] = new.raw_config
        self._layers.update({layer.descriptor.digest: layer for layer in new.layers})
        after = parse_manifest(made)
        pointer = Descriptor(media_type=after.media_type, digest=Digest.of(made), size=len(made), platform=new.platform)
        before = dict(zip(image.config.diff_ids, image.manifest.layers, strict=True))
        self._changes[descriptor.digest] = Change(
            platform=_name(image),
            before=replace(descriptor, media_type=image.manifest.media_type),
            after=pointer,
            config_before=image.manifest.config,
            config_after=config,
            layers=tuple(
                LayerChange(diff_id, before.get(diff_id), now)
                for diff_id, now in zip(new.diff_ids, cast(Manifest, after).layers, strict=True)
            ),
        )
        return pointing(descriptor, pointer)

    def _index(self, descriptor: Descriptor, raw: bytes, parsed: Index, depth: int) -> Descriptor:
        fields = Fields.parse(raw, "index")
        values = [child.value for child in fields.children("manifests")]
        entries = self._relinked(
            [
                Entry(child, value, after)
                for child, value in zip(parsed.manifests, values, strict=True)
                if (after := self._entry(child, depth)) is not None
            ]
        )
        if not entries:
            raise ManifestError(f"{self.content.where} has no image", hint="Docker's format has nothing else")
        image_format = self.image_format or format_of(parsed.media_type)
        if image_format == "docker":
            entries = [self._with_platform(one) for one in entries]
        made, lost = write_index(raw, image_format, entries, self.annotate(parsed.annotations))
        if lost:
            self._lose(f"the index loses {', '.join(lost)}: Docker's format does not have them")
        self._documents[Digest.of(made)] = made
        kind = media.DOCKER_INDEX if image_format == "docker" else media.OCI_INDEX
        return pointing(descriptor, Descriptor(media_type=kind, digest=Digest.of(made), size=len(made)))

    def _entry(self, child: Descriptor, depth: int) -> Descriptor | None:
        if child.media_type not in media.DOCUMENTS:
            if self.image_format == "docker":
                self._lose(f"{child.digest} ({child.media_type}) is left out: Docker's format has only images")
                return None
            return child
        return self._document(child, self.content.document(child), depth - 1)

    def _relinked(self, entries: Sequence[Entry]) -> list[Entry]:
        """Let attestations say the new digests of what they are about."""
        moved = {one.before.digest: one.after.digest for one in entries}
        found = []
        for one in entries:
            about = one.before.annotations.get(REFERENCE_DIGEST, "")
            target = next((after for before, after in moved.items() if before == about and after != about), None)
            if target is not None:
                annotations = {**one.after.annotations, REFERENCE_DIGEST: str(target)}
                one = replace(one, after=replace(one.after, annotations=annotations))
                self._lose(f"the attestation {one.before.digest} still speaks of the image as it was, {about}")
            found.append(one)
        return found

    def _with_platform(self, entry: Entry) -> Entry:
        """Let an entry say its platform, as every one of Docker's does."""
        if entry.after.platform is not None or entry.after.media_type not in media.MANIFESTS:
            return entry
        image = Image.of(self.content, entry.before, self.content.document(entry.before))
        return replace(entry, after=replace(entry.after, platform=image.config.platform))


def _name(image: Image) -> str:
    return str(image.descriptor.platform or image.config.platform)
