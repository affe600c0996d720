"""The build checks as data (dockerfile.md 2): names, what each asks for, and what docs/checks.md says about it.

The checks themselves are in ``lint``, ``lint_stages`` and ``lint_context``. ``scripts/docs`` writes the page.
"""

from __future__ import annotations

from typing import Final

from builder.dockerfile.source import Span
from builder.values import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """A check: its name as used in ``# check=skip=``, what it asks for and why, and a Dockerfile of each kind.

    ``bad`` makes it fire and ``good`` does not, both in the ``situation`` if there is one. ``own`` marks the rules that
    BuildKit does not have, or does not explain.
    """

    name: str
    description: str
    why: str
    bad: str
    good: str
    situation: str = ""
    own: bool = False
    experimental: bool = False

    @property
    def url(self) -> str:
        """Where the rule is explained: on the web, or for our own a place in this project's documentation."""
        if self.own:
            return f"docs/checks.md#{self.name.lower()}"
        kebab = "".join(f"-{ch.lower()}" if ch.isupper() else ch for ch in self.name.replace("JSON", "Json"))
        return f"https://docs.docker.com/go/dockerfile/rule/{kebab.lstrip('-')}/"


@dataclass(frozen=True, slots=True)
class Finding:
    """A check that fired: where, and what it saw."""

    rule: Rule
    detail: str
    span: Span

    def __str__(self) -> str:
        return f"{self.rule.name}: {self.detail} (line {self.span.start_line})"


