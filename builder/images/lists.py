"""Manifest lists in the making: put together, annotated and kept until they are pushed, as ``docker manifest`` does.

A list is one record of the store with its members' manifests; layers stay where they are. What is pushed has the bytes
that Docker would push: members sorted by name, the JSON indented with three spaces. It is a Docker manifest list if all
members are in Docker's format, else an OCI index.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import BinaryIO

from builder.engine.build import Environment
from builder.errors import ImageError
from builder.image import descriptor as media
from builder.image.artifact import Artifact, Content
from builder.image.descriptor import Descriptor
from builder.image.digest import Digest
from builder.image.fields import Fields
from builder.image.manifest import Index, Manifest, ManifestError, is_attestation, parse_descriptor, parse_manifest
from builder.image.reference import Reference
from builder.images.inspecting import descriptor_value, ordered_platform, platform_value, written_platforms
from builder.images.locate import from_registry, locate
from builder.registry.errors import RegistryError
from builder.values import dataclass, field, replace

MEMBER_LIMIT = 1000
"""Members of one list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A manifest of a list. ``name`` is its full reference, or the place of a file; ``platform`` is what it is for."""

    name: str
    descriptor: Descriptor
    platform: Mapping[str, object] | None
    raw: bytes = field(repr=False)

    @property
    def reference(self) -> Reference | None:
        """The reference of a member that is in a registry."""
        return Reference.parse(self.name) if "://" not in self.name and _scheme(self.name) is None else None

    def entry(self) -> dict[str, object]:
        """Return the list's entry, in Docker's order."""
        return _entry(self.descriptor, self.platform)

    def described(self) -> dict[str, object]:
        """Return the descriptor with the platform."""
        return descriptor_value(self.descriptor, self.platform)


@dataclass(frozen=True, slots=True)
class ManifestList:
    """A list under its name; members are sorted by the names of the files Docker keeps them in."""

    reference: Reference
    members: tuple[Member, ...]

    def member(self, name: str) -> Member | None:
        """Return the member called ``name``."""
        return next((one for one in self.members if one.name == name), None)

    def having(self, member: Member) -> ManifestList:
        """Return the list with ``member``, in the place of one of that name."""
        others = [one for one in self.members if one.name != member.name]
        return ManifestList(self.reference, tuple(sorted([*others, member], key=lambda one: _file_name(one.name))))

    def raw(self) -> bytes:
        """Return the document. Raises ManifestError for members without a platform."""
        for one in self.members:
            platform = one.platform or {}
            if not platform.get("os") or not platform.get("architecture"):
                raise ManifestError(
                    f"manifest {one.name} must have an OS and Architecture to be pushed to a registry",
                    hint="say which with pybuild manifest annotate --os OS --arch ARCH",
                )
        return list_bytes(self.media_type, [one.entry() for one in self.members])

    @property
    def media_type(self) -> str:
        """Docker's manifest list if all members are Docker's, else an OCI index."""
        docker = all(one.descriptor.media_type == media.DOCKER_MANIFEST for one in self.members)
        return media.DOCKER_INDEX if docker else media.OCI_INDEX


def list_bytes(media_type: str, entries: Sequence[Mapping[str, object]]) -> bytes:
    """Return a list's document as Docker writes it."""
    value = {"schemaVersion": 2, "mediaType": media_type, "manifests": list(entries)}
    return json.dumps(value, indent=3, ensure_ascii=False).encode()


def entries_of(artifact: Artifact) -> list[dict[str, object]]:
    """Return the images of an index as a list made here would name them."""
    parsed = artifact.parsed()
    manifests = parsed.manifests if isinstance(parsed, Index) else ()
    return [
        _entry(one, ordered_platform(written))
        for one, written in zip(manifests, written_platforms(artifact), strict=True)
        if one.media_type in media.MANIFESTS
    ]


def _entry(descriptor: Descriptor, platform: Mapping[str, object] | None) -> dict[str, object]:
    return {
        "mediaType": descriptor.media_type,
        "size": descriptor.size,
        "digest": str(descriptor.digest),
        "platform": {"architecture": "", "os": "", **(platform or {})},
    }


