"""When a job runs next and whether it is overdue: cron's fields, in the job's own zone, over both clock changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from jobs.config.schedule import checked_schedule, next_time
from jobs.due import GRACE, due

MADRID = "Europe/Madrid"


def at(text: str) -> datetime:
    """An instant in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "zone", "now", "expected"),
    [
        ("30 9 * * *", "UTC", "2026-03-02T09:29:59", "2026-03-02T09:30"),
        ("30 9 * * *", "UTC", "2026-03-02T09:30", "2026-03-03T09:30"),
        ("30 9 * * *", MADRID, "2026-01-10T00:00", "2026-01-10T08:30"),
        ("30 9 * * *", MADRID, "2026-07-10T00:00", "2026-07-10T07:30"),
        ("0 0 * * mon", "Asia/Kolkata", "2026-03-02T00:00", "2026-03-08T18:30"),
        ("0 3 29 2 *", "UTC", "2026-03-02T00:00", "2028-02-29T03:00"),
        ("5/20 * * * *", "UTC", "2026-03-02T09:06", "2026-03-02T09:25"),
        ("0 4 * * 7", "UTC", "2026-03-02T00:00", "2026-03-08T04:00"),
    ],
)
def test_the_next_time_is_that_of_the_jobs_own_zone(schedule: str, zone: str, now: str, expected: str) -> None:
    assert next_time(checked_schedule(schedule), zone, at(now)) == at(expected)


def test_a_time_that_the_clock_leaps_over_does_not_come_that_day() -> None:
    """On 29 March 2026 Madrid's clocks go from 02:00 to 03:00."""
    assert next_time("30 2 * * *", MADRID, at("2026-03-28T02:00")) == at("2026-03-30T00:30")
    assert next_time("*/30 * * * *", MADRID, at("2026-03-29T00:30")) == at("2026-03-29T01:00")
    assert next_time("0 3 * * *", MADRID, at("2026-03-28T12:00")) == at("2026-03-29T01:00")


def test_a_time_that_the_clock_shows_twice_comes_twice() -> None:
    """On 25 October 2026 Madrid's clocks go from 03:00 back to 02:00."""
    first = next_time("30 2 * * *", MADRID, at("2026-10-24T12:00"))
    assert first == at("2026-10-25T00:30")
    assert next_time("30 2 * * *", MADRID, first) == at("2026-10-25T01:30")
    assert next_time("30 2 * * *", MADRID, at("2026-10-25T01:30")) == at("2026-10-26T01:30")
    quarters = [at("2026-10-24T23:45")]
    for _ in range(12):
        quarters.append(next_time("*/15 * * * *", MADRID, quarters[-1]) or quarters[-1])
    assert {later - earlier for earlier, later in pairwise(quarters)} == {timedelta(minutes=15)}


def test_a_schedule_of_a_day_that_never_comes_is_a_mistake() -> None:
    for never in ("0 0 30 2 *", "0 0 31 4,6 *"):
        with pytest.raises(ValueError, match="a day that comes"):
            checked_schedule(never)
    assert checked_schedule("0 0 30 2 1") == "0 0 30 2 1"  # or any Monday


def test_a_job_is_overdue_when_its_grace_has_passed_and_not_before() -> None:
    success = at("2026-03-02T09:40")
    missed, grace = at("2026-03-03T09:30"), GRACE + timedelta(minutes=10)
    took = [timedelta(minutes=10), timedelta(hours=8), timedelta(minutes=9)]
    told = due("30 9 * * *", "UTC", missed - timedelta(seconds=1), success, took)
    assert (told.next, told.missed, told.overdue, told.grace) == (missed, None, False, grace)
    told = due("30 9 * * *", "UTC", missed + grace, success, took)
    assert (told.missed, told.overdue) == (missed, False)
    told = due("30 9 * * *", "UTC", missed + grace + timedelta(seconds=1), success, took)
    assert (told.next, told.missed, told.overdue) == (at("2026-03-04T09:30"), missed, True)


def test_a_job_that_never_succeeded_is_overdue_once_its_first_time_since_the_store_was_made_has_passed() -> None:
    made = at("2026-03-02T09:31")
    assert not due("30 9 * * *", "UTC", at("2026-03-03T09:29"), made, ()).overdue
    assert due("30 9 * * *", "UTC", at("2026-03-03T10:31"), made, ()).overdue
    assert not due("30 9 * * *", "UTC", at("2036-03-03T10:31"), None, ()).overdue


def test_a_night_that_the_clock_leapt_over_makes_nobody_overdue() -> None:
    """The last success is Saturday's; on Sunday 02:30 did not come, so the next one due is Monday's."""
    told = due("30 2 * * *", MADRID, at("2026-03-29T12:00"), at("2026-03-28T01:40"), ())
    assert (told.missed, told.overdue, told.next) == (None, False, at("2026-03-30T00:30"))
