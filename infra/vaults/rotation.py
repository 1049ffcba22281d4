"""How do all secrets come under a new master key while they are sealed and opened all the time?

    1. the new key is put where every process finds it            (the file, or the setting: `infra.wiring.master_key_rotation`)
    2. it is brought into force: a row in `vault_master_keys`     (from then on nobody seals under an older one)
    3. every data key is wrapped anew, a few rows a transaction
    4. all rows are looked at; the old key may go when none needs it

Who seals reads which key is in force in the transaction that keeps the secret, and 2 waits for those that have begun: after it
no row under an older key can come, so a look at all rows is final. A row is only replaced as it was read (compare and swap): one
that was destroyed meanwhile stays destroyed. Each step can be done again by anybody, also by several at once, so a rotation
that was killed anywhere is gone on with by doing it again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from infra.vaults.key_ring import KeyRing
from infra.vaults.master_key import BadMasterKey
from infra.vaults.sealed import MasterKeyAbsent, Sealed, data_key_of, wrapped_anew
from infra.vaults.tables import SEALING_LOCK, in_force, master_keys, secrets
from infra.vaults.traces import zeroing
from schemas.vault import SIGNING_KEY, SIGNING_KEY_BOUND_TO, SecretUnavailable

AT_ONCE = 50
"""How many rows are wrapped anew in one transaction."""

Bound = Callable[[], Mapping[str, str]]
"""What secrets are for, by id; asked only when there are rows of the first form, whose data keys need it."""


@dataclass(frozen=True, slots=True)
class Rows:
    """How the vault is: which master key is in force, how many secrets are under each version."""

    in_force: int | None
    by_version: Mapping[int, int]

    @property
    def left(self) -> int:
        """How many secrets are under another key than the one in force."""
        return sum(count for version, count in self.by_version.items() if version != self.in_force)


def rows_of(connection: Connection) -> Rows:
    """How the vault is."""
    version = secrets.c.key_version
    counted = select(version, func.count().label("secrets")).group_by(version).order_by(version)
    return Rows(in_force(connection), {row.key_version: row.secrets for row in connection.execute(counted)})


def settle_keys(connection: Connection, ring: KeyRing) -> None:
    """Check the keys at hand against the vault; on the first start bring one into force. Raises `BadMasterKey`."""
    try:
        known = {row.version: row.proof for row in connection.execute(select(master_keys))}
        rows = rows_of(connection)
        if not known:
            _begin_with(connection, ring, rows)
            return
        for version in sorted({*filter(None, [rows.in_force]), *rows.by_version}):
            if ring.proof_of(version) != known.get(version):
                raise BadMasterKey(f"master key {version} is another one than the vault's: it would open none of its secrets")
    except MasterKeyAbsent as absent:
        raise BadMasterKey(f"the vault holds secrets under a master key that is not among those given: {absent}") from None


def _begin_with(connection: Connection, ring: KeyRing, rows: Rows) -> None:
    version = max(rows.by_version, default=max(ring.masters))
    first = connection.execute(select(secrets).where(secrets.c.secret_id == SIGNING_KEY)).one_or_none()
    if first is not None:  # the one that every installation has: a wrong key is not written down as the right one
        try:
            kept = Sealed(first.key_version, first.wrapped, first.sealed)
            data_key_of(ring.holding(first.key_version), SIGNING_KEY, SIGNING_KEY_BOUND_TO, kept)
        except SecretUnavailable:
            raise BadMasterKey("the master key opens none of the vault's secrets") from None
    connection.execute(insert(master_keys).values(version=version, proof=ring.proof_of(version)))


def bring_into_force(writer: Engine, ring: KeyRing, version: int) -> None:
    """Step 2. Nothing happens when it, or a newer one, is in force already. Raises `MasterKeyAbsent`."""
    proof = ring.proof_of(version)
    try:
        with writer.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": SEALING_LOCK})
            if (in_force(connection) or 0) < version:
                connection.execute(insert(master_keys).values(version=version, proof=proof))
    except IntegrityError:
        return  # another was quicker


def wrap_some(writer: Engine, ring: KeyRing, bound: Bound, after: str = "") -> str | None:
    """Step 3 for some rows whose ids come after `after`: the last one's id; None without any. Raises `MasterKeyAbsent`."""
    with writer.begin() as connection:
        version = in_force(connection)
        if version is None:
            return None
        old = select(secrets).where(secrets.c.key_version != version, secrets.c.secret_id > after)
        rows = connection.execute(old.order_by(secrets.c.secret_id).limit(AT_ONCE)).all()
    if not rows:
        return None
    kept = {row.secret_id: Sealed(row.key_version, row.wrapped, row.sealed) for row in rows}
    purposes = bound() if any(each.names_its_purpose for each in kept.values()) else {}
    anew: dict[str, Sealed] = {}
    for ident, each in kept.items():
        try:
            ring.holding(version)
            anew[ident] = wrapped_anew(ring.holding(each.key_version), version, ident, purposes.get(ident), each)
        except SecretUnavailable:
            continue  # it is told of by `rows_of` and `check`
    with writer.begin() as connection, zeroing(connection):
        for ident, new in anew.items():
            _swap(connection, ident, kept[ident], new)
    return str(rows[-1].secret_id)