def _file_name(name: str) -> str:
    return name.replace(":", "-").replace("/", "_")


def _scheme(name: str) -> str | None:
    """Return what kind of place a member's name says it is in, None for a registry."""
    return next((one for one in ("oci:", "oci-archive:", "docker-archive:", "store:") if name.startswith(one)), None)


# --- kept in the store


def find(env: Environment, reference: Reference) -> ManifestList | None:
    """Return the list of this name."""
    value = env.store.lists.get(_key(reference))
    if value is None:
        return None
    try:
        if value.get("reference") != str(reference):
            raise ImageError("another list's")
        fields = Fields(dict(value), "list")
        return ManifestList(reference, tuple(_read_member(one) for one in fields.children("members")))
    except (ImageError, binascii.Error) as error:
        env.store.lists.damaged(_key(reference), str(error))
        return None


def existing(env: Environment, reference: Reference) -> ManifestList:
    """Return the list of this name. Raises ImageError when there is none."""
    found = find(env, reference)
    if found is None:
        raise ImageError(f"No such manifest: {reference}", hint="pybuild manifest create makes a list")
    return found


def keep(env: Environment, one: ManifestList) -> None:
    """Write a list. Raises OutputError."""
    env.store.lists.put(
        _key(one.reference),
        {
            "reference": str(one.reference),
            "members": [
                {
                    "name": member.name,
                    "descriptor": member.descriptor.to_json(),
                    "platform": member.platform,
                    "raw": base64.b64encode(member.raw).decode(),
                }
                for member in one.members
            ],
        },
    )


def remove(env: Environment, reference: Reference) -> None:
    """Remove a list. Raises ImageError when there is none."""
    existing(env, reference)
    env.store.lists.remove(_key(reference))


def _read_member(fields: Fields) -> Member:
    raw = base64.b64decode(fields.text("raw"), validate=True)
    descriptor = parse_descriptor(fields.child("descriptor"))
    if Digest.of(raw) != descriptor.digest:
        raise ImageError("a manifest is damaged")
    platform = fields.value.get("platform")
    return Member(
        name=fields.text("name"),
        descriptor=descriptor,
        platform=ordered_platform(platform if isinstance(platform, dict) else None),
        raw=raw,
    )


def _key(reference: Reference) -> str:
    return hashlib.sha256(str(reference).encode()).hexdigest()


# --- made, annotated


def create(env: Environment, reference: Reference, names: Iterable[str], *, amend: bool) -> ManifestList:
    """Make a list of the manifests at ``names``, or add them to one that is there if ``amend``.

    A member that is there already stays as it is. Raises ImageError for what is no single image, RegistryError.
    """
    with env.store.lock(f"manifest-list {reference}", cancel=env.cancel):
        found = find(env, reference)
        if found is not None and not amend:
            raise ImageError(
                "refusing to amend an existing manifest list with no --amend flag",
                hint=f"or remove it first: pybuild manifest rm {reference.familiar}",
            )
        made = found or ManifestList(reference, ())
        for name in names:
            if made.member(name) is None:
                made = made.having(_fetched(env, name))
        if len(made.members) > MEMBER_LIMIT:
            raise ImageError(f"{reference}: a list of {len(made.members)} manifests; the limit is {MEMBER_LIMIT}")
        keep(env, made)
    return made


def _fetched(env: Environment, name: str) -> Member:
    artifact = artifact_of(env, name)
    parsed = artifact.parsed()
    if isinstance(parsed, Index):
        images = [one for one in parsed.manifests if not is_attestation(one)]
        offered = ", ".join(f"{one.digest} ({one.platform or 'no platform'})" for one in images[:4])
        raise ImageError(f"{name} is a manifest list", hint=f"name one of its images by digest: {offered}")
    return Member(name=name, descriptor=artifact.root.bare, platform=platform_value(artifact, parsed), raw=artifact.raw)


