"""The installation's keys, as the audit trail tells of them: which sign access tokens, and which master key seals secrets.

The keys themselves are in the vault or with the operator, never here; a `kid` may be seen. All keys share one stream. What is
said of a signing key is in the log before it is done in the vault; a master key is the operator's doing, told of afterwards.

Commands, events, state, fold and decide, in that order. Event names and fields are stored for ever.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from domain.decider import Companion, Decider
from domain.rejection import Conflict


@dataclass(frozen=True, slots=True)
class AddSigningKey:
    """Have another key that signs access tokens from `signs_from` on."""

    kid: str
    signs_from: datetime


@dataclass(frozen=True, slots=True)
class RetireSigningKey:
    """Take a signing key away: what it signed is refused. `others` are those that would go on signing."""

    kid: str
    others: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RecordMasterKey:
    """The master key of this version is in force: whatever is sealed is sealed under it."""

    version: int


@dataclass(frozen=True, slots=True)
class RecordSecretsWrapped:
    """All secrets are under the master key of this version: no older one is needed."""

    version: int


Command = AddSigningKey | RetireSigningKey | RecordMasterKey | RecordSecretsWrapped


@dataclass(frozen=True, slots=True)
class SigningKeyAdded:
    """Somebody made a signing key."""

    kid: str
    signs_from: datetime


@dataclass(frozen=True, slots=True)
class SigningKeyRetired:
    """Somebody took a signing key away."""

    kid: str


@dataclass(frozen=True, slots=True)
class MasterKeyChanged:
    """Secrets are sealed under this version of the master key from now on."""

    version: int


@dataclass(frozen=True, slots=True)
class SecretsWrapped:
    """All secrets are under this version of the master key, those from before as well."""

    version: int


Event = SigningKeyAdded | SigningKeyRetired | MasterKeyChanged | SecretsWrapped


@dataclass(frozen=True, slots=True)
class KeysState:
    """What was told: signing keys by `kid`, the master key in force and the one that all secrets are under (0: none)."""

    signing: tuple[str, ...] = ()
    retired: tuple[str, ...] = ()
    master: int = 0
    wrapped: int = 0


def fold(state: KeysState, events: Sequence[Event]) -> KeysState:
    """The state after `events`."""
    for event in events:
        match event:
            case SigningKeyAdded(kid):
                state = replace(state, signing=(*state.signing, kid))
            case SigningKeyRetired(kid):
                left = tuple(other for other in state.signing if other != kid)
                state = replace(state, signing=left, retired=(*state.retired, kid))
            case MasterKeyChanged(version):
                wrapped = state.wrapped if state.master else version  # the first: there is nothing under another one
                state = replace(state, master=version, wrapped=wrapped)
            case SecretsWrapped(version):
                state = replace(state, wrapped=version)
    return state


def decide(command: Command, state: KeysState, companion: Companion | None = None) -> Sequence[Event]:
    """The events that `command` causes in `state`; none for what is so already, or was overtaken.

    Whether there is such a key is the vault's to say. That not all are taken away at once is decided here, one after the other.
    """
    match command:
        case AddSigningKey(kid, signs_from) if kid not in (*state.signing, *state.retired):
            return [SigningKeyAdded(kid, signs_from)]
        case RetireSigningKey(kid, others) if kid not in state.retired:
            if set(others) <= set(state.retired):
                raise Conflict("only_signing_key", "no other key signs")
            return [SigningKeyRetired(kid)]
        case RecordMasterKey(version) if version > state.master:
            return [MasterKeyChanged(version)]
        case RecordSecretsWrapped(version) if version > state.wrapped:
            return [SecretsWrapped(version)]
    return []


DECIDER: Decider[Command, KeysState, Event] = Decider(KeysState(), decide, fold)
