"""tsi-fetch reconcile"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.cli.agreement import agreed, yes_option
from jobs.cli.job_names import JOB
from jobs.cli.options import config_option, json_option, log_option, sink_option, store_option
from jobs.cli.voice import Voice
from jobs.reporting.place import Place

if TYPE_CHECKING:
    from tsi_fetch.reconcile import Comparison


@click.command("reconcile", short_help="Compare what is remembered with what the sink holds.")
@click.argument("job", type=JOB)
@click.option("--fix", is_flag=True, help="Mend what is remembered; the next runs then mend the sink.")
@yes_option
@store_option
@sink_option
@config_option
@json_option
@log_option
@click.pass_obj
def command(
    voice: Voice,
    /,
    *,
    job: str,
    fix: bool,
    yes: bool,
    store: str | None,
    sink: str | None,
    config: Path | None,
    as_json: bool,
    log: str | None,
) -> int:
    """Compare what is remembered of JOB with what its sink holds.  The way out of exit code 77 after a server was
    wiped, restored or edited, or a store was put back from a copy.

    \b
    tsi-fetch reconcile cima               65 where something differs
    tsi-fetch reconcile cima --fix         forget what differs: asks first
    tsi-fetch reconcile cima --fix --yes   say what is about to be done, and do it
    tsi-fetch run cima                     then looks it up, and brings it in step

    The sink is only read, also with --fix.  Until what differed is done, runs end as partial.  Nobody holds the job's
    lease while you think: so --fix compares once for you, and once more under the lease; where something else differs
    then, nothing is changed (exit code 75).
    """
    voice.speak(log=log, as_json=as_json, place=Place(config, store, sink))
    from jobs.reconciling import Fix, reconcile
    from jobs.reporting.reconciled import about_text, figures, mended_text, reconciled_text
    from jobs.signals import listening
    from jobs.wiring import Asked
    from tsi_fetch.errors import TryAgain, Usage

    if yes and not fix:
        raise Usage("--yes agrees to --fix, which was not asked for", f"tsi-fetch reconcile {job} --fix --yes")

    wanted = Asked(job, config=config, store=store, sink=sink)
    configuration = wanted.configuration(voice.secrets)
    shown: Comparison | None = None
    if not (fix and yes):
        with listening("reconcile again") as stop, voice.progress() as progress:
            shown = reconcile(configuration, wanted, stop, progress, Fix() if fix else None)
        voice.show(figures(shown), voice.place.completed(reconciled_text(figures(shown), fix=fix)))
        if not (fix and shown.exit_code):
            return shown.exit_code
        agreed(yes)

    def agree(found: Comparison) -> None:
        if shown is None:
            voice.say(about_text(figures(found)))
        elif not found.calls_for_the_same(shown):
            what = "what differs is not what was shown any more: nothing was changed"
            raise TryAgain(what, f"look again: tsi-fetch reconcile {job} --fix")

    with listening("reconcile again") as stop, voice.progress() as progress:
        found = reconcile(configuration, wanted, stop, progress, Fix(agree))
    text = mended_text if shown else reconciled_text
    voice.show(figures(found), voice.place.completed(text(figures(found))))
    return found.exit_code
