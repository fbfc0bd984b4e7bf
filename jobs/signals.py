"""SIGINT, SIGTERM and SIGHUP as a `StopSignal`: whatever waits ends at once, what is in flight is remembered."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from tsi_fetch.clock import StopSignal
from tsi_fetch.errors import GO_ON, Stopped

_HEARD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def listening(then: str = GO_ON) -> Iterator[StopSignal]:
    """A `StopSignal` that these signals set; a second SIGINT interrupts at once: `Stopped`, too, to whoever began this.
    For the main thread only.  `then`: what to do after a stop.  A SIGHUP that is ignored already, by `nohup` say, stays
    so.

    Python hands the number to a thread through a socket: a handler that took the signal's lock itself would wait for
    ever where it interrupted the main thread while that held it.
    """
    stop = StopSignal(then)
    reading, writing = socket.socketpair()
    writing.setblocking(False)
    ear = threading.Thread(target=_hear, args=(reading, stop), name="signals", daemon=True)
    before = {number: signal.signal(number, _handler) for number in _HEARD if not _is_ignored_hangup(number)}
    fd_before = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    ear.start()
    try:
        yield stop
    except KeyboardInterrupt as e:
        raise Stopped(signal.SIGINT, stop.then, "interrupted") from e
    finally:
        signal.set_wakeup_fd(fd_before)
        for number, handler in before.items():
            signal.signal(number, handler)
        writing.close()
        ear.join()
        reading.close()


def tie(stop: StopSignal, fd: int) -> None:
    """Set it, as SIGTERM would, as soon as the other end of this pipe is closed: by whoever began this process, or by
    whatever ended them.  Nothing is polled: a thread waits in a read, for as long as the process lives."""
    threading.Thread(target=_wait_for_the_end, args=(stop, fd), name="tie", daemon=True).start()


def _wait_for_the_end(stop: StopSignal, fd: int) -> None:
    while os.read(fd, 1):
        pass
    stop.set(signal.SIGTERM)


def _is_ignored_hangup(number: int) -> bool:
    return number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN


def _handler(number: int, frame: FrameType | None) -> None:
    """The thread does the work; this one makes the next SIGINT an interrupt, for a person in a hurry."""
    if number == signal.SIGINT:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _hear(reading: socket.socket, stop: StopSignal) -> None:
    while numbers := reading.recv(16):
        for number in numbers:
            if number in _HEARD:
                stop.set(number)
