"""What does a run need in the hand of its executor: the job's revision, its secrets in clear, the logins of its targets?

Secrets are opened here and nowhere else; they live as long as the run is held, and every one of them is masked in its output.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any, TypeVar

import orjson

from domain.job.definition import JobDefinition
from domain.job.parameters import Plain, SealedValue
from domain.run.messages import RunRequested
from processors.delivery import Sleep
from processors.executor.connector import Login
from processors.executor.inventory import CredentialEntry, Inventory, InventoryUnavailable
from processors.executor.masking import Forms
from processors.processor import Clock
from schemas.vault import SecretUnavailable, Vault, VaultError, bound_to_credential, bound_to_run

T = TypeVar("T")

ASK_FOR_S = 30.0
"""How long something that is not to be found (yet), or a vault that does not open, is asked again."""

OUTAGE_S = 900.0
"""How long a credential is looked for while the read models are away: its target is not at fault."""

FIRST_PAUSE_S, LAST_PAUSE_S = 0.1, 1.0
FORGOTTEN_AFTER_S = 60.0
"""So long after a failure nobody waits any more."""


class Unusable(Exception):
    """What the run needs cannot be had; a stable code and a message for people, which never holds a secret."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


@dataclass(frozen=True, slots=True, repr=False)
class Opened:
    """The run's parameters with secrets in clear. Has no repr: values are secret."""

    job: JobDefinition
    values: Mapping[str, Plain]
    secrets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Failure:
    """When something that was asked for was not answered last, and for how long nobody asks for it again."""

    at: float
    pause_s: float