STAGE_NAME_CASING: Final = Rule(
    "StageNameCasing",
    "Write stage names in lower case",
    "Stage names mean the same in any casing. One spelling is easier to search for.",
    bad="FROM alpine AS BuildBase",
    good="FROM alpine AS build-base",
)
FROM_AS_CASING: Final = Rule(
    "FromAsCasing",
    "Write FROM and AS in the same casing",
    "Both are keywords of one instruction.",
    bad="FROM alpine as build",
    good="FROM alpine AS build",
)
NO_EMPTY_CONTINUATION: Final = Rule(
    "NoEmptyContinuation",
    "Leave no blank line inside a continued instruction",
    "A blank line looks like the end of the instruction but is not, and later versions of the language may refuse it.",
    bad="FROM alpine\nRUN apk add \\\n\n    curl",
    good="FROM alpine\nRUN apk add \\\n# for the health check\n    curl",
)
CONSISTENT_INSTRUCTION_CASING: Final = Rule(
    "ConsistentInstructionCasing",
    "Write all instructions in the same casing, upper or lower",
    "Keywords are read in any casing; a file that mixes them is harder to read. The casing of the majority counts.",
    bad="FROM alpine\nCOPY . /src\nrun make -C /src",
    good="FROM alpine\nCOPY . /src\nRUN make -C /src",
)
DUPLICATE_STAGE_NAME: Final = Rule(
    "DuplicateStageName",
    "Give every stage a name of its own",
    "A name used twice means the latest stage before the place where it is used, which is easy to get wrong.",
    bad="FROM alpine AS build\nFROM debian AS build",
    good="FROM alpine AS build-alpine\nFROM debian AS build-debian",
)
RESERVED_STAGE_NAME: Final = Rule(
    "ReservedStageName",
    "Name no stage 'context' or 'scratch'",
    "FROM scratch always means the empty image, and context is the name of the build context elsewhere.",
    bad="FROM alpine AS scratch",
    good="FROM alpine AS base",
)
JSON_ARGS_RECOMMENDED: Final = Rule(
    "JSONArgsRecommended",
    "Write CMD and ENTRYPOINT as JSON, so that signals reach the process and not a shell",
    "A command that is not a JSON list runs below a shell, and many shells do not pass on the signal that stops a "
    "container. With a SHELL instruction in the stage the check says nothing.",
    bad="FROM alpine\nCMD server --port 80",
    good='FROM alpine\nCMD ["server", "--port", "80"]',
)
MAINTAINER_DEPRECATED: Final = Rule(
    "MaintainerDeprecated",
    "Name the author in a label; MAINTAINER is deprecated",
    "Labels are shown by every tool; the author field is not.",
    bad="FROM alpine\nMAINTAINER me@example.com",
    good='FROM alpine\nLABEL org.opencontainers.image.authors="me@example.com"',
)
UNDEFINED_ARG_IN_FROM: Final = Rule(
    "UndefinedArgInFrom",
    "Declare what FROM uses with ARG before the first FROM",
    "FROM sees only the arguments declared before the first stage; any other variable is empty there.",
    bad="ARG VARIANT=-slim\nFROM python:3$VARAINT",
    good="ARG VARIANT=-slim\nFROM python:3$VARIANT",
)
WORKDIR_RELATIVE_PATH: Final = Rule(
    "WorkdirRelativePath",
    "Set an absolute WORKDIR before a relative one; the base image's may change",
    "A relative path continues the working directory of the base image, which is not written in this file.",
    bad="FROM alpine\nWORKDIR src",
    good="FROM alpine\nWORKDIR /usr\nWORKDIR src",
)
UNDEFINED_VAR: Final = Rule(
    "UndefinedVar",
    "Define variables before their use",
    "A variable that neither ENV, ARG nor the base image sets is empty, which is rarely meant: often it is a typing "
    "mistake, or a global ARG that the stage does not take over with an ARG of its own.",
    bad="FROM scratch\nARG SOURCE=app\nCOPY $SOUCRE .",
    good="FROM scratch\nARG SOURCE=app\nCOPY $SOURCE .",
)
MULTIPLE_INSTRUCTIONS_DISALLOWED: Final = Rule(
    "MultipleInstructionsDisallowed",
    "Write CMD, ENTRYPOINT and HEALTHCHECK once in a stage; the last one wins",
    "Only the last one of a stage is used, so the others mislead.",
    bad='FROM alpine\nENTRYPOINT ["server"]\nENTRYPOINT ["client"]',
    good='FROM alpine\nENTRYPOINT ["client"]',
)
LEGACY_KEY_VALUE_FORMAT: Final = Rule(
    "LegacyKeyValueFormat",
    "Write key=value and not key value",
    "Without = the whole rest of the line is one value, so two pairs on a line silently become one.",
    bad="FROM alpine\nENV DIR /var/lib/app",
    good="FROM alpine\nENV DIR=/var/lib/app",
)
INVALID_BASE_IMAGE_PLATFORM: Final = Rule(
    "InvalidBaseImagePlatform",
    "The base image is for another platform than the build",
    "An image that has only one platform is used even if it is not the one asked for, and its programs may not run.",
    bad="FROM example/only-amd64",
    good="FROM --platform=linux/amd64 example/only-amd64 AS tools-amd64",
    situation="When the image is for linux/amd64 and the build for linux/arm64:",
    own=True,
)
REDUNDANT_TARGET_PLATFORM: Final = Rule(
    "RedundantTargetPlatform",
    "$TARGETPLATFORM is the default platform of FROM",
    "The flag changes nothing here.",
    bad="FROM --platform=$TARGETPLATFORM alpine",
    good="FROM alpine",
)
SECRETS_USED_IN_ARG_OR_ENV: Final = Rule(
    "SecretsUsedInArgOrEnv",
    "Pass secrets with RUN --mount=type=secret",
    "Arguments stay in the image's history and variables in its configuration, for everyone who has the image.",
    bad="FROM alpine\nARG AUTH_TOKEN\nRUN fetch --token $AUTH_TOKEN",
    good="FROM alpine\nRUN --mount=type=secret,id=token,env=AUTH_TOKEN fetch --token $AUTH_TOKEN",
)
INVALID_DEFAULT_ARG_IN_FROM: Final = Rule(
    "InvalidDefaultArgInFrom",
    "Give global ARGs defaults with which FROM names an image",
    "Without --build-arg the file does not build.",
    bad="ARG TAG\nFROM alpine:$TAG",
    good="ARG TAG=latest\nFROM alpine:$TAG",
)
FROM_PLATFORM_FLAG_CONST_DISALLOWED: Final = Rule(
    "FromPlatformFlagConstDisallowed",
    "Leave the platform of FROM to the build, or take it from a variable",
    "A constant builds the same platform whatever --platform asks for. A stage that is meant for one platform may say "
    "so in its name.",
    bad="FROM --platform=linux/amd64 alpine",
    good="FROM --platform=linux/amd64 alpine AS tools-amd64\nFROM --platform=$BUILDPLATFORM alpine",
)
COPY_IGNORED_FILE: Final = Rule(
    "CopyIgnoredFile",
    "Copy no file that .dockerignore excludes",
    "The file is not part of the build context, so the build fails or copies less than the line says.",
    bad="FROM scratch\nCOPY ./tmp/cache.db /cache.db",
    good="FROM scratch\nCOPY ./data/cache.db /cache.db",
    situation="With a `.dockerignore` that says `tmp`:",
)
INVALID_DEFINITION_DESCRIPTION: Final = Rule(
    "InvalidDefinitionDescription",
    "Begin the comment above a stage or ARG with its name, or separate it by an empty comment",
    "Such comments are descriptions that `--call outline` and `--call targets` show.",
    bad="# the version of the tool\nARG VERSION=1\nFROM scratch",
    good="# VERSION is the version of the tool\nARG VERSION=1\nFROM scratch",
    experimental=True,
)
EXPOSE_PROTO_CASING: Final = Rule(
    "ExposeProtoCasing",
    "Write the protocol of EXPOSE in lower case",
    "The image's configuration has it in lower case anyway.",
    bad="FROM alpine\nEXPOSE 80/TCP",
    good="FROM alpine\nEXPOSE 80/tcp",
)
EXPOSE_INVALID_FORMAT: Final = Rule(
    "ExposeInvalidFormat",
    "EXPOSE takes container ports, no host address or port",
    "Which host address and port a container gets is decided when it is run; here they are dropped.",
    bad="FROM alpine\nEXPOSE 127.0.0.1:80:8080",
    good="FROM alpine\nEXPOSE 8080",
)
UNMATCHED_WILDCARD: Final = Rule(
    "UnmatchedWildcard",
    "Let COPY and ADD take a file",
    "A wildcard that matches nothing copies nothing and is no error, so a renamed directory goes unnoticed. Beside"
    " sources that are there it may match nothing: `COPY package.json yarn.lock* ./`.",
    bad="FROM scratch\nCOPY confg/*.toml /etc/app/",
    good="FROM scratch\nCOPY config/*.toml /etc/app/",
    situation="With a context that has only `config/app.toml`:",
    own=True,
)
UNKNOWN_BUILD_ARG: Final = Rule(
    "UnknownBuildArg",
    "Pass only build arguments that an ARG declares",
    "A build argument that nothing declares has no effect; often it is a typing mistake.",
    bad="FROM scratch\nARG VERSOIN=1\nLABEL version=$VERSOIN",
    good="FROM scratch\nARG VERSION=1\nLABEL version=$VERSION",
    situation="With `--build-arg VERSION=2`:",
    own=True,
)
SEVERAL_SOURCES_NO_DIRECTORY: Final = Rule(
    "SeveralSourcesNoDirectory",
    "End the destination of several files with a slash",
    "Several files need a directory. Without a slash the line works only while the destination happens to be one "
    "already; otherwise the build ends with an error, because each file would replace the one before it.",
    bad="FROM alpine\nCOPY a.conf b.conf /etc/app",
    good="FROM alpine\nCOPY a.conf b.conf /etc/app/",
    own=True,
)
SENSITIVE_FILE_COPIED: Final = Rule(
    "SensitiveFileCopied",
    "Keep repositories, keys and files with tokens out of the image",
    "Everyone who has the image can read its files, also those that a later step deletes. Exclude them in "
    "`.dockerignore`, or give them to the one RUN that needs them with --mount=type=secret. Meant are `.git`, `.env`, "
    "private keys, and files where tools keep tokens, such as `.npmrc`, `.pypirc`, `pip.conf`, `.netrc`, "
    "`.docker/config.json` and `.aws/credentials`.",
    bad="FROM alpine\nCOPY package.json .npmrc /src/",
    good="FROM alpine\nCOPY package.json /src/\nRUN --mount=type=secret,id=npmrc,target=/src/.npmrc install",
    own=True,
)
EMPTY_RUN: Final = Rule(
    "EmptyRun",
    "Give RUN a command",
    "RUN alone starts a shell that does nothing. Often a comment or a lost backslash took its command away.",
    bad="FROM alpine\nRUN",
    good="FROM alpine\nRUN true",
    own=True,
)

