"""tsi-fetch quarantine"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from jobs.cli.agreement import agreed, told_first, yes_option
from jobs.cli.in_order import InOrder
from jobs.cli.job_names import JOB, of_one_job, one_job
from jobs.cli.options import (
    FOLDER,
    accept_refusals_option,
    config_option,
    json_option,
    log_option,
    look_option,
    sink_option,
    store_option,
)
from jobs.cli.voice import Voice
from jobs.reporting.place import Place

if TYPE_CHECKING:
    from jobs.quarantining import Chosen
    from tsi_fetch.clock import StopSignal

SHOWN = 50
"""Entries that `list` names one by one; reasons are counted over all of them."""


def _entry(ctx: click.Context, param: click.Parameter, given: tuple[str, ...]) -> tuple[str | None, int]:
    """`12`, or `cima 12` where several stores have an entry of that number."""
    *job, number = given
    if len(job) > 1 or not number.isdecimal() or not int(number):
        raise click.BadParameter("name an entry by its number (tsi-fetch quarantine list)", ctx, param)
    return (job[0] if job else None), int(number)


def _numbers(ctx: click.Context, param: click.Parameter, given: tuple[str, ...]) -> tuple[str | None, tuple[int, ...]]:
    job = given[0] if given and not given[0].isdecimal() else None
    numbers = given[1:] if job else given
    if not numbers or not all(number.isdecimal() and int(number) for number in numbers):
        raise click.BadParameter("name entries by their numbers (tsi-fetch quarantine list)", ctx, param)
    return job, tuple(map(int, numbers))


def _job_and_folder(ctx: click.Context, param: click.Parameter, given: tuple[str, ...]) -> tuple[str | None, Path]:
    *job, folder = given
    if len(job) > 1:
        raise click.BadParameter("name a folder, and at most one job before it", ctx, param)
    return (job[0] if job else None), FOLDER.convert(folder, param, ctx)


@click.group("quarantine", cls=InOrder, short_help="See what could not be used, and why; replay, drop or export it.")
def command() -> None:
    """See what could not be used, and why.  It is kept whole until a good one overtakes it.

    \b
    tsi-fetch quarantine list                reasons, counted; then where
    tsi-fetch quarantine show 12             the row as received
    tsi-fetch quarantine replay cima         once more, through today's code
    tsi-fetch quarantine drop 12 --why TEXT  give one up for good
    """


@command.command("list", short_help="Count the reasons, and list what lies in quarantine.")
@click.argument("job", type=JOB, required=False)
@of_one_job
@click.option("--all", "everything", is_flag=True, help="Also what has been overtaken, replayed or dropped.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help=f"Entries named; else {SHOWN}, and with --json all.")
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
    everything: bool,
    limit: int | None,
    store: str | None,
    config: Path | None,
    as_json: bool,
) -> int:
    """Count the reasons, then list what lies in quarantine, of all jobs or of JOB, the oldest first: key, code, where
    and rule; never the value.

    \b
    tsi-fetch quarantine list
    tsi-fetch quarantine list cima --json
    """
    voice.speak(as_json=as_json, place=Place(config, store))
    job = one_job(job, by_option)
    from jobs.looking import Where, quarantine_lines
    from jobs.quarantining import grouped, lying
    from jobs.reporting.table import table_text

    where, most = Where(config, voice.secrets, store), limit or (None if as_json else SHOWN)
    found = lying(where, job, everything=everything, most=most)
    voice.errors(found.troubles)
    reasons = grouped(reason for of_job in found.told for reason in of_job.reasons)
    entries = sum(reason["entries"] for reason in reasons)
    rows = [row for of_job in found.told for row in of_job.rows][:most]
    none = found.nothing("nothing lies in quarantine")
    text = table_text(voice.clean(quarantine_lines(rows, everything=everything)), none)
    if entries > 1:
        text = table_text(voice.clean(reasons)) + "\n" + text
    if entries > len(rows):
        text += f"{len(rows):,} of {entries:,} entries: --limit shows more\n"
    told = {"reasons": reasons, "entries": entries, "quarantine": rows, "exit_code": found.exit_code}
    voice.show(told, text)
    return found.exit_code


@command.command("show", short_help="Show one entry whole.")
@click.argument("entry", nargs=-1, required=True, metavar="[JOB] NUMBER", callback=_entry)
@look_option
@config_option
@json_option
@click.pass_obj
def show(
    voice: Voice, /, *, entry: tuple[str | None, int], store: str | None, config: Path | None, as_json: bool
) -> int:
    """Show entry NUMBER: why it is there, the source's answers as received, and the refused resource.

    \b
    tsi-fetch quarantine show 12
    tsi-fetch quarantine show cima 12     where several stores have a 12

    This prints bodies, which may hold personal data.
    """
    voice.speak(as_json=as_json, place=Place(config, store))
    from jobs.looking import Where, quarantined
    from jobs.reporting.entry import entry_text

    found = quarantined(Where(config, voice.secrets, store), *entry)
    voice.show(found, entry_text(found))
    return 0


@command.command("replay", short_help="Send entries through today's code once more.")
@click.argument("job", type=JOB, required=False)
@click.option(
    "--id", "numbers", type=click.IntRange(1), multiple=True, metavar="N", help="This entry; may be repeated."
)
@click.option("--code", metavar="CODE", help="Only entries of this code.")
@accept_refusals_option
@store_option
@sink_option
@config_option
@json_option
@log_option
@click.pass_obj
def replay(
    voice: Voice,
    /,
    *,
    job: str | None,
    numbers: tuple[int, ...],
    code: str | None,
    accept_refusals: int,
    store: str | None,
    sink: str | None,
    config: Path | None,
    as_json: bool,
    log: str | None,
) -> int:
    """Send what lies in JOB's quarantine (or in that of each job) through today's code, without asking the source.

    \b
    tsi-fetch quarantine replay cima
    tsi-fetch quarantine replay cima --id 12 --id 15
    tsi-fetch quarantine replay --code cima-name          of all jobs

    What can be used now is written and leaves the quarantine; what still fails stays (exit code 65).  Nothing newer is
    overwritten.  The job's lease is held, as by a run.
    """
    voice.speak(log=log, as_json=as_json, place=Place(config, store, sink))
    from jobs.config.load import Reach, load_configuration
    from jobs.quarantining import Chosen
    from jobs.signals import listening
    from tsi_fetch.errors import Exit, Stopped, TsiFetchError, Usage, worst

    chosen = Chosen(frozenset(numbers), code)
    if job is None and (numbers or store or sink):
        raise Usage("--id, --store and --sink are of one job", "name it: tsi-fetch quarantine replay JOB …")
    every = load_configuration(config, reach=Reach(), secrets=voice.secrets).settings.jobs
    with listening("replay again: what is not done yet still lies there") as stop:
        told = Asking(config, store, sink, accept_refusals)
        if job:
            return _replayed(voice, job, chosen, told, stop)
        codes = []
        for name in every:
            stop.check()
            try:
                codes.append(_replayed(voice, name, chosen, told, stop))
            except Stopped:
                raise
            except TsiFetchError as e:  # the others are replayed all the same
                voice.errors([e])
                codes.append(e.exit_code)
    return int(worst({Exit(code) for code in codes}))


class Asking(NamedTuple):
    """What a replay was asked beside the entries."""

    config: Path | None
    store: str | None
    sink: str | None
    accept_refusals: int


def _replayed(voice: Voice, job: str, chosen: Chosen, told: Asking, stop: StopSignal) -> int:
    """The exit code of one job's replay."""
    from jobs.quarantining import replay_entries, waiting_entries
    from jobs.wiring import Asked
    from tsi_fetch.counting import count

    config, store, sink, accept_refusals = told
    asked = Asked(job, config=config, store=store, sink=sink, accept_refusals=accept_refusals)
    configuration = asked.configuration(voice.secrets)
    entries = len(waiting_entries(configuration, asked, chosen))
    if not entries:
        code = f" with the code {chosen.code}" if chosen.code else ""
        voice.show({"job": job, "entries": 0, "exit_code": 0}, f"nothing lies in the quarantine of {job}{code}")
        return 0
    going = f"{count(entries, 'entry', 'entries')} of {job} {'goes' if entries == 1 else 'go'}"
    voice.say(f"{going} through today's code once more; the source is not asked")
    with voice.progress() as progress:
        ran = replay_entries(configuration, asked, chosen, stop=stop, progress=progress)
    voice.report(ran.report.to_json(), ran.places)
    return ran.report.exit_code


