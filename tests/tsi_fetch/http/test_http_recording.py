"""Recording and replay: the same answers, failures and times, and no secrets."""

from __future__ import annotations

import json
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from still_clock import StillClock

from tsi_fetch.errors import NotRecorded, SettingError
from tsi_fetch.http.authenticate import Credential
from tsi_fetch.http.chain import ChainOptions, build_client
from tsi_fetch.http.failures import BodyTooLarge, Unreachable
from tsi_fetch.http.meter import Meter
from tsi_fetch.http.record import Recorder
from tsi_fetch.http.recording import Recording
from tsi_fetch.http.retry import RetryPolicy

HOME = "https://register.invalid/api"
SECRETS = ("hush-bearer", "hush-query", "hush-cookie", "hush-user")


class Counting:
    """A wire whose answers tell how often the same was asked."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        with self._lock:
            self.asked[str(request.url)] += 1
            times = self.asked[str(request.url)]
        if request.url.path.endswith("/slow") and times == 1:
            raise httpx.ReadTimeout("slow", request=request)
        if request.url.path.endswith("/busy") and times == 1:
            return httpx.Response(503, headers={"Retry-After": "2"})
        if request.url.path.endswith("/gone"):
            return httpx.Response(204)
        headers = {"Set-Cookie": "id=hush-cookie", "ETag": '"7"', "Date": "Mon, 02 Mar 2026 09:30:00 GMT"}
        body = {"url": request.url.path, "times": times, "body": request.content.decode()}
        return httpx.Response(200, json=body, headers=headers)


def options(**more: object) -> ChainOptions:
    given: dict[str, object] = {"origins": (HOME,), "rate": 1000.0, "connections": 8, "retry": RetryPolicy(attempts=2)}
    return ChainOptions(**(given | more))  # type: ignore[arg-type]


def record(folder: Path, *asks: str, **more: object) -> Recorder:
    clock = StillClock()
    recorder = Recorder(folder, "cima", clock, state={"streams": {"feed": None}}, attribution="Fuente: nadie")
    client = build_client(options(**more), clock, recorder=recorder, wire=httpx.MockTransport(Counting()))
    for ask in asks:
        client.get(f"{HOME}/{ask}")
    return recorder


def replayed(folder: Path, meter: Meter | None = None) -> httpx.Client:
    recording = Recording.open(folder)
    return build_client(options(), recording.clock(), recording=recording, meter=meter)


def test_a_replay_gives_the_same_answers_in_their_order_without_the_network(tmp_path: Path) -> None:
    record(tmp_path / "r", "a?x=1", "b", "a?x=1", "gone").close()
    client = replayed(tmp_path / "r")
    assert [client.get(f"{HOME}/{ask}").json()["times"] for ask in ("a?x=1", "a?x=1", "b")] == [1, 2, 1]
    gone = client.get(f"{HOME}/gone")
    assert (gone.status_code, gone.content) == (204, b"")


def test_answers_keep_the_headers_that_decide_something_and_their_times(tmp_path: Path) -> None:
    recorder = record(tmp_path / "r", "a")
    recorder.close()
    answer = replayed(tmp_path / "r").get(f"{HOME}/a")
    assert answer.headers["etag"] == '"7"'
    assert answer.headers["date"] == "Mon, 02 Mar 2026 09:30:00 GMT"
    assert answer.headers["content-type"] == "application/json"
    recorded_at = datetime.fromisoformat(json.loads((tmp_path / "r/exchanges.jsonl").read_text())["requested_at"])
    assert answer.extensions["requested_at"] == recorded_at
    assert recorded_at.utcoffset() == timedelta(0)


@pytest.mark.parametrize("ask", ["slow", "busy"])
def test_failures_are_replayed_so_that_a_replay_retries_in_the_same_place(tmp_path: Path, ask: str) -> None:
    record(tmp_path / "r", ask).close()
    meter = Meter()
    assert replayed(tmp_path / "r", meter).get(f"{HOME}/{ask}").json()["times"] == 2
    tally = meter.by_host()["register.invalid"]
    assert (tally.requests, tally.retries) == (2, 1)


def test_a_replay_fails_where_the_run_failed(tmp_path: Path) -> None:
    def down(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    clock = StillClock()
    recorder = Recorder(tmp_path / "r", "cima", clock)
    with pytest.raises(Unreachable):
        build_client(options(), clock, recorder=recorder, wire=httpx.MockTransport(down)).get(HOME)
    recorder.close()
    with pytest.raises(Unreachable, match="ConnectError"):
        replayed(tmp_path / "r").get(HOME)


def test_an_answer_that_was_too_large_is_too_large_again(tmp_path: Path) -> None:
    with pytest.raises(BodyTooLarge):
        record(tmp_path / "r", "a", max_body=10)
    with pytest.raises(BodyTooLarge):
        replayed(tmp_path / "r").get(f"{HOME}/a")


def test_what_is_not_recorded_is_a_setting_error_that_names_it(tmp_path: Path) -> None:
    record(tmp_path / "r", "a").close()
    client = replayed(tmp_path / "r")
    with pytest.raises(NotRecorded, match=r"GET https://register\.invalid/api/b is not in the recording"):
        client.get(f"{HOME}/b")
    client.get(f"{HOME}/a")
    with pytest.raises(NotRecorded, match="fewer times"):
        client.get(f"{HOME}/a")


def test_requests_with_different_bodies_are_different_requests(tmp_path: Path) -> None:
    clock = StillClock()
    recorder = Recorder(tmp_path / "r", "cima", clock)
    client = build_client(options(), clock, recorder=recorder, wire=httpx.MockTransport(Counting()))
    for body in ("one", "two"):
        client.post(HOME, content=body)
    recorder.close()
    again = replayed(tmp_path / "r")
    assert [again.post(HOME, content=body).json()["body"] for body in ("two", "one")] == ["two", "one"]
    with pytest.raises(NotRecorded):
        again.post(HOME, content="three")


def test_no_secret_is_in_any_file(tmp_path: Path) -> None:
    clock = StillClock()

    def wire(request: httpx.Request) -> httpx.Response:
        link = f'<{HOME}/next?own=hush-query>; rel="next"'
        headers = {"Set-Cookie": "id=hush-cookie", "Link": link}
        return httpx.Response(200, json={}, headers=headers)

    recorder = Recorder(tmp_path / "r", "cima", clock, secret_parameters={"own"})
    credential = Credential("bearer", "hush-bearer", HOME)
    client = build_client(options(credential=credential), clock, recorder=recorder, wire=httpx.MockTransport(wire))
    client.get("https://hush-user:hush-user@register.invalid/api?own=hush-query&page=1")
    recorder.close()
    kept = b"".join(path.read_bytes() for path in (tmp_path / "r").rglob("*") if path.is_file())
    assert [secret for secret in SECRETS if secret.encode() in kept] == []
    line = json.loads((tmp_path / "r/exchanges.jsonl").read_text())
    assert line["url"] == f"{HOME}?own=***&page=1"
    assert line["headers"]["link"] == f'<{HOME}/next?own=***>; rel="next"'


def test_a_scrubbed_request_is_found_again_with_another_secret(tmp_path: Path) -> None:
    record(tmp_path / "r", "a?token=one&page=1").close()
    assert replayed(tmp_path / "r").get(f"{HOME}/a?token=two&page=1").json()["times"] == 1


def test_the_state_the_job_and_the_start_are_kept(tmp_path: Path) -> None:
    recorder = record(tmp_path / "r", "a")
    unfinished = Recording.open(tmp_path / "r")
    assert (unfinished.complete, unfinished.state) == (False, {"streams": {"feed": None}})
    recorder.close({"streams": {"feed": "2026-03-01"}})
    whole = Recording.open(tmp_path / "r")
    assert (whole.complete, whole.state) == (True, {"streams": {"feed": "2026-03-01"}})
    assert (whole.job, whole.attribution) == ("cima", "Fuente: nadie")
    assert whole.started == datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
    assert whole.clock().now() == whole.started


def test_a_recording_whose_run_was_killed_reads_up_to_its_last_whole_line(tmp_path: Path) -> None:
    record(tmp_path / "r", "a", "b")
    lines = tmp_path / "r/exchanges.jsonl"
    lines.write_bytes(lines.read_bytes()[:-20])
    client = replayed(tmp_path / "r")
    assert client.get(f"{HOME}/a").json()["times"] == 1
    with pytest.raises(NotRecorded):
        client.get(f"{HOME}/b")


def test_a_recording_killed_before_its_first_line_is_an_empty_one(tmp_path: Path) -> None:
    record(tmp_path / "r")
    (tmp_path / "r/exchanges.jsonl").unlink()
    assert Recording.open(tmp_path / "r").exchanges == ()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("recording.json", b"{"),
        ("recording.json", b"[]"),
        ("recording.json", b'{"format": 99}'),
        ("recording.json", b'{"format": 1}'),
        ("recording.json", b'{"format": 1, "job": "x", "started": "yesterday"}'),
        ("exchanges.jsonl", b"nonsense\n"),
        ("exchanges.jsonl", b'{"unknown": 1}\n'),
    ],
)
def test_a_damaged_recording_is_a_setting_error(tmp_path: Path, name: str, content: bytes) -> None:
    record(tmp_path / "r", "a").close()
    (tmp_path / "r" / name).write_bytes(content)
    with pytest.raises(SettingError):
        Recording.open(tmp_path / "r")


def test_a_folder_without_a_recording_is_a_setting_error(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="holds no recording"):
        Recording.open(tmp_path)


@pytest.mark.parametrize("path", ["../secret", "answers/../../secret", "/etc/hostname", "answers/..", "answers"])
def test_a_recording_cannot_read_files_elsewhere(tmp_path: Path, path: str) -> None:
    record(tmp_path / "r", "a").close()
    (tmp_path / "secret").write_text("{}")
    lines = tmp_path / "r/exchanges.jsonl"
    line = json.loads(lines.read_text())
    lines.write_text(json.dumps(line | {"body": path}) + "\n")
    with pytest.raises(SettingError, match="names a file elsewhere"):
        replayed(tmp_path / "r").get(f"{HOME}/a")


def test_a_folder_in_use_is_not_recorded_into(tmp_path: Path) -> None:
    record(tmp_path / "r", "a").close()
    with pytest.raises(SettingError, match="not empty"):
        record(tmp_path / "r", "a")


ASKS = [f"row/{n}" for n in range(40)] + ["slow", "busy"]


@pytest.mark.parametrize("recording_threads", [1, 8])
@pytest.mark.parametrize("replaying_threads", [1, 8])
def test_one_and_eight_threads_give_the_same_result(
    tmp_path: Path, recording_threads: int, replaying_threads: int
) -> None:
    clock = StillClock()
    recorder = Recorder(tmp_path / "r", "cima", clock)
    client = build_client(options(), clock, recorder=recorder, wire=httpx.MockTransport(Counting()))
    first = _all(client, recording_threads)
    recorder.close()
    assert _all(replayed(tmp_path / "r"), replaying_threads) == first
    assert len(Recording.open(tmp_path / "r").exchanges) == len(ASKS) * 2 + 2


def _all(client: httpx.Client, threads: int) -> list[list[tuple[bytes, datetime]]]:
    """Every request asked twice, by one thread each."""

    def twice(ask: str) -> list[tuple[bytes, datetime]]:
        answers = [client.get(f"{HOME}/{ask}") for _ in range(2)]
        return [(answer.content, answer.extensions["requested_at"]) for answer in answers]

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(twice, ASKS))
