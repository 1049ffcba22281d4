"""Who can sign in to a new installation? `admin`, with the password given or one generated, left in a file of mode 0600."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from api.first_start import FirstStart, NotSetUp, generated_password, has_users, make_first_administrator
from api.ports import ApiDependencies
from infra.wiring.composition import House
from schemas.log import LogError
from schemas.vault import VaultError

NAME = "admin"
PASSWORD_FILE = "admin-password"
_AGAIN_S = 1.0


async def ensure_first_administrator(house: House, given: ApiDependencies, told: Callable[[str], None]) -> None:
    """Make the first administrator if the log has no user; tries until the command side answers. Never resets a password."""
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
                told(how_to_sign_in(house.settings.home))
                return
            password, generated = await asyncio.to_thread(_password, house)
            made = await make_first_administrator(setup, NAME, password)
        except (NotSetUp, LogError, VaultError):
            await asyncio.sleep(_AGAIN_S)
            continue
        path = house.settings.home / PASSWORD_FILE
        if made:
            shown = f"password {password} (also in {path})" if generated else "the password you gave"
            told(f"first administrator made: user {NAME}, {shown}")
        elif generated:
            path.unlink(missing_ok=True)  # another process made the administrator: this password opens nothing
        told(how_to_sign_in(house.settings.home))
        return


def how_to_sign_in(home: Path) -> str:
    """What to tell who wants to sign in: with the first password's file only while it is there."""
    path = home / PASSWORD_FILE
    if path.exists():
        return f"sign in: opsconductor login --user {NAME} --password-file {path}"
    return f"sign in: opsconductor login; it asks for user and password ({path} is not there)"


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
