"""Options of every command that talks to a registry, and the settings that they and the user's files come to."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from builder.cli.accounts import add_account_options

if TYPE_CHECKING:
    from builder.registry.session import SessionSettings
    from builder.settings import Settings


def add_registry_options(parser: argparse.ArgumentParser, *, settings_file: bool = True) -> None:
    """Add them as a group of their own; without ``settings_file`` a command has another use for --config."""
    group = parser.add_argument_group("registries")
    group.add_argument(
        "--insecure-registry",
        metavar="HOST[:PORT]",
        action="append",
        default=[],
        help="a registry that may have any certificate or plain http; a network (10.0.0.0/8) names all in it",
    )
    group.add_argument(
        "--registry-mirror",
        metavar="[HOST=]URL",
        action="append",
        default=[],
        help="pull what HOST (default: docker.io) has from there first; what fails there comes from HOST",
    )
    group.add_argument(
        "--registry-map",
        metavar="FROM=TO",
        action="append",
        default=[],
        help="pull what HOST[/PATH] has from another; several TOs of a FROM are tried in turn, FROM itself is not",
    )
    group.add_argument(
        "--registry-certificate",
        metavar="HOST=FILE",
        action="append",
        default=[],
        help="believe the authorities in a PEM file for HOST, besides the system's",
    )
    group.add_argument(
        "--registry-client-cert",
        metavar="HOST=CERT[,KEY]",
        action="append",
        default=[],
        help="the certificate to show to HOST, and its key, which CERT may hold too",
    )
    if settings_file:
        group.add_argument(
            "--config", metavar="FILE", help="the settings (default: $PYBUILD_CONFIG, the user's, then the machine's)"
        )
    add_account_options(group)


def add_push_options(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add what commands have that may push."""
    parser.add_argument("--push-foreign", action="store_true", help="push layers that are not for redistribution too")
    parser.add_argument(
        "--upload-chunk-size",
        metavar="SIZE",
        default="",
        help="upload larger blobs in pieces of SIZE, e.g. 64m (default: whole, unless the registry wants pieces)",
    )


def upload_piece(options: argparse.Namespace) -> int:
    """Return the bytes of a piece, 0 for whole blobs. Raises UsageError."""
    text = getattr(options, "upload_chunk_size", "")
    if not text:
        return 0
    from builder.cli.amounts import size

    return size("--upload-chunk-size", text)


def file_settings(options: argparse.Namespace, environment: Mapping[str, str]) -> Settings:
    """Return what the user's or the machine's files say, or the one that was named. Raises UsageError."""
    from builder.settings import Settings, read_settings, settings_files

    files = settings_files(getattr(options, "config", None), environment)
    return read_settings(files) if files else Settings()


def session_settings(
    options: argparse.Namespace, environment: Mapping[str, str], known: Settings | None = None
) -> Callable[[], SessionSettings]:
    """Return what makes the settings of the registry client when one is needed; ``known`` is what the files say.

    What was given is checked now. Raises UsageError; options that a command does not have count as not given.
    """
    settings = file_settings(options, environment) if known is None else known
    if settings.store_size is not None:
        from builder.cli.amounts import store_size

        store_size(settings.store_size[1], settings.store_size[0])
    mirrors = _listed("registry_mirror", options, environment)
    maps = _listed("registry_map", options, environment)
    insecure = _listed("insecure_registry", options, environment)
    authorities = _listed("registry_certificate", options, environment)
    clients = _listed("registry_client_cert", options, environment)

    def make() -> SessionSettings:
        from builder.registry import configured

        return configured.session_settings(
            settings,
            environment,
            mirrors=mirrors,
            maps=maps,
            insecure=insecure,
            authorities=authorities,
            clients=clients,
        )

    if settings.registries or settings.maps or mirrors or maps or insecure or authorities or clients:
        # Mistakes come first, before any work; most builds have nothing to check, and import nothing for it.
        made = make()
        return lambda: made
    return make


def _listed(name: str, options: argparse.Namespace, environment: Mapping[str, str]) -> list[str]:
    """Return what was given, else the lines of the environment variable that stands for the option."""
    given: list[str] = getattr(options, name, [])
    return given or [line for line in environment.get(f"PYBUILD_{name.upper()}", "").splitlines() if line]
