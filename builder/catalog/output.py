"""Outputs and the store."""

from __future__ import annotations

from builder.catalog.kinds import Kind

KINDS = (
    Kind(
        code="PB7301",
        title="There is no place for the store",
        errors=("OutputError",),
        texts=(
            "no place for the store:\n  {problems}",
            "the store cannot be in {root}: {reason}",
        ),
        cause="The store has to be a directory of this user that others cannot write to. Every place was tried in "
        "order, with the reasons in the message.",
        way_out="`--root DIR` or `$PYBUILD_ROOT` names one.",
    ),
    Kind(
        code="PB7302",
        title="A file cannot be written",
        errors=(
            "OutputError",
            "ImageError",
        ),
        texts=(
            "cannot make the directory of {path}: {reason}",
            "cannot inflate {where} in {value}: {reason}",
            "cannot write the OCI layout {target}: {reason}",
            "cannot write {path}: {reason}",
            "the contents of {path} ended early",
            "cannot write the archive: {reason}",
            "cannot read {path}: {reason}",
            "cannot create {path}: {reason}",
            "cannot lock {path}: {reason}",
            "cannot write to the store {directory}: {reason}",
            "cannot store the files of {remote} in {directory}: {reason}",
            "cannot store what {url} gives: {reason}",
            "cannot make a socket in {directory}: {reason}",
            "cannot unpack an archive into {directory}: {reason}",
            "cannot write a layer to {root}: {reason}",
            "cannot write the accounts in {path}: {reason}",
            "cannot read the changes in {directory}: {reason}",
            "cannot unpack a layer into {target}: {path}: {reason}",
            "cannot unpack a layer into {target}: {reason}",
            "cannot write {path}: it is a directory",
            "cannot keep a table of contents: {reason}",
        ),
        cause="The disk is full, read-only or failing, or the path is not yours. The message has the path and the "
        "system's reason.",
        way_out="Free some space (`pybuild cache prune`), or choose another place (`--root DIR`, `dest=PATH`).",
    ),
    Kind(
        code="PB7303",
        title="The store is too full",
        errors=("OutputError",),
        texts=("{what}: {size} bytes; the store {root} has room for {bytes}",),
        cause="The layer is larger than the room that the file system, or `--store-max-size`, leaves.",
        way_out="`pybuild cache prune` frees space; `--root DIR` is another place.",
    ),
    Kind(
        code="PB7304",
        title="Standard output cannot be written to",
        errors=("OutputError",),
        texts=("cannot write to standard output: {reason}",),
        cause="The program that should read it is gone, or the disk behind it is full.",
        way_out="Look at the other side of the pipe.",
    ),
    Kind(
        code="PB7305",
        title="The system refuses",
        errors=("OutputError",),
        texts=(
            "cannot serve on 127.0.0.1:{port}: {reason}",
            "the system refuses: {path}: {reason}",
            "the system refuses: {reason}",
        ),
        cause="A limit of the machine was met: disk, memory, open files.",
        way_out="`ulimit -n`, `df` and `free` show which one.",
    ),
    Kind(
        code="PB7306",
        title="The target is something else than a layout",
        errors=("OutputError",),
        texts=("{target} is neither empty nor an OCI layout",),
        cause="A directory that is neither empty nor an OCI layout is never written to.",
        way_out="Name another directory, or empty this one.",
    ),
    Kind(
        code="PB7307",
        title="Two platforms have the same file",
        errors=("OutputError",),
        texts=(
            "/ is in the image for {platform} and in one before it",
            "/{path} is in the image for {platform} and in one before it",
        ),
        cause="With `platform-split=false` all platforms go into one directory.",
        way_out="Leave it out: each platform gets a directory of its own.",
    ),
    Kind(
        code="PB7308",
        title="Half of the image was written",
        errors=("OutputError",),
        texts=("half of the image was written: {message}",),
        cause="Layers were lost while an output was written.",
        way_out="Build again.",
    ),
    Kind(
        code="PB7309",
        title="Accounts cannot be kept",
        errors=("OutputError",),
        texts=(
            "cannot read the accounts in {path}: {reason}",
            "another program has held the lock of {directory} for long",
            "{path} is no file that accounts can be written to",
            "{path} belongs to another user, who would get the account",
        ),
        cause="The file with accounts is locked, not yours, or not a file.",
        way_out="Name another with `--authfile`.",
    ),
    Kind(
        code="PB7310",
        title="The store or cache lost something",
        errors=(
            "CacheError",
            "UnreadableBlobError",
            "LostLayersError",
            "SharedCacheError",
        ),
        texts=(
            "{digest} is not in the store",
            "it is another layer's",
            "the layer {digest} is not in the store any more",
            "{where}: {digest} is not in the store any more",
            "cannot read {path}: {reason}",
            "the cache {source}: {problem}",
            "{path} is damaged",
            "{path} is not a file of at most {limit} bytes",
            "a table of contents is broken: {error}",
            "a table of contents in the cache is broken ({reason})",
        ),
        cause="A file of the store is damaged or was removed while the build needed it. A build makes it again; other"
        " commands cannot.",
        way_out="Have the image built, loaded or pulled again.",
    ),
)
