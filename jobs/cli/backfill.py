"""tsi-fetch backfill"""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from jobs.cli.agreement import agreed, told_first, yes_option
from jobs.cli.in_order import OrJob
from jobs.cli.job_names import JOB, of_one_job, one_job
from jobs.cli.options import (
    Span,
    accept_refusals_option,
    again_option,
    config_option,
    json_option,
    log_option,
    look_option,
    sink_option,
    store_option,
    together,
)
from jobs.cli.voice import Voice
from jobs.reporting.place import Place
from tsi_fetch.counting import count

if TYPE_CHECKING:
    from jobs import backfilling


class Wanted(NamedTuple):
    """A backfill by its number; and by its job, where that was told."""

    number: int
    job: str | None


class Backfills(OrJob):
    """`backfill JOB …` begins one, as `backfill start JOB …` does."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        self.check_word(ctx, args)
        if args and args[0] not in self.commands:
            return "start", self.commands["start"], args
        return super().resolve_command(ctx, args)


@click.group("backfill", cls=Backfills, short_help="Load a whole register, a span of days or some keys.")
def command() -> None:
    """Load much, beside the nightly runs and without disturbing them.

    \b
    tsi-fetch backfill cima --all                    everything that is listed
    tsi-fetch backfill cima --from 2026-03-01        what changed since then
    tsi-fetch backfill cima --keys FILE --workers 4  four processes (PostgreSQL)
    tsi-fetch backfill list                          how far they are
    tsi-fetch backfill resume 7                      go on with one that was ended

    A backfill is a list in the store.  It never reads or moves the watermark, and deletes nothing; whatever a nightly
    run brings meanwhile is newer, and stays.  First loads and --full are such lists, too: workers may go on with them.
    """


workers_option = click.option(
    "--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes; several need PostgreSQL."
)
duration_option = click.option(
    "--max-duration", type=Span(), metavar="2h", help="End by plan after so long; `backfill resume` goes on."
)
id_argument = together(
    click.argument("number", metavar="ID", type=click.IntRange(1)),
    click.option("--job", type=JOB, metavar="JOB", help="Whose it is, where several stores have one of this number."),
)
how_to_work = together(accept_refusals_option, duration_option, store_option, sink_option)


@command.command("start", short_help="Begin one, and work on it.")
@click.argument("job", type=JOB)
@click.option("--all", "everything", is_flag=True, help="Everything that the source lists.")
@click.option("--from", "since", metavar="D", help="What changed since this day (or instant).")
@click.option("--to", "until", metavar="D", help="Up to this day (or instant), which is not in it any more.")
@click.option(
    "--keys",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Those in FILE, one a line; # at the beginning or after a blank begins a comment; - is stdin.",
)
@workers_option
@click.option("--later", is_flag=True, help="Make the list only; `backfill work ID` works on it.")
@again_option
@click.option(
    "--attempts", type=click.IntRange(1, 20), default=3, show_default=True, help="Tries before an item is set aside."
)
@how_to_work
@config_option
@json_option
@log_option
@click.pass_obj
def start(
    voice: Voice,
    /,
    *,
    job: str,
    everything: bool,
    since: str | None,
    until: str | None,
    keys: Path | None,
    workers: int,
    later: bool,
    again: bool,
    attempts: int,
    accept_refusals: int,
    max_duration: timedelta | None,
    store: str | None,
    sink: str | None,
    config: Path | None,
    as_json: bool,
    log: str | None,
) -> int:
    """Make a list of what JOB is to load, and work on it until nothing is left.

    \b
    tsi-fetch backfill start cima --all          or: tsi-fetch backfill cima --all
    tsi-fetch backfill start cima --from 2026-03-01 --to 2026-04-01
    tsi-fetch backfill start cima --all --later  for a Kubernetes Job

    Killed or interrupted, `tsi-fetch backfill resume ID` goes on.  Exit code 65: some items could not be done and are
    set aside with their reasons (`tsi-fetch backfill show ID`), or rows went to quarantine.
    """
    voice.speak(log=log, as_json=as_json, place=Place(config, store, sink))
    from jobs import backfilling
    from jobs.signals import listening
    from jobs.wiring import requests_of
    from tsi_fetch.http.meter import Meter

    where, meter = _place(voice, job, config, store, sink), Meter()
    backfilling.check_workers(where, workers)
    which = backfilling.Which(everything, since, until, keys)
    which.check()

    def about_to() -> None:
        voice.say(f"makes a list of {which.words()} of {job}, to be loaded into {where.to.sink}; deletes nothing")

    with listening("nothing is loaded yet: begin it again") as stop:
        with voice.progress() as progress:
            ears = backfilling.Ears(about_to, stop, progress)
            made = backfilling.start(where, which, again=again, attempts=attempts, ears=ears, meter=meter)
        stop.then = _resume(made.id)
        if later:
            return _told(voice, made)
        voice.say(f"backfill {made.id}: loads {which.words()} of {job} into {made.sink}; deletes nothing")
        effort = backfilling.Effort(max_duration, accept_refusals, workers)
        return _work(voice, where, made.id, effort, stop, listing=requests_of(meter))


@command.command("resume", short_help="Go on with one that was ended.")
@id_argument
@workers_option
@how_to_work
@config_option
@json_option
@log_option
@click.pass_obj
def resume(
    voice: Voice,
    /,
    *,
    number: int,
    job: str | None,
    workers: int,
    accept_refusals: int,
    max_duration: timedelta | None,
    store: str | None,
    sink: str | None,
    config: Path | None,
    as_json: bool,
    log: str | None,
) -> int:
    """Go on with backfill ID where it was, whatever ended it; what was set aside is tried anew.

    \b
    tsi-fetch backfill resume 7
    tsi-fetch backfill resume 7 --workers 4
    tsi-fetch backfill resume 7 --accept-refusals 200  past the guard's halt
    """
    voice.speak(log=log, as_json=as_json, place=Place(config, store, sink))
    from jobs import backfill_views, backfilling
    from jobs.signals import listening

    where = _place_of(voice, Wanted(number, job), config, store, sink)
    backfilling.check_workers(where, workers)
    with listening(_resume(number)) as stop:
        backfilling.resume(where, number, lambda found: voice.say(backfill_views.goes_on_text(found)), stop)
        return _work(voice, where, number, backfilling.Effort(max_duration, accept_refusals, workers), stop)


@command.command("work", short_help="Work on one, as one of several workers.")
@id_argument
@click.option("--as", "run_id", hidden=True, help="The id of the worker's run.")
@click.option("--tied", is_flag=True, hidden=True, help="End when stdin does: whoever began the worker is gone.")
@accept_refusals_option
@duration_option
@click.option("--store", metavar="URL", envvar="TSI_FETCH_BACKFILL_STORE", help="Another store, with --sink.")
@sink_option
@config_option
@json_option
@log_option
@click.pass_obj
def work(
    voice: Voice,
    /,
    *,
    number: int,
    job: str | None,
    run_id: str | None,
    tied: bool,
    accept_refusals: int,
    max_duration: timedelta | None,
    store: str | None,
    sink: str | None,
    config: Path | None,
    as_json: bool,
    log: str | None,
) -> int:
    """Work on backfill ID until nothing of it is left, beside whoever else does: in a Kubernetes Job, say.

    \b
    tsi-fetch backfill work 7

    Items whose worker died are taken over when its claim has expired (the job's lease_expiry).  Exit code 0: nothing
    is left.
    """
    voice.speak(log=log, as_json=as_json, place=Place(config, store, sink))
    from jobs import backfilling
    from jobs.signals import listening, tie

    where = _place_of(voice, Wanted(number, job), config, store, sink)
    with listening(_resume(number)) as stop:
        if tied:
            tie(stop, sys.stdin.fileno())
        return _work(voice, where, number, backfilling.Effort(max_duration, accept_refusals, run_id=run_id), stop)


@command.command("list", short_help="List backfills.")
@click.argument("job", type=JOB, required=False)
@of_one_job
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="So many, the latest first.")
@look_option
@config_option
@json_option
@click.pass_obj
def list_(
    voice: Voice,
    /,
    *,
    job: str | None,
    by_option: str | None,
    limit: int,
    store: str | None,
    config: Path | None,
    as_json: bool,
) -> int:
    """List backfills, of all jobs or of JOB, the latest first: what was asked, and how far each is.

    \b
    tsi-fetch backfill list
    tsi-fetch backfill list cima --json
    """
    voice.speak(as_json=as_json, place=Place(config, store))
    job = one_job(job, by_option)
    from jobs import backfill_views
    from jobs.looking import Where
    from jobs.reporting.table import table_text

    found = backfill_views.rows(Where(config, voice.secrets, store), job, limit)
    voice.errors(found.troubles)
    text = table_text(voice.clean(backfill_views.lines(found.told)), found.nothing("there is no backfill"))
    voice.show({"backfills": found.told, "exit_code": found.exit_code}, text)
    return found.exit_code


@command.command("show", short_help="Show one: how far it is, and what was set aside.")
@id_argument
@look_option
@config_option
@json_option
@click.pass_obj
def show(
    voice: Voice, /, *, number: int, job: str | None, store: str | None, config: Path | None, as_json: bool
) -> int:
    """Show backfill ID: how far it is, about when it ends, what was set aside and why, and its workers.

    \b
    tsi-fetch backfill show 7
    """
    voice.speak(as_json=as_json, place=Place(config, store))
    from jobs import backfill_views
    from jobs.looking import Where

    found = backfill_views.whole(Where(config, voice.secrets, store), number, job)
    voice.tell_of(found["job"])
    voice.show(found, voice.place.completed(backfill_views.text(voice.clean(found))))
    return 0


@command.command("cancel", short_help="End one for good.")
@id_argument
@yes_option
@look_option
@config_option
@json_option
@log_option
@click.pass_obj
def cancel(
    voice: Voice,
    /,
    *,
    number: int,
    job: str | None,
    yes: bool,
    store: str | None,
    config: Path | None,
    as_json: bool,
    log: str | None,
) -> int:
    """End backfill ID for good: its workers end after what they are writing.  What is loaded stays; what was set aside
    is given up.

    \b
    tsi-fetch backfill cancel 7          says what that is, and asks
    tsi-fetch backfill cancel 7 --yes    does it

    Who did it and when is in `tsi-fetch audit`.
    """
    voice.speak(log=log, as_json=as_json, place=Place(config, store))
    from jobs import backfill_views
    from jobs.crews import done_text
    from jobs.looking import Where

    where = Where(config, voice.secrets, store)
    found = backfill_views.cancellable(where, number, job)
    over = backfill_views.is_over(found)
    told_first(voice, found, backfill_views.would_end_text(voice.clean(found)), yes=yes and not over)
    if over:
        return 0
    agreed(yes)
    found = backfill_views.cancelled(where, number, job)
    told = f"backfill {number} is {found['state']}; {done_text(found)}, and what is loaded stays"
    voice.show(found, told)
    return 0


def _place(voice: Voice, job: str, config: Path | None, store: str | None, sink: str | None) -> backfilling.Place:
    from jobs import backfilling
    from jobs.wiring import Asked

    asked = Asked(job, config=config, store=store, sink=sink)
    configuration = asked.configuration(voice.secrets)
    voice.tell_of(job)
    return backfilling.place(asked, configuration)


def _place_of(
    voice: Voice, wanted: Wanted, config: Path | None, store: str | None, sink: str | None
) -> backfilling.Place:
    """Where a backfill lives, of which only the number is told."""
    from jobs import backfill_views, backfilling
    from jobs.looking import Where

    found = backfill_views.located(Where(config, voice.secrets, store), *wanted)
    where = _place(voice, found.job, config, store, sink)
    backfilling.check_sink(where, found)
    return where


def _resume(number: int) -> str:
    """What to do after it was stopped."""
    return f"tsi-fetch backfill resume {number}"


def _work(
    voice: Voice, where: backfilling.Place, number: int, effort: backfilling.Effort, stop: Any, *, listing: Any = None
) -> int:
    from jobs.crews import merged, work_together

    with voice.progress() as progress:
        worked = work_together(where, number, effort, stop=stop, progress=progress, log=voice.log)
    voice.report(merged(worked, listing or {}))
    return worked.exit_code


def _told(voice: Voice, made: Any) -> int:
    from jobs.crews import figures

    windows, rows = made.progress.windows.left, made.progress.rows.left
    listed = f"{count(windows, 'span')} of days" if windows else count(rows, "item")
    what = f"backfill {made.id} of {made.job}: {listed}"
    voice.show(figures(made), voice.place.completed(f"{what}; work on it: tsi-fetch backfill work {made.id}"))
    return 0