class Materials:
    """Looks up and opens, each thing once; asks again, bounded, while a read model or the vault does not answer.

    All who wait for the same thing then ask together, as one: it may be a thousand steps.
    """

    def __init__(self, inventory: Inventory, vault: Vault, clock: Clock, sleep: Sleep) -> None:
        self._inventory = inventory
        self._vault = vault
        self._clock = clock
        self._sleep = sleep
        self._runs: dict[str, asyncio.Task[Opened]] = {}
        self._logins: dict[str, Login] = {}
        self._to_look_up: dict[str, asyncio.Task[Login]] = {}
        self._forms: dict[tuple[str, str], Forms] = {}
        self._to_ask: dict[tuple[str, ...], asyncio.Task[Any]] = {}
        self._failures: dict[tuple[str, ...], _Failure] = {}

    async def opened(self, run: str, request: RunRequested) -> Opened:
        """The job's revision and the run's parameters; waits while read model or vault cannot be asked.

        Raises `Unusable`: `job_not_found` or `secret_unavailable`.
        """
        task = self._runs.get(run)
        if task is None or (task.done() and not _succeeded(task)):
            task = self._runs[run] = _shared(self._open(run, request))
        return await asyncio.shield(task)

    async def login(self, credential: str) -> Login:
        """What opens targets with this credential now: one rotated or revoked before the call opens nothing after it.

        Waits while the read model cannot be asked. All who ask before a look-up begins share it. Raises `Unusable` with
        `credential_unavailable`.
        """
        task = self._to_look_up.get(credential)
        if task is None:
            task = self._to_look_up[credential] = _shared(self._log_in(credential))
        return await asyncio.shield(task)

    def forms(self, run: str, opened: Opened, login: Login) -> Forms:
        """What has to be masked in the output of this run's steps under this login."""
        key = (run, login.fingerprint)
        known = self._forms.get(key)
        if known is None:
            parts = (login.password, login.private_key, login.passphrase)
            known = self._forms[key] = Forms([*opened.secrets, *(part for part in parts if part)])
        return known

    def forget(self, run: str) -> None:
        """Let go of a run's secrets."""
        self._runs.pop(run, None)
        self._forms = {key: forms for key, forms in self._forms.items() if key[0] != run}

    async def _open(self, run: str, request: RunRequested) -> Opened:
        job = await self._job(request)
        values: dict[str, Plain] = {}
        secrets: list[str] = []
        for name, value in request.parameters.items():
            if isinstance(value, SealedValue):
                values[name] = await self._secret(value.sealed, bound_to_run(run, name), f"parameter {name}", inf)
                secrets.append(str(values[name]))
            else:
                values[name] = value
        return Opened(job, values, tuple(secrets))

    async def _job(self, request: RunRequested) -> JobDefinition:
        """The revision as soon as it is there: the read model may lag behind the log."""
        give_up_at = self._clock.monotonic() + ASK_FOR_S
        while True:
            about = ("job", request.job, str(request.job_revision))
            job = await self._asked(about, lambda: self._inventory.job(request.job, request.job_revision), inf)
            if job is not None:
                return job
            if self._clock.monotonic() >= give_up_at:
                raise Unusable("job_not_found", f"revision {request.job_revision} of job {request.job} is not to be found")
            await self._sleep(LAST_PAUSE_S)

    async def _secret(self, secret_id: str, bound_to: str, what: str, within_s: float) -> str:
        try:
            opened = await self._asked(("secret", secret_id, bound_to), lambda: self._vault.open(secret_id, bound_to), within_s)
            return opened.decode()
        except (SecretUnavailable, UnicodeDecodeError):
            raise Unusable("secret_unavailable", f"the secret of {what} cannot be opened") from None

    async def _asked(self, about: tuple[str, ...], ask: Callable[[], Awaitable[T]], within_s: float) -> T:
        """What `ask` brings, which all ask who want to know the same; asked again for so long while nobody answers."""
        give_up_at = self._clock.monotonic() + within_s
        while True:
            task: asyncio.Task[T] | None = self._to_ask.get(about)
            if task is None:
                task = self._to_ask[about] = _shared(self._ask_once(about, ask))
            try:
                return await asyncio.shield(task)
            except (InventoryUnavailable, VaultError):
                if self._clock.monotonic() >= give_up_at:
                    raise

    async def _ask_once(self, about: tuple[str, ...], ask: Callable[[], Awaitable[T]]) -> T:
        """Ask, after the pause that a failure has left behind. Whoever comes before it is asked shares the answer."""
        failure = self._failures.get(about)
        if failure is not None:
            await self._sleep(max(0.0, failure.at + failure.pause_s - self._clock.monotonic()))
        del self._to_ask[about]
        try:
            answer = await ask()
        except (InventoryUnavailable, VaultError):
            now = self._clock.monotonic()
            pause_s = min(2 * failure.pause_s, LAST_PAUSE_S) if failure else FIRST_PAUSE_S
            recent = {key: each for key, each in self._failures.items() if now - each.at < FORGOTTEN_AFTER_S}
            self._failures = {**recent, about: _Failure(now, pause_s)}
            raise
        self._failures.pop(about, None)
        return answer

    async def _log_in(self, name: str) -> Login:
        del self._to_look_up[name]
        try:
            entry = await self._asked(("credential", name), lambda: self._inventory.credential(name), OUTAGE_S)
            if entry is None:
                self._logins.pop(name, None)
                raise Unusable("credential_unavailable", f"credential {name} does not exist, or is revoked or shredded")
            login = self._logins[name] = await self._login_of(entry)
            return login
        except (InventoryUnavailable, VaultError):
            raise Unusable("credential_unavailable", f"credential {name} could not be looked up") from None
        except Unusable as error:
            raise Unusable("credential_unavailable", error.message) from None

    async def _login_of(self, entry: CredentialEntry) -> Login:
        fingerprint = f"{entry.name}@{entry.revision}"
        known = self._logins.get(entry.name)
        if known and known.fingerprint == fingerprint:
            return known
        bound_to = bound_to_credential(entry.name, entry.revision)
        clear = await self._secret(entry.secret, bound_to, f"credential {entry.name}", ASK_FOR_S)
        return _login(entry, fingerprint, clear)


def _shared(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """A task for all who want its result. When all of them have gone meanwhile nobody needs to be told that it failed."""
    task = asyncio.create_task(work)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return task


def _succeeded(task: asyncio.Task[T]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


def _login(entry: CredentialEntry, fingerprint: str, clear: str) -> Login:
    try:
        secret = orjson.loads(clear)
        match entry.kind:
            case "ssh_key":
                key, passphrase = secret["private_key"], secret.get("passphrase")
                return Login(fingerprint, secret["username"], private_key=key, passphrase=passphrase)
            case "password":
                return Login(fingerprint, secret["username"], password=secret["password"])
    except (ValueError, KeyError, TypeError, AttributeError):
        message = f"the secret of credential {entry.name} is not as its kind wants it"
        raise Unusable("credential_unavailable", message) from None
    raise Unusable("credential_unavailable", f"a credential of kind {entry.kind} opens no SSH target")
