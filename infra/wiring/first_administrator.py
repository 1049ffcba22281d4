"""Who can sign in to a new installation? `admin`, with the password given or one generated, left in a file of mode 0600."""

import asyncio
import os
from pathlib import Path

from api.first_start import FirstStart, NotSetUp, generated_password, has_users, make_first_administrator
from api.ports import ApiDependencies
from infra.wiring.composition import House
from infra.wiring.console import Console
from infra.wiring.settings import Settings
from schemas.log import LogError
from schemas.vault import VaultError

NAME = "admin"
PASSWORD_FILE = "admin-password"
_AGAIN_S = 1.0


async def ensure_first_administrator(house: House, given: ApiDependencies, url: str, console: Console) -> None:
    """Make the first administrator if the log has no user; tries until the command side answers. Never resets a password.

    The console is told how to sign in at `url`. A generated password is shown at a terminal only: what is said elsewhere is kept
    in a log, which others may read; there its file is named.
    """
    setup = FirstStart(
        sender=given.sender,
        outcomes=given.outcomes,
        reader=given.reader,
        vault=given.vault,
        randomness=given.ids,
        now=given.clock.now,
        key=given.keys.fingerprints,
    )
    while True:
        try:
            if await has_users(given.reader):
                console.say(how_to_sign_in(house.settings.home, url))
                return
            password, generated = await asyncio.to_thread(_password, house)
            made = await make_first_administrator(setup, NAME, password)
        except (NotSetUp, LogError, VaultError):
            await asyncio.sleep(_AGAIN_S)
            continue
        path = house.settings.home / PASSWORD_FILE
        if made:
            where = f"the password is in {path}" if generated else "with the password you gave"
            console.say(f"first administrator made: user {NAME}, {where}")
            if generated:
                console.show(f"that password, shown this once: {password}")
        elif generated:
            path.unlink(missing_ok=True)  # another process made the administrator: this password opens nothing
        console.say(how_to_sign_in(house.settings.home, url))
        return


def how_to_sign_in(home: Path, url: str) -> str:
    """What to tell who wants to sign in: with the first password's file only while it is there."""
    path, said = home / PASSWORD_FILE, f"sign in: opsconductor --url {url} login"
    if path.exists():
        return f"{said} --user {NAME} --password-file {path}"
    return f"{said}; it asks for user and password ({path} is not there)"


def url_of(settings: Settings, port: int) -> str:
    """Where the API that listens on `port` is reached: as browsers do, where that is set, or from this machine."""
    if settings.public_url:
        return settings.public_url
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.listen_address[0], settings.listen_address[0])
    return f"http{'s' if settings.tls else ''}://{f'[{host}]' if ':' in host else host}:{port}"


def _password(house: House) -> tuple[str, bool]:
    """The first password and whether it is ours; a generated one is kept before it is used, so that a crash loses nothing."""
    given = house.settings.admin_password
    if given is not None:
        return given.get_secret_value(), False
    path = house.settings.home / PASSWORD_FILE
    if not path.exists():
        _write(path, generated_password(house.ids))
    return path.read_text().strip(), True


def _write(path: Path, password: str) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(password + "\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