ALL: Final = (
    STAGE_NAME_CASING,
    FROM_AS_CASING,
    NO_EMPTY_CONTINUATION,
    CONSISTENT_INSTRUCTION_CASING,
    DUPLICATE_STAGE_NAME,
    RESERVED_STAGE_NAME,
    JSON_ARGS_RECOMMENDED,
    MAINTAINER_DEPRECATED,
    UNDEFINED_ARG_IN_FROM,
    WORKDIR_RELATIVE_PATH,
    UNDEFINED_VAR,
    MULTIPLE_INSTRUCTIONS_DISALLOWED,
    LEGACY_KEY_VALUE_FORMAT,
    INVALID_BASE_IMAGE_PLATFORM,
    REDUNDANT_TARGET_PLATFORM,
    SECRETS_USED_IN_ARG_OR_ENV,
    INVALID_DEFAULT_ARG_IN_FROM,
    FROM_PLATFORM_FLAG_CONST_DISALLOWED,
    COPY_IGNORED_FILE,
    INVALID_DEFINITION_DESCRIPTION,
    EXPOSE_PROTO_CASING,
    EXPOSE_INVALID_FORMAT,
    UNMATCHED_WILDCARD,
    UNKNOWN_BUILD_ARG,
    SEVERAL_SOURCES_NO_DIRECTORY,
    SENSITIVE_FILE_COPIED,
    EMPTY_RUN,
)
