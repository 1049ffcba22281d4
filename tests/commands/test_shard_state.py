"""What a shard knows is staged, then committed or discarded; saved only when committed; and bounded."""

from commands import deciders
from commands.shard_state import ShardState
from commands.state_form import fingerprint, outcome_from_bytes, roster_from_bytes, state_from_bytes
from commands.state_store import Found, Mark
from domain.identity import JOB, RUN
from domain.user.messages import ChangeUser, CreateFirstAdministrator, CreateUser
from schemas.position import Partition, Position
from tests.commands.shard import Shard, codes_of
from tests.support.builders import claim_run, define_job, envelope, fail_run, register_target, request_run, retitle_target, run_of

OUTCOMES = Partition("outcomes", 0)
ADMIN, BOB = "user/admin", "user/bob"


def test_a_command_sees_what_an_earlier_one_of_its_batch_did():
    settled = Shard().settle(register_target(), retitle_target(expected_version=1), retitle_target(title="b", expected_version=2))
    assert codes_of(settled) == ["accepted"] * 3
    assert [one.outcome.result.version for one in settled] == [1, 2, 3]


def test_what_is_discarded_never_was():
    shard = Shard()
    shard.settle(register_target())
    shard.discard()
    assert codes_of(shard.settle(retitle_target())) == ["target_not_found"]
    assert not shard.state.is_dirty


def test_what_is_committed_stays_when_the_next_transaction_is_discarded():
    shard = Shard()
    shard.settle(register_target())
    shard.commit()
    shard.settle(retitle_target())
    shard.discard()
    assert codes_of(shard.settle(retitle_target(expected_version=1))) == ["accepted"]


def test_what_is_staged_behind_a_sealed_transaction_sees_it_and_is_committed_after_it():
    shard, command = Shard(), register_target()
    (first,) = shard.settle(command)
    shard.state.seal()
    second, again = shard.settle(retitle_target(expected_version=1), command)
    assert second.outcome.result.version == 2
    assert second.events[0].previous_hash == first.events[0].hash
    assert again.repeated and again.outcome == first.outcome
    assert not shard.state.is_dirty
    shard.state.commit([Position("targets", 0, 0)])
    assert shard.state.changes().streams["target/web-01"].version == 1
    shard.state.seal()
    shard.state.commit([Position("targets", 0, 1)])
    assert shard.state.changes().streams["target/web-01"].version == 2


def test_what_is_staged_behind_a_sealed_transaction_is_discarded_with_it():
    shard = Shard()
    shard.settle(register_target())
    shard.state.seal()
    shard.settle(retitle_target())
    shard.discard()
    assert codes_of(shard.settle(retitle_target())) == ["target_not_found"]
    assert not shard.state.is_dirty


def test_only_what_is_committed_is_to_be_saved():
    shard = Shard()
    first = register_target("a")
    shard.settle(first)
    shard.commit()
    shard.settle(register_target("b"))
    changes = shard.state.changes()
    assert set(changes.streams) == {"target/a"}
    assert set(changes.outcomes) == {first.command_id}
    assert changes.mark.positions == {Partition("targets", 0): 3}
    shard.state.saved()
    shard.commit()
    assert set(shard.state.changes().streams) == {"target/b"}


def test_what_was_saved_and_loaded_again_decides_the_same():
    run = run_of()
    shard = Shard()
    shard.settle(register_target(), define_job(), request_run(run), claim_run(run))
    shard.commit()
    changes = shard.state.changes()
    for stream, kept in changes.streams.items():
        assert state_from_bytes(stream, kept) == shard.state.stream(stream)
    assert {key: roster_from_bytes(raw) for key, raw in changes.rosters.items()} == {f"{JOB}/backup": (run,)}
    for command_id, raw in changes.outcomes.items():
        assert outcome_from_bytes(raw) == shard.state.remembered(command_id)


def test_a_finished_run_keeps_only_its_result():
    run = run_of()
    shard = Shard()
    shard.settle(define_job(), request_run(run), claim_run(run), fail_run(run))
    shard.commit()
    changes = shard.state.changes()
    assert len(changes.streams[f"{RUN}/{run}"].state) < 100
    assert changes.rosters[f"{JOB}/backup"] == b"[]"


def test_an_end_of_outcomes_counts_only_once_a_commit_shows_that_the_shard_is_still_owned():
    """A process paused before its save would else claim to know what another owner wrote meanwhile."""
    state = ShardState(0, Mark({OUTCOMES: 5}), 10)
    state.outcomes_seen(9)
    assert state.changes().mark.positions[OUTCOMES] == 5
    state.discard()
    assert state.changes().mark.positions[OUTCOMES] == 5
    state.commit([Position("targets", 0, 7)])
    assert state.changes().mark.positions == {OUTCOMES: 9, Partition("targets", 0): 8}


def test_a_run_needs_its_job_and_its_jobs_roster_and_nothing_twice():
    run = f"{RUN}/{run_of()}"
    command = request_run()
    state = ShardState(0, Mark(), 10)
    needs = state.needs([run, run, "target/a", "nonsense"], [command.command_id])
    assert list(needs.streams) == [run, "job/backup", "target/a"]
    assert list(needs.rosters) == ["job/backup", "target/a"]
    assert list(needs.outcomes) == [command.command_id]
    state.admit(needs, Found())
    assert not state.needs([run, "target/a"], [])


def test_memory_keeps_the_most_recently_used_and_everything_not_saved():
    shard = Shard()
    shard.state = ShardState(0, Mark(), 10)
    shard.settle(*[register_target(f"t-{n}") for n in range(50)])
    shard.commit()
    shard.state.trim()
    assert shard.state.entries >= 100, "nothing may be dropped that is not saved"
    shard.state.saved()
    assert shard.state.entries == 20
    assert not shard.state.needs([f"target/t-{n}" for n in range(40, 50)], [])


def test_the_fingerprint_tells_software_versions_and_shapes_of_state_apart(monkeypatch):
    assert fingerprint("1.0") == fingerprint("1.0")
    assert fingerprint("1.0") != fingerprint("1.1")
    before = fingerprint("1.0")
    monkeypatch.setitem(deciders.TABLE, "target", deciders.TABLE["user"])
    assert fingerprint("1.0") != before


def test_of_two_administrators_who_remove_each_other_in_one_batch_one_stays():
    shard = Shard()
    shard.settle(envelope(CreateFirstAdministrator("admin", "pw"), ADMIN))
    shard.settle(envelope(CreateUser("bob", None, ("administrator",), "pw"), BOB))
    shard.commit()
    settled = shard.settle(envelope(ChangeUser(roles=()), BOB), envelope(ChangeUser(disabled=True), ADMIN))
    assert codes_of(settled) == ["accepted", "last_administrator"]


def test_a_disabled_administrator_is_listed_again_once_enabled_also_after_a_discarded_change():
    shard = Shard()
    shard.settle(envelope(CreateFirstAdministrator("admin", "pw"), ADMIN))
    shard.settle(envelope(CreateUser("bob", None, ("administrator",), "pw"), BOB))
    shard.commit()
    shard.settle(envelope(ChangeUser(disabled=True), BOB))
    assert shard.state.unfinished("user/admin") == ("admin",)
    shard.discard()
    assert shard.state.unfinished("user/admin") == ("admin", "bob")
    shard.settle(envelope(ChangeUser(disabled=True), ADMIN), envelope(ChangeUser(disabled=False), ADMIN))
    shard.commit()
    assert shard.state.unfinished("user/admin") == ("bob", "admin")
