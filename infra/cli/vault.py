"""Commands for the vault's master key. They work on the data folder and the database, as the account that the server runs as."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from infra.cli.context import Output, exiting
from infra.cli.misconfigured import wrong_settings_told
from infra.cli.render import Renderer

if TYPE_CHECKING:
    from infra.wiring.master_key_rotation import Status
    from infra.wiring.settings import Settings

app = typer.Typer(no_args_is_help=True, help="The vault's master key: how secrets are sealed, and under a new key.")
FAILED = 1


@app.command()
def status(output: Output = "table") -> None:
    """Show which master key is in force, which are known here, and how many secrets are under each."""
    from infra.wiring import master_key_rotation

    _tell(master_key_rotation.status, output)


@app.command("rotate-master-key")
def rotate_master_key(
    retire: Annotated[bool, typer.Option("--retire", help="Take the old key away; refused while any secret needs it.")] = False,
    wait: Annotated[float, typer.Option(help="How many seconds to wait for a running server to do it.", min=1)] = 600,
    output: Output = "table",
) -> None:
    """Bring a new master key into force and every secret under it, while everything runs; run it again if it was interrupted."""
    from infra.wiring import master_key_rotation

    if retire:
        _tell(master_key_rotation.retire, output)
        return
    note = Renderer(output).note
    _tell(lambda settings: master_key_rotation.rotate(settings, wait, note), output)


def _tell(asked: "Callable[[Settings], Status]", output: str) -> None:
    from infra.wiring.settings import settings_given

    with _telling():
        found = asked(settings_given())
    with exiting():
        versions = sorted({*found.known, *found.rows.by_version, *filter(None, [found.rows.in_force])})
        rows = [
            {
                "version": version,
                "in_force": version == found.rows.in_force,
                "known_here": version in found.known,
                "secrets": found.rows.by_version.get(version, 0),
            }
            for version in versions
        ]
        Renderer(output).many(rows, ["version", "in_force", "known_here", "secrets"])


@contextmanager
def _telling() -> Iterator[None]:
    from infra.vaults.master_key import BadMasterKey
    from infra.vaults.sealed import MasterKeyAbsent
    from infra.wiring.composition import DatabaseUnavailable
    from infra.wiring.master_key_rotation import NotRotated

    try:
        with wrong_settings_told():
            yield
    except (NotRotated, BadMasterKey, MasterKeyAbsent, DatabaseUnavailable, OSError) as failed:
        typer.echo(str(failed), err=True)
        raise typer.Exit(FAILED) from None
