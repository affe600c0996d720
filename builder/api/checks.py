"""What a request cannot ask for, whoever made it: refused before any work."""

from __future__ import annotations

from builder.engine.built import unmet
from builder.engine.request import BuildRequest, forms_of
from builder.errors import UsageError


def refuse_mismatches(request: BuildRequest) -> None:
    """Raise UsageError for annotations that have nothing to be put on, and for outputs that cannot be."""
    if any(one.kind == "registry" and not (one.names or request.tags) for one in request.outputs):
        raise UsageError("a push needs a name for the image", hint="add --tag REGISTRY/NAME:TAG")
    if request.offline and request.pull == "always":
        raise UsageError("--pull=always asks a registry, and --offline forbids it")
    if request.offline and any(output.kind == "registry" for output in request.outputs):
        raise UsageError("a push asks a registry, and --offline forbids it", hint="push later: pybuild push NAME")
    if request.offline and any(one.place.kind == "registry" and not one.ignore_error for one in request.cache_to):
        raise UsageError("--cache-to type=registry asks a registry, and --offline forbids it", hint="use type=local")
    for form in forms_of(request):
        given = (*request.annotations, *form.annotations)
        if problem := unmet(given, request.platforms, several=request.several):
            raise UsageError(problem, hint="name what is built: --platform A,B makes an index")
        if given and (form.image_format or request.image_format) == "docker":
            raise UsageError("Docker's image format has no annotations", hint="drop --format docker, or use --label")
    if request.several and any(output.kind == "docker" for output in request.outputs):
        raise UsageError(
            "type=docker: an archive of docker save has no index of several platforms",
            hint="write type=oci, or one archive for each platform",
        )