def artifact_of(env: Environment, name: str) -> Artifact:
    """Return what a member's name leads to; a bare reference is a registry's. Raises ImageError, RegistryError."""
    if _scheme(name) is not None or "://" in name:
        return locate(name, env)
    reference = Reference.parse(name)
    try:
        return from_registry(reference, env)
    except RegistryError as error:
        if error.status != 404:
            raise
        local = env.store.refs.get(str(reference), built_here=True) is not None
        hint = f"the image built here under this name is store:{reference.familiar}" if local else error.hint
        raise ImageError(f"no such manifest: {reference}", hint=hint) from error


def annotate(env: Environment, reference: Reference, name: str, changes: Mapping[str, str | Sequence[str]]) -> None:
    """Set fields of a member's platform; OS features are added to those it has. Raises ImageError."""
    with env.store.lock(f"manifest-list {reference}", cancel=env.cancel):
        found = find(env, reference)
        member = None if found is None else found.member(name)
        if found is None or member is None:
            raise ImageError(f"manifest for image {name} does not exist in {reference}")
        platform = dict(member.platform or {})
        for key, value in changes.items():
            if isinstance(value, str):
                platform[key] = value
            else:
                given = platform.get(key)
                kept = [one for one in given if isinstance(one, str)] if isinstance(given, list) else []
                platform[key] = list(dict.fromkeys([*kept, *value]))
        keep(env, found.having(replace(member, platform=ordered_platform(platform))))


# --- pushed


def push(env: Environment, one: ManifestList) -> Digest:
    """Push a list with all its members into its repository; blobs of others there are mounted or copied.

    Raises RegistryError, ManifestError, and what reading members raises.
    """
    from builder.registry.push import push_artifact

    artifact = Artifact.of(content_of(env, one), one.raw())
    return push_artifact(env.registry(), [one.reference], artifact, env.reporter)


def content_of(env: Environment, one: ManifestList) -> Content:
    """Return what a list leads to: its members' manifests, and their blobs from wherever each is."""
    return _Members(env, one)


def moved(one: ManifestList) -> list[Member]:
    """Return the members that come from other repositories than the list's."""
    return [member for member in one.members if member.reference is None or member.reference.name != one.reference.name]


class _Members:
    """The members' manifests, and their blobs from wherever each member is. Thread-safe."""

    def __init__(self, env: Environment, one: ManifestList) -> None:
        self._env = env
        self._list = one
        self._raw = {member.descriptor.digest: member.raw for member in one.members}
        self._owners: dict[Digest, Member] = {}
        self._contents: dict[str, Content] = {}
        self._lock = threading.Lock()
        for member in one.members:
            parsed = parse_manifest(member.raw, member.descriptor.media_type)
            if isinstance(parsed, Manifest):
                self._owners.update({blob.digest: member for blob in (parsed.config, *parsed.layers)})

    @property
    def where(self) -> str:
        """The list's name."""
        return self._list.reference.familiar

    def document(self, descriptor: Descriptor) -> bytes:
        """Return a manifest or config."""
        raw = self._raw.get(descriptor.digest)
        return raw if raw is not None else self._content(descriptor).document(descriptor)

    def open(self, descriptor: Descriptor) -> BinaryIO:
        """Open a blob."""
        return self._content(descriptor).open(descriptor)

    def origin(self, descriptor: Descriptor) -> Reference | None:
        """Return the repository of the member that has a blob."""
        member = self._owners.get(descriptor.digest)
        if member is None:
            return None
        return member.reference or self._content(descriptor).origin(descriptor)

    def _content(self, descriptor: Descriptor) -> Content:
        member = self._owners.get(descriptor.digest)
        if member is None:
            raise ImageError(f"{self.where} has no {descriptor.digest}")
        with self._lock:
            if member.name not in self._contents:
                self._contents[member.name] = self._opened(member)
            return self._contents[member.name]

    def _opened(self, member: Member) -> Content:
        if member.reference is None:
            return locate(member.name, self._env).content
        from builder.registry.repository import RepositoryContent

        return RepositoryContent(self._env.registry(), member.reference, self._env.store.blobs, self._env.reporter)