@command.command("drop", short_help="Give entries up for good.")
@click.argument("entries", nargs=-1, required=True, metavar="[JOB] NUMBER…", callback=_numbers)
@click.option("--why", required=True, metavar="TEXT", help="The reason, for the audit trail.")
@yes_option
@look_option
@config_option
@json_option
@log_option
@click.pass_obj
def drop(
    voice: Voice,
    /,
    *,
    entries: tuple[str | None, tuple[int, ...]],
    why: str,
    yes: bool,
    store: str | None,
    config: Path | None,
    as_json: bool,
    log: str | None,
) -> int:
    """Close these entries for good: no night asks for what they hold any more, until the source changes it.

    \b
    tsi-fetch quarantine drop 12 --why "withdrawn"                names it, asks
    tsi-fetch quarantine drop cima 12 15 --why "test data" --yes  does it

    All of them, or none.  Who dropped what, when and why is in `tsi-fetch audit`.
    """
    voice.speak(log=log, as_json=as_json, place=Place(config, store))
    from jobs.config.load import Reach, load_configuration
    from jobs.looking import Where, quarantine_lines
    from jobs.quarantining import dropped, open_entries
    from jobs.reporting.table import table_text
    from tsi_fetch.counting import count
    from tsi_fetch.errors import Usage

    if not why.strip():
        raise Usage("--why is empty", "say why, for whoever asks in a year")
    job, numbers = entries
    load_configuration(config, reach=Reach(), secrets=voice.secrets)  # every secret that the reason may name
    reason = voice.secrets.redact(why.strip()).encode("utf-8", "backslashreplace").decode()
    where = Where(config, voice.secrets, store)
    found = open_entries(where, job, numbers)
    head = f"{count(len(found), 'entry', 'entries')} would be dropped for good:"
    then = "No night asks for what they hold any more, until the source changes it; --full\nand --only do."
    then += "  The sink stays as it is."
    table = table_text(voice.clean(quarantine_lines(found, everything=False)))
    told_first(voice, {"entries": found, "dropped": [], "done": False}, f"{head}\n{table}\n{then}", yes=yes)
    agreed(yes)
    done = dropped(where, job, numbers, reason)
    others = [str(entry["number"]) for entry in found if entry["number"] not in done]
    text = f"dropped {', '.join(map(str, done)) or 'nothing'}"
    text += f"; a run has closed {', '.join(others)} meanwhile" if others else ""
    voice.show({"entries": found, "dropped": done, "done": True}, text)
    return 0


@command.command("export", short_help="Write all entries into a folder.")
@click.argument("where_to", nargs=-1, required=True, type=JOB, metavar="[JOB] DIR", callback=_job_and_folder)
@of_one_job
@look_option
@config_option
@json_option
@click.pass_obj
def export(
    voice: Voice,
    /,
    *,
    where_to: tuple[str | None, Path],
    by_option: str | None,
    store: str | None,
    config: Path | None,
    as_json: bool,
) -> int:
    """Write every open entry, of all jobs or of JOB, into DIR, new or empty: the answers as received, the refused
    resource, the reason.

    \b
    tsi-fetch quarantine export troubles
    tsi-fetch quarantine export cima troubles

    These are bodies, which may hold personal data: only you can read the files.
    """
    voice.speak(as_json=as_json, place=Place(config, store))
    from jobs.looking import Where
    from jobs.quarantining import exported
    from tsi_fetch.counting import count

    named, folder = where_to
    job = one_job(named, by_option)
    found = exported(Where(config, voice.secrets, store), job, folder)
    voice.show(found, f"{count(found['entries'], 'entry', 'entries')} in {found['folder']}")
    return 0
