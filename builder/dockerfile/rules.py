"""The build checks as data (dockerfile.md 2). The checks themselves are in ``lint`` and ``lint_stages``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from builder.dockerfile.source import Span


@dataclass(frozen=True, slots=True)
class Rule:
    """A check: its name as used in ``# check=skip=``, and what it asks for."""

    name: str
    description: str
    documented: bool = True
    experimental: bool = False

    @property
    def url(self) -> str:
        """Where the rule is explained, empty if nowhere."""
        if not self.documented:
            return ""
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


STAGE_NAME_CASING: Final = Rule("StageNameCasing", "Write stage names in lower case")
FROM_AS_CASING: Final = Rule("FromAsCasing", "Write FROM and AS in the same casing")
NO_EMPTY_CONTINUATION: Final = Rule("NoEmptyContinuation", "Leave no blank line inside a continued instruction")
CONSISTENT_INSTRUCTION_CASING: Final = Rule(
    "ConsistentInstructionCasing", "Write all instructions in the same casing, upper or lower"
)
DUPLICATE_STAGE_NAME: Final = Rule("DuplicateStageName", "Give every stage a name of its own")
RESERVED_STAGE_NAME: Final = Rule("ReservedStageName", "Name no stage 'context' or 'scratch'")
JSON_ARGS_RECOMMENDED: Final = Rule(
    "JSONArgsRecommended", "Write CMD and ENTRYPOINT as JSON, so that signals reach the process and not a shell"
)
MAINTAINER_DEPRECATED: Final = Rule("MaintainerDeprecated", "Name the author in a label; MAINTAINER is deprecated")
UNDEFINED_ARG_IN_FROM: Final = Rule("UndefinedArgInFrom", "Declare what FROM uses with ARG before the first FROM")
WORKDIR_RELATIVE_PATH: Final = Rule(
    "WorkdirRelativePath", "Set an absolute WORKDIR before a relative one; the base image's may change"
)
UNDEFINED_VAR: Final = Rule("UndefinedVar", "Define variables before their use")
MULTIPLE_INSTRUCTIONS_DISALLOWED: Final = Rule(
    "MultipleInstructionsDisallowed", "Write CMD, ENTRYPOINT and HEALTHCHECK once in a stage; the last one wins"
)
LEGACY_KEY_VALUE_FORMAT: Final = Rule("LegacyKeyValueFormat", "Write key=value and not key value")
INVALID_BASE_IMAGE_PLATFORM: Final = Rule(
    "InvalidBaseImagePlatform", "The base image is for another platform than the build", documented=False
)
REDUNDANT_TARGET_PLATFORM: Final = Rule("RedundantTargetPlatform", "$TARGETPLATFORM is the default platform of FROM")
SECRETS_USED_IN_ARG_OR_ENV: Final = Rule("SecretsUsedInArgOrEnv", "Pass secrets with RUN --mount=type=secret")
INVALID_DEFAULT_ARG_IN_FROM: Final = Rule(
    "InvalidDefaultArgInFrom", "Give global ARGs defaults with which FROM names an image"
)
FROM_PLATFORM_FLAG_CONST_DISALLOWED: Final = Rule(
    "FromPlatformFlagConstDisallowed", "Leave the platform of FROM to the build, or take it from a variable"
)
COPY_IGNORED_FILE: Final = Rule("CopyIgnoredFile", "Copy no file that .dockerignore excludes")
INVALID_DEFINITION_DESCRIPTION: Final = Rule(
    "InvalidDefinitionDescription",
    "Begin the comment above a stage or ARG with its name, or separate it by an empty comment",
    experimental=True,
)
EXPOSE_PROTO_CASING: Final = Rule("ExposeProtoCasing", "Write the protocol of EXPOSE in lower case")
EXPOSE_INVALID_FORMAT: Final = Rule("ExposeInvalidFormat", "EXPOSE takes container ports, no host address or port")

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
)