def _swap(connection: Connection, ident: str, old: Sealed, new: Sealed) -> None:
    same = (secrets.c.secret_id == ident, secrets.c.key_version == old.key_version, secrets.c.wrapped == old.wrapped)
    connection.execute(update(secrets).where(*same).values(key_version=new.key_version, wrapped=new.wrapped))


def wrap_all(writer: Engine, ring: KeyRing, bound: Bound) -> None:
    """Step 3. Raises `MasterKeyAbsent`."""
    after: str | None = ""
    while after is not None:
        after = wrap_some(writer, ring, bound, after)


def check(reader: Engine, ring: KeyRing, bound: Bound) -> dict[str, int]:
    """Step 4: try every data key; the ids of those not under the key in force, or that do not open, and their keys' versions."""
    wrong: dict[str, int] = {}
    after, known = "", None
    while rows := _page(reader, after):
        with reader.begin() as connection:
            version = in_force(connection)
        for ident, kept in rows.items():
            if kept.names_its_purpose and known is None:
                known = bound()
            if kept.key_version != version or not _opens(ring, ident, (known or {}).get(ident), kept):
                wrong[ident] = kept.key_version
        after = list(rows)[-1]  # the last as the database orders them
    return wrong


def check_against(reader: Engine, ring: KeyRing) -> str:
    """Which master keys these are not, of those that a vault's secrets are under: their versions, or nothing when all are right.

    A secret of the first form tells only whether a key of its version is there, except the one that every installation has.
    """
    lacking: set[int] = set()
    after, known = "", {SIGNING_KEY: SIGNING_KEY_BOUND_TO}
    while rows := _page(reader, after):
        for ident, kept in rows.items():
            cannot_tell = kept.names_its_purpose and ident not in known and kept.key_version in ring.masters
            if not cannot_tell and not _opens(ring, ident, known.get(ident), kept):
                lacking.add(kept.key_version)
        after = list(rows)[-1]  # the last as the database orders them
    return ", ".join(map(str, sorted(lacking)))


def _page(reader: Engine, after: str) -> dict[str, Sealed]:
    query = select(secrets).where(secrets.c.secret_id > after).order_by(secrets.c.secret_id).limit(10 * AT_ONCE)
    with reader.begin() as connection:
        return {row.secret_id: Sealed(row.key_version, row.wrapped, row.sealed) for row in connection.execute(query)}


def _opens(ring: KeyRing, ident: str, bound_to: str | None, kept: Sealed) -> bool:
    try:
        data_key_of(ring.holding(kept.key_version), ident, bound_to, kept)
    except (SecretUnavailable, MasterKeyAbsent):
        return False
    return True
