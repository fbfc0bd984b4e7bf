"""The shape of the job file, as pydantic models.  The options of a source or sink are checked by its own model."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from jobs.config.duration import PATTERN as DURATION
from jobs.config.duration import parse_duration
from jobs.config.schedule import checked_schedule
from jobs.config.secret import SecretUrl
from tsi_fetch.identity import PREFIX

_DURATION_PATTERN = re.sub(r"\?P<\w+>", "", f"^{DURATION}$")  # JavaScript names groups in another way

NAME = r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$"
"""Names end up in the id of a marker (64 characters at most) and in that of a CronJob (52)."""


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as e:
        raise ValueError("a time zone is named like Europe/Madrid or UTC") from e
    return name


def _span(value: object) -> object:
    return parse_duration(value) if isinstance(value, str) else value


def _store_url(text: str) -> str:
    if not text.startswith(("sqlite:///", "postgresql://", "postgresql+psycopg://")):
        raise ValueError("a store is sqlite:///path/to/file.db or postgresql://user@host/database")
    return text


Name = Annotated[str, Field(pattern=NAME)]
Duration = Annotated[
    timedelta,
    Field(gt=timedelta(0), strict=True),
    BeforeValidator(_span),
    WithJsonSchema({"type": "string", "pattern": _DURATION_PATTERN, "examples": ["90s", "2h", "7d"]}),
]
StoreUrl = Annotated[SecretUrl, BeforeValidator(lambda v: _store_url(v) if isinstance(v, str) else v)]
Schedule = Annotated[str, AfterValidator(checked_schedule)]
Zone = Annotated[str, AfterValidator(_zone)]
Validation = Annotated[
    Literal["refuse", "warn", "off"],
    BeforeValidator(lambda v: "off" if v is False else v),  # YAML 1.1 reads a plain `off` as false
    WithJsonSchema({"anyOf": [{"type": "string", "enum": ["refuse", "warn", "off"]}, {"const": False}]}),
]
Options = dict[str, Any]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, populate_by_name=False)


class StoreSettings(_Frozen):
    """Where runs remember what the sink acknowledged."""

    url: StoreUrl = Field(description="sqlite:///path/to/file.db, or postgresql://user:password@host/database")


class JobSettings(_Frozen):
    """One job: what is read, where it goes, where it is remembered, when it runs, and what it may do."""

    description: str = Field("", description="One line, shown by `tsi-fetch jobs`.")
    source: Options = Field(repr=False, description="`kind` names the source; the rest are its options.")
    sink: Name = Field(description="The name of one of `sinks`.")
    store: Name = Field(description="The name of one of `stores`.")
    schedule: Schedule = Field(description="When it runs, as cron writes it: minute hour day month weekday.")
    timezone: Zone = Field("UTC", description="The zone of `schedule`, such as Europe/Madrid.")
    validation: Validation = Field(
        "refuse",
        alias="validate",
        description="What happens to a resource that HL7's definitions do not allow: quarantine (refuse), or a note"
        " (warn). `off` does not look: what is written may be no valid FHIR, and only the server may still refuse it.",
    )
    identity: Literal["keep", "prefix"] = Field(
        "keep",
        description="The ids that resources have at the sink: the source's own, or these behind a prefix, where they"
        " are numeric or those of several sources collide.  To change it makes new resources, and the old ones leave.",
    )
    prefix: Annotated[str, Field(pattern=f"^{PREFIX}$")] | None = Field(
        None, description="What `identity: prefix` puts in front of each id, and a hyphen; else the job's name."
    )
    on_existing: Literal["refuse", "adopt"] = Field(
        "refuse",
        description="What happens to a resource that we did not write: quarantine it as foreign, or take it over.",
    )
    removal: Literal["retire", "delete", "keep"] = Field(
        "retire", description="What happens to a resource that its source no longer has."
    )
    max_vanish: float = Field(
        0.05, ge=0, le=1, allow_inf_nan=False, description="The share of a type that may vanish in one run."
    )
    max_quarantine_age: Duration = Field(
        timedelta(days=7), description="How long something may lie in quarantine before every run ends with 65."
    )
    max_wait_age: Duration = Field(
        timedelta(days=7),
        description="How long a resource may wait for what it refers to before every run ends with 65.",
    )
    shared: frozenset[Annotated[str, Field(pattern=r"^[A-Z][A-Za-z]+$")]] = Field(
        frozenset(), description="Resource types that several jobs may write, such as Organization."
    )
    lease_expiry: Duration = Field(
        timedelta(seconds=60), description="After how long without a sign of life another runner may take the job."
    )
    max_duration: Duration | None = Field(
        None, description="When a run ends by plan; what is left is done by the next one."
    )

    @model_validator(mode="after")
    def _prefix_is_used(self) -> Self:
        if self.prefix is not None and self.identity != "prefix":
            raise ValueError("`prefix` is used by `identity: prefix` alone: write that, too, or leave `prefix` out")
        return self


class JobFile(_Frozen):
    """The jobs, and the stores and sinks that they name."""

    stores: dict[Name, StoreSettings] = Field(min_length=1, description="Where runs remember, by name.")
    sinks: dict[Name, Options] = Field(min_length=1, description="Where resources go, by name.", repr=False)
    jobs: dict[Name, JobSettings] = Field(min_length=1, description="The jobs, by name.")
