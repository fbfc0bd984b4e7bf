"""tsi-fetch reconcile"""

from __future__ import annotations

from pathlib import Path

import click

from jobs.cli.job_names import JOB
from jobs.cli.options import config_option, json_option, log_option, sink_option, store_option
from jobs.cli.voice import Voice
from jobs.reporting.place import Place


@click.command("reconcile", short_help="Compare what is remembered with what the sink holds.")
@click.argument("job", type=JOB)
@click.option("--fix", is_flag=True, help="Mend what is remembered; the next runs then mend the sink.")
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
    store: str | None,
    sink: str | None,
    config: Path | None,
    as_json: bool,
    log: str | None,
) -> int:
    """Compare what is remembered of JOB with what its sink holds.  The way out of exit code 77 after a server was
    wiped, restored or edited, or a store was put back from a copy.

    \b
    tsi-fetch reconcile cima          exit code 65 where something differs; nothing is written
    tsi-fetch reconcile cima --fix    forget what differs, and take the sink's marker over
    tsi-fetch run cima                then looks it up, and brings it in step

    The sink is only read, also with --fix.  Until what differed is done, runs end as partial.
    """
    voice.speak(log=log, as_json=as_json, place=Place(config, store, sink))
    from jobs.reconciling import reconcile
    from jobs.reporting.reconciled import figures, reconciled_text
    from jobs.signals import listening
    from jobs.wiring import Asked

    wanted = Asked(job, config=config, store=store, sink=sink)
    configuration = wanted.configuration(voice.secrets)
    with listening("reconcile again") as stop, voice.progress() as progress:
        found = reconcile(configuration, wanted, stop, progress, fix=fix)
    voice.show(figures(found), voice.place.completed(reconciled_text(figures(found))))
    return found.exit_code
