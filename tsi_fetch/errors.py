"""The exception tree, grouped by what happens next; each carries a hint that says what to do, and an exit code.

    TsiFetchError
    ├── Usage          2   the command line is wrong
    ├── SettingError  78   a setting or credential is wrong: a person must mend it; Kubernetes must not retry
    │   └── NotRecorded    a replay asked for something the recording does not hold
    ├── TryAgain      75   source, sink or store is down or busy, or the lease is held: retry later
    │   └── LeaseLost      another runner holds the job now
    ├── Guarded       77   a guard refused to go on: a person must look
    ├── Stopped  130/143   a signal
    └── Unusable           one row cannot be used: quarantine, the run goes on (never reaches the exit code by itself)

Everything else that is raised is a bug: 70.  `jobs.__main__.main` is the only place that turns errors into text and
codes.
"""

from __future__ import annotations

from enum import IntEnum

from tsi_fetch.words import Fault


class Exit(IntEnum):
    """Exit codes that Kubernetes can read (bookkeeping contract, "Running"; sysexits.h where one fits)."""

    DONE = 0
    USAGE = 2
    QUARANTINE = 65
    BUG = 70
    TRY_AGAIN = 75
    GUARDED = 77
    SETTING = 78
    INTERRUPTED = 130
    TERMINATED = 143


SEVERITY = (
    Exit.TERMINATED,
    Exit.INTERRUPTED,
    Exit.BUG,
    Exit.USAGE,
    Exit.SETTING,
    Exit.GUARDED,
    Exit.TRY_AGAIN,
    Exit.QUARANTINE,
    Exit.DONE,
)
"""When several apply, the first of these wins."""


def worst(codes: set[Exit]) -> Exit:
    """The code that wins: 130/143 > 70 > 2 > 78 > 77 > 75 > 65 > 0."""
    return next((code for code in SEVERITY if code in codes), Exit.DONE)


class TsiFetchError(Exception):
    """`message` says what is wrong, `hint` what to do.  Neither ever holds a secret or a body."""

    exit_code = Exit.BUG

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Usage(TsiFetchError):
    exit_code = Exit.USAGE


class SettingError(TsiFetchError):
    exit_code = Exit.SETTING


class NotRecorded(SettingError):
    """A replay asked for a request that is not in the recording, or more often than it was recorded."""


class TryAgain(TsiFetchError):
    exit_code = Exit.TRY_AGAIN


class LeaseLost(TryAgain):
    """The job's lease was taken by another runner, or could not be kept alive."""


class Guarded(TsiFetchError):
    exit_code = Exit.GUARDED


GO_ON = "run again: it goes on where it was"
"""What to do after a run was stopped; whatever is no run has a hint of its own."""


class Stopped(TsiFetchError):
    """A signal asked it to stop: 130 for SIGINT, 143 for SIGTERM and SIGHUP."""

    def __init__(self, signal_number: int, hint: str = GO_ON, message: str = "stopped by a signal") -> None:
        super().__init__(message, hint)
        self.exit_code = Exit.INTERRUPTED if signal_number == 2 else Exit.TERMINATED


class Unusable(TsiFetchError):
    """One row cannot be used: it goes to quarantine with this fault."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(f"{fault.code} at {fault.path}: {fault.rule}")
        self.fault = fault
