"""What a job file may say of the CIMA source."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from sources.cima.answers import not_the_answer
from tsi_fetch.http.agent import user_agent
from tsi_fetch.http.chain import ChainOptions
from tsi_fetch.http.retry import RetryPolicy

MOST_READ = 8 * 1024 * 1024
"""Bytes of one answer.  No recorded one has a tenth of it.  As JSON of many small objects it takes some 220 MB of
memory once it is read, and the CronJob has 512."""


def _reads_port(parts: SplitResult) -> bool:
    """False where the port is no number: urllib quotes it then, and it may be the beginning of a password."""
    try:
        return parts.port is None or parts.port > 0
    except ValueError:
        return False


def _base_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or not _reads_port(parts):
        raise ValueError("expected an http or https URL")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("expected a URL without user, query and fragment")
    return value.rstrip("/")


class CimaOptions(BaseModel):
    """Options of the CIMA source: the Spanish medicines register of the AEMPS."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    base_url: Annotated[str, AfterValidator(_base_url)] = Field(
        default="https://cima.aemps.es/cima/rest", description="Where CIMA's REST API lives."
    )
    rate: float = Field(
        default=5.0, gt=0, le=50, description="Requests a second, at most; the register publishes no limit."
    )
    connections: int = Field(default=4, ge=1, le=16, description="Requests at the same time, at most.")
    overlap_days: int = Field(
        default=2, ge=0, le=60, description="Days before the watermark that each poll asks for again."
    )
    batch: int = Field(default=5, ge=1, le=500, description="Products that are written and remembered together.")
    connect_timeout: float = Field(default=10.0, gt=0, description="Seconds to wait for a connection.")
    read_timeout: float = Field(default=60.0, gt=0, description="Seconds to wait for the next bytes of an answer.")
    attempts: int = Field(
        default=5, ge=1, le=20, description="How often a request is tried before it counts as failed."
    )
    max_wait: float = Field(
        default=300.0,
        ge=0,
        description="Seconds that the server may ask to wait; beyond it the run ends as 'try again'.",
    )
    max_body: int = Field(default=MOST_READ, ge=1024, description="Bytes of one answer, after decompression, at most.")
    contact: str = Field(default="", description="Whom the register's operator can write to; part of the User-Agent.")
    user_agent: str | None = Field(
        default=None, min_length=1, description="A User-Agent of your own instead of the honest one."
    )
    ca_file: Path | None = Field(default=None, description="PEM file of an own certificate authority.")

    def chain(self) -> ChainOptions:
        """How to talk to the register."""
        return ChainOptions(
            origins=(self.base_url,),
            user_agent=self.user_agent or user_agent(self.contact),
            accept="application/json",  # anything else is answered with 406
            rate=self.rate,
            connections=self.connections,
            connect_timeout=self.connect_timeout,
            read_timeout=self.read_timeout,
            retry=RetryPolicy(attempts=self.attempts, max_wait=self.max_wait, transient=not_the_answer),
            max_body=self.max_body,
            ca_file=self.ca_file,
        )
