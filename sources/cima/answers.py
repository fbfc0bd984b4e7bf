"""Telling CIMA's answers apart: usable, gone, an error in disguise, or not CIMA at all."""

from __future__ import annotations

import httpx

from tsi_fetch.errors import SettingError, TsiFetchError
from tsi_fetch.fhir.tokens import NotJson, parse
from tsi_fetch.words import Answer, Fault, Json

GONE = 204
"""CIMA's status for an unknown nregistro or cn, with an empty body."""


class Unfetched(TsiFetchError):
    """One product's answers cannot be had; the run goes on.  Never leaves this package."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(f"{fault.code} at {fault.path}: {fault.rule}")
        self.fault = fault


def not_the_answer(response: httpx.Response) -> str | None:
    """Why a 200 is worth another try: a web page (maintenance, a firewall's), or a body that breaks off."""
    if response.status_code != 200:
        return None
    body = response.content.removeprefix(b"\xef\xbb\xbf").strip()
    if body[:1] == b"<":
        return "a web page with status 200"
    if body[:1] not in (b"{", b"[") or body[-1:] not in (b"}", b"]"):
        return "status 200 with something that is not JSON"
    return None


def refuse_access(answer: Answer) -> None:
    """SettingError where we are not let in: no other request would fare better."""
    if answer.status in (401, 403, 407):
        raise SettingError(
            f"{answer.url} answers with status {answer.status}",
            "the register needs no credentials: see whether base_url, a proxy or a firewall stands in the way",
        )


def parsed(answer: Answer) -> Json:
    """What the answer says; None for `GONE`.  Unfetched for errors, whatever status they come with."""
    refuse_access(answer)
    if answer.status == GONE:
        return None
    if answer.status != 200:
        raise Unfetched(Fault("cima-status", answer.part, f"status {answer.status} where 200 or 204 is expected"))
    try:
        value = parse(answer.body)
    except NotJson as e:
        raise Unfetched(Fault("cima-not-json", answer.part, str(e))) from e
    if isinstance(value, dict) and value.get("error") is not None:
        raise Unfetched(Fault("cima-error-answer", answer.part, "status 200 with an error message"))
    if value is None:  # it must not be taken for `GONE`
        raise Unfetched(Fault("cima-type", answer.part, "null where an object or a list is expected"))
    return value
