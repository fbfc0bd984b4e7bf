"""What a FHIR server is, in the job file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import httpx
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr


def _base(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as e:
        raise ValueError("expected the server's FHIR base, such as http://host:8080/epi/api/fhir") from e
    if parsed.scheme not in ("http", "https") or not parsed.host or any(c.isspace() for c in url):
        raise ValueError("expected the server's FHIR base, such as http://host:8080/epi/api/fhir")
    if parsed.userinfo:
        raise ValueError("a URL may not hold a password; put the credential into `token`")
    if parsed.query or parsed.fragment:
        raise ValueError("a FHIR base has no query and no fragment")
    return url.rstrip("/")


class FhirOptions(BaseModel):
    """Where the server is, how to talk to it, and how much to hand over at a time.  Times are in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    url: Annotated[str, AfterValidator(_base)] = Field(description="the FHIR base: http://host:8080/epi/api/fhir")
    release: Literal["R5", "R4"] = Field("R5", description="the FHIR release that the server must have")
    token: SecretStr | None = Field(None, description="sent as `Authorization: Bearer`")
    ca_file: Path | None = Field(None, description="certificates (PEM) that are trusted beside the usual ones")
    connect_timeout: float = Field(10, gt=0, description="for a connection")
    timeout: float = Field(120, gt=0, description="for the answer to one bundle; a pod's grace period must exceed it")
    attempts: int = Field(8, ge=1, le=100, description="how often one request is tried")
    max_wait: float = Field(300, ge=0, description="how long to wait in all between the attempts of one request")
    probe_after: int = Field(
        5, ge=1, description="failures in a row after which the server is probed before it is used"
    )
    writers: int = Field(2, ge=1, le=8, description="bundles in flight; HAPI's ten connections bound what is useful")
    entries: int = Field(100, ge=1, le=1000, description="resources in a bundle")
    bytes: int = Field(8_000_000, ge=1, description="size of a bundle; a larger resource goes alone")
    tags: Literal["exact", "merge"] = Field("exact", description="tags and labels become what is sent, or are added")
    gzip: Literal["auto", "off", "on"] = Field(
        "auto", description="compress large bundles where the server takes it; auto: over https, as it costs time"
    )
