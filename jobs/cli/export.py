"""tsi-fetch export"""

from __future__ import annotations

from pathlib import Path

import click

from jobs.cli.job_names import JOB
from jobs.cli.options import FOLDER, config_option, json_option, log_option, sink_option, store_option
from jobs.cli.voice import Voice
from jobs.reporting.place import Place


@click.command("export", short_help="Write what a job has on its sink into files.")
@click.argument("job", type=JOB)
@click.argument("folder", metavar="DIR", type=FOLDER)
@click.option("--type", "types", multiple=True, metavar="T", help="Only resources of this type; may be repeated.")
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
    folder: Path,
    types: tuple[str, ...],
    store: str | None,
    sink: str | None,
    config: Path | None,
    as_json: bool,
    log: str | None,
) -> int:
    """Write every live resource that JOB knows, as its sink holds it, into DIR: a line each, a file for each type.

    \b
    tsi-fetch export cima monday
    tsi-fetch export cima leaflets --type Bundle --type Composition

    DIR must be new or empty.  Bundle.ndjson and the others appear when all is read, manifest.json last: a folder
    without it is no whole export.  Numbers keep their digits.  Exit code 65 where something is missing on the sink, or
    is there in another version than remembered.  These are bodies, and may hold personal data.
    """
    voice.speak(log=log, as_json=as_json, place=Place(config, store, sink))
    from jobs.exporting import Ears, export
    from jobs.reporting.exported import exported_text
    from jobs.signals import listening
    from jobs.wiring import Asked

    wanted = Asked(job, config=config, store=store, sink=sink)
    configuration = wanted.configuration(voice.secrets)
    with listening("export again") as stop, voice.progress() as progress:
        done = export(configuration, wanted, folder, types, Ears(stop, progress))
    figures = done.to_json()
    text = exported_text(voice.clean(figures), str(folder))
    voice.show({**figures, "folder": str(folder)}, voice.place.completed(text))
    return done.exit_code
