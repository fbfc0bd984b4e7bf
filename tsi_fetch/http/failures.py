"""What a request may end in when no answer can be had.  None of these holds a secret or a body."""

from __future__ import annotations

from tsi_fetch.errors import SettingError, TryAgain


class Unreachable(TryAgain):
    """A request that failed as often as it may be tried.  `status` is the last one, None where there was no answer."""

    def __init__(self, method: str, url: str, attempts: int, reason: str, status: int | None = None) -> None:
        times = "once" if attempts == 1 else f"{attempts} times"
        super().__init__(
            f"{method} {url} was tried {times}: {reason}",
            "the other side is down or busy: try again later"
            + ("; or its address is not what is set, as it answers with something else" if _answers(status) else ""),
        )
        self.method, self.url, self.attempts, self.reason, self.status = method, url, attempts, reason, status


class Postponed(TryAgain):
    """The server asks for a longer wait than a run may take (`Retry-After` beyond `max_wait`): the run should end."""

    def __init__(self, method: str, url: str, seconds: float, max_wait: float) -> None:
        super().__init__(
            f"{method} {url}: the server asks to wait {seconds:.0f} s, longer than max_wait ({max_wait:.0f} s)",
            "run again later, or raise max_wait",
        )
        self.seconds = seconds


class BodyTooLarge(SettingError):
    """An answer is larger than `max_body`, counted after decompression."""

    def __init__(self, method: str, url: str, max_body: int) -> None:
        super().__init__(
            f"{method} {url}: the answer is larger than max_body ({max_body} bytes)",
            "raise max_body if answers of this size are meant to be read",
        )
        self.method, self.url, self.max_body = method, url, max_body


def _answers(status: int | None) -> bool:
    return status is not None and status < 300
