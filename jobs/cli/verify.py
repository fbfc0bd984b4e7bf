"""tsi-fetch verify"""

from __future__ import annotations

from pathlib import Path

import click

from jobs.cli.options import FOLDER, config_option, json_option, log_option
from jobs.cli.voice import Voice


@click.command("verify", short_help="Replay a recording and compare with what is expected.")
@click.argument("folder", metavar="DIR", type=FOLDER)
@click.option("--accept", is_flag=True, help="Take what the replay gives as what is expected from now on.")
@config_option
@json_option
@log_option
@click.pass_obj
def command(voice: Voice, /, *, folder: Path, accept: bool, config: Path | None, as_json: bool, log: str | None) -> int:
    """Replay the recording in DIR, and compare resources and report with DIR/expected.

    \b
    tsi-fetch verify tests/recorded/tuesday           65 where something differs
    tsi-fetch verify tests/recorded/tuesday --accept  see it in `git diff`

    Nothing outside DIR is written, and nothing is asked over the network.
    """
    voice.speak(log=log, as_json=as_json)
    from jobs.signals import listening
    from jobs.verifying import asked_of, verify
    from tsi_fetch.counting import count
    from tsi_fetch.http.recording import Recording

    wanted = asked_of(folder, config, Recording.open(folder).job)
    configuration = wanted.configuration(voice.secrets)

    def about_to(expected: Path, different: int) -> None:
        voice.say(f"writes {expected} anew, of which {count(different, 'file differs', 'files differ')}")

    with listening("verify again") as stop, voice.progress() as progress:
        verdict = verify(configuration, wanted, stop, progress, accept=about_to if accept else None)
    lines = [f"{name}: {what}" for name, paths in verdict.differences.items() for what in paths]
    said = {True: "accepted", False: "different"}[accept] if lines else "as expected"
    result = {"result": said, "differences": {name: list(paths) for name, paths in verdict.differences.items()}}
    voice.show(result, "\n".join([f"{folder}: {said}", *(f"  {line}" for line in lines)]))
    return verdict.exit_code
