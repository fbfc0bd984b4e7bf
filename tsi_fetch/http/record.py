"""Keeping what a run asks and is answered."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import httpx

from tsi_fetch.clock import Clock
from tsi_fetch.errors import SettingError
from tsi_fetch.http.agent import version
from tsi_fetch.http.answer import REQUESTED_AT, TOOK
from tsi_fetch.http.exchange import Exchange, body_digest
from tsi_fetch.http.failures import BodyTooLarge
from tsi_fetch.http.recording import ANSWERS, EXCHANGES, FORMAT, HEAD
from tsi_fetch.http.replay import TOO_LARGE
from tsi_fetch.http.scrub import Scrubber
from tsi_fetch.words import Json

KEPT_HEADERS = ("content-type", "date", "etag", "last-modified", "link", "location", "retry-after")
"""All that is kept of an answer's headers: what decides something, and never a cookie."""

_EXTENSIONS = {"json": "json", "html": "html", "xml": "xml", "plain": "txt", "pdf": "pdf", "jpeg": "jpg"}


class Recorder:
    """Writes a recording into an empty or new folder; may be shared by threads and by several clients.

    `state`: JSON of where the streams stood at the start.  SettingError where the folder cannot be written or is not
    empty.
    """

    def __init__(
        self,
        folder: Path,
        job: str,
        clock: Clock,
        *,
        state: Mapping[str, Json] | None = None,
        attribution: str = "",
        secret_parameters: Iterable[str] = (),
        writer: str | None = None,
    ) -> None:
        self.folder, self._clock = folder, clock
        self._secrets = sorted(secret_parameters)
        self.scrub = Scrubber(self._secrets)
        self._lock = threading.Lock()
        self._count = 0
        self._head: dict[str, Json] = {
            "format": FORMAT,
            "job": job,
            "started": _stamp(clock.now()),
            "tsi_fetch": writer or version(),
            "attribution": attribution,
            "secret_parameters": self._secrets,
            "state": dict(state or {}),
            "complete": False,
        }
        self._begin()

    def _begin(self) -> None:
        try:
            if self.folder.exists() and any(self.folder.iterdir()):
                raise SettingError(f"{self.folder} is not empty", "record into a new folder")
            (self.folder / ANSWERS).mkdir(parents=True, exist_ok=True)
            self._write_head()
            (self.folder / EXCHANGES).touch()
        except OSError as e:
            raise _unwritable(self.folder, e) from e

    def transport(self, inner: httpx.BaseTransport) -> httpx.BaseTransport:
        """Records what passes through it."""
        return Record(inner, self)

    @property
    def state(self) -> dict[str, Json]:
        """The state given at the start."""
        return dict(self._head["state"])

    def close(self, state: Mapping[str, Json] | None = None) -> None:
        """The run is over: mark the recording whole; `state` replaces the one given at the start."""
        if state is not None:
            self._head["state"] = dict(state)
        self._head["complete"] = True
        with self._lock:
            try:
                self._write_head()
            except OSError as e:
                raise _unwritable(self.folder, e) from e

    def _write_head(self) -> None:
        path = self.folder / HEAD
        new = path.with_suffix(".new")
        new.write_text(json.dumps(self._head, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        os.replace(new, path)

    def answered(self, request: httpx.Request, response: httpx.Response) -> None:
        """Keep an answer: its body first, its line second."""
        headers = {name: response.headers[name] for name in KEPT_HEADERS if name in response.headers}
        shown = {name: self.scrub(value) for name, value in headers.items()}
        with self._lock:
            self._count += 1
            body = None
            if response.content:
                body = f"{ANSWERS}/{self._count:04d}-{_slug(request)}.{_extension(headers)}"
                self._keep(body, "wb", response.content)
            self._append(request, status=response.status_code, headers=shown, body=body)

    def failed(self, request: httpx.Request, error: Exception) -> None:
        """Keep a failure, so that a replay fails and retries in the same place."""
        with self._lock:
            self._count += 1
            self._append(request, error=TOO_LARGE if isinstance(error, BodyTooLarge) else type(error).__name__)

    def _append(
        self,
        request: httpx.Request,
        *,
        status: int | None = None,
        error: str | None = None,
        headers: Mapping[str, str] | None = None,
        body: str | None = None,
    ) -> None:
        exchange = Exchange(
            n=self._count,
            method=request.method,
            url=self.scrub(request.url),
            requested_at=_stamp(request.extensions.get(REQUESTED_AT) or self._clock.now()),
            took=request.extensions.get(TOOK, 0),
            request=body_digest(request.read()),
            status=status,
            error=error,
            headers=headers,
            body=body,
        )
        self._keep(EXCHANGES, "ab", exchange.line())

    def _keep(self, name: str, mode: Literal["wb", "ab"], content: bytes) -> None:
        try:
            with (self.folder / name).open(mode) as file:
                file.write(content)
        except OSError as e:
            raise _unwritable(self.folder, e) from e


class Record(httpx.BaseTransport):
    """Hands requests on and tells the recorder what came of them."""

    def __init__(self, inner: httpx.BaseTransport, recorder: Recorder) -> None:
        self._inner, self._recorder = inner, recorder

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        try:
            response = self._inner.handle_request(request)
        except (httpx.TransportError, httpx.DecodingError, BodyTooLarge) as e:
            self._recorder.failed(request, e)
            raise
        self._recorder.answered(request, response)
        return response

    def close(self) -> None:
        self._inner.close()


def _unwritable(folder: Path, error: OSError) -> SettingError:
    why = error.strerror or type(error).__name__
    return SettingError(f"the recording in {folder} cannot be written: {why}", "name another folder, or make room")


def _stamp(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _slug(request: httpx.Request) -> str:
    """A few words of the path, for people who look into the folder; the query may hold what is not to be shown."""
    last = "-".join(request.url.path.strip("/").split("/")[-2:])
    return re.sub(r"[^A-Za-z0-9.-]+", "-", last).strip("-.")[:60] or "answer"


def _extension(headers: Mapping[str, str]) -> str:
    kind = headers.get("content-type", "").split(";")[0].strip().lower()
    return next((end for word, end in _EXTENSIONS.items() if kind.endswith(word)), "bin")
