"""Whatever is done to a user, a credential, a target or a job, in whatever order: versions count on, an end is an end."""

from itertools import pairwise

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from commands.deciders import TABLE
from domain.credential import CreateCredential, RevokeCredential, RotateCredential
from domain.decider import Companion
from domain.identity import kind_of
from domain.job.decide import ArchiveJob, DefineJob, ReviseJob
from domain.job.definition import CommandStep, JobDefinition
from domain.rejection import Rejection
from domain.target import (
    ChangeTarget,
    ConnectionChange,
    RecordTargetCheck,
    RegisterTarget,
    RequestTargetCheck,
    RetireTarget,
    SshConnection,
)
from domain.user.messages import (
    ChangePassword,
    ChangeUser,
    CreateFirstAdministrator,
    EndSessions,
    EraseUser,
    IssueToken,
    RecordSignIn,
    RevokeToken,
    SignInWithProvider,
    UnlinkIdentity,
)
from domain.user.state import UserState
from schemas.event_types import TABLE as EVENTS
from schemas.payload import adapter, to_json
from tests.support.builders import NOON
from tests.support.specification import decided, decider_of

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGG"
TEXTS = st.sampled_from(("", "a", "b", "\n", "=x"))


class Aggregate(RuleBasedStateMachine):
    """One stream and what was accepted on it so far."""

    stream = ""

    def __init__(self):
        super().__init__()
        self.state = decider_of(self.stream).initial_state
        self.events = []

    def companion(self):
        """What the decider sees of those that live with the stream."""
        return

    def told(self, command) -> bool:
        try:
            events = decided(self.stream, command, self.state, self.companion())
        except Rejection:
            return False
        for event in events:
            assert adapter(EVENTS[type(event).__name__][1]).validate_json(to_json(event)) == event
        self.state = decider_of(self.stream).fold(self.state, events)
        self.events += events
        return True

    def happened(self, *kinds: str) -> int:
        return sum(type(event).__name__ in kinds for event in self.events)

    @invariant()
    def the_state_is_the_fold_and_can_be_kept(self):
        assert decider_of(self.stream).fold(decider_of(self.stream).initial_state, self.events) == self.state
        kind = adapter(TABLE[kind_of(self.stream)].state)
        assert kind.validate_json(kind.dump_json(self.state)) == self.state


class UserMachine(Aggregate):
    stream = "user/admin"
    others: tuple[str, ...] = ()

    def companion(self):
        return Companion(None, self.others)

    @rule(name=st.sampled_from(("admin", "No")), password=TEXTS)
    def create(self, name, password):
        fits = name == "admin" and not self.events
        assert self.told(CreateFirstAdministrator(name, password)) is fits
        assert self.happened("UserCreated") <= 1

    @rule(others=st.sampled_from(((), ("bob",))))
    def there_is_another_administrator_or_none(self, others):
        self.others = others

    @rule(
        title=st.none() | TEXTS,
        roles=st.none() | st.lists(st.sampled_from(("administrator", "viewer", "root")), max_size=2).map(tuple),
        disabled=st.none() | st.booleans(),
    )
    def change(self, title, roles, disabled):
        acted = self.state.administers
        if self.told(ChangeUser(title, roles, disabled)):
            assert self.others or self.state.administers or not acted, "nobody is left who may act"
            assert roles is None or set(self.state.roles) == set(roles)
            assert disabled is None or self.state.disabled is disabled

    @rule(session=st.sampled_from(("s1", "s2", "s3")), password=st.sampled_from((None, "a", "pw")))
    def sign_in(self, session, password):
        had = session in self.state.sessions
        fits = password in (None, self.state.password) or had
        assert self.told(RecordSignIn(session, password)) is (bool(self.events) and not self.state.disabled and fits)

    @precondition(lambda self: len(self.events) > 8)
    @rule()
    def erase(self):
        acted = self.state.administers
        if self.told(EraseUser()):
            assert self.others or not acted, "nobody is left who may act"
            assert self.state == UserState("admin", disabled=True, erased=True)

    @rule(
        sessions=st.none() | st.lists(st.sampled_from(("s1", "s2")), max_size=2).map(tuple),
        keeps=st.none() | st.sampled_from(("s1", "s3")),
    )
    def end_sessions(self, sessions, keeps):
        had = set(self.state.sessions)
        if self.told(EndSessions(sessions, "sign_out", keeps)):
            assert keeps is None or keeps in had
            assert set(self.state.sessions) == (had & {keeps} if sessions is None else had - (set(sessions) - {keeps}))

    @rule(keeps=st.none() | st.sampled_from(("s1", "s2")), proved=st.sampled_from((None, "a", "pw")))
    def change_password(self, keeps, proved):
        fits = not self.state.erased and (proved is None or (proved == self.state.password and not self.state.disabled))
        assert self.told(ChangePassword("pw", proved, keeps)) is (bool(self.events) and fits)
        if self.events and fits:
            assert set(self.state.sessions) <= ({keeps} if proved else set())

    @rule(token=st.sampled_from(("t1", "t2")), revoke=st.booleans())
    def tokens(self, token, revoke):
        had = token in self.state.tokens
        if self.told(RevokeToken(token) if revoke else IssueToken(token, "", "h", None, NOON)):
            assert had is revoke and (token in self.state.tokens) is not revoke

    @invariant()
    def an_erased_user_stays_as_nobody(self):
        assert not self.happened("UserErased") or self.state == UserState("admin", disabled=True, erased=True)

    @invariant()
    def a_disabled_user_has_no_session(self):
        assert not (self.state.disabled and self.state.sessions)


class LinkedUserMachine(Aggregate):
    """Somebody whom an identity provider names, unlinked and given a password."""

    stream = "user/carol"

    @rule(identity=st.sampled_from(("c-1", "c-2")), roles=st.sampled_from(((), ("viewer",), ("viewer", "administrator"))))
    def sign_in_with_provider(self, identity, roles):
        was, new = self.state, not self.events
        told = self.told(SignInWithProvider("carol", identity, roles, f"s{len(self.events)}", "who", "title"))
        assert told is (bool(roles) if new else was.identity == identity and not was.disabled)
        assert not told or (set(self.state.roles), self.state.identity) == (set(roles), identity)

    @rule()
    def unlink(self):
        was = self.state
        assert self.told(UnlinkIdentity()) is was.is_linked
        if was.is_linked:
            assert self.state == UserState("carol", was.title, disabled=was.disabled, sealed_title=was.sealed_title)

    @rule(disabled=st.booleans(), roles=st.none() | st.just(("viewer",)))
    def change(self, disabled, roles):
        fits = roles is None or not self.state.is_linked or set(self.state.roles) == set(roles)
        assert self.told(ChangeUser(disabled=disabled, roles=roles)) is (bool(self.events) and fits)

    @rule()
    def give_a_password(self):
        assert self.told(ChangePassword("pw")) is (bool(self.events) and not self.state.is_linked)

    @rule(token=st.sampled_from(("t1", "t2")))
    def issue(self, token):
        self.told(IssueToken(token, "", "h", None, NOON))

    @invariant()
    def who_is_linked_has_no_password_and_is_linked_once(self):
        assert not (self.state.is_linked and self.state.password)
        assert self.happened("IdentityLinked") <= 1


class CredentialMachine(Aggregate):
    stream = "credential/c"

    @rule(kind=st.sampled_from(("ssh_key", "token")), title=TEXTS)
    def create(self, kind, title):
        known = bool(self.events)
        assert self.told(CreateCredential("c", kind, "s1", title)) is (not known and title != "\n")

    @rule(kind=st.sampled_from(("ssh_key", "token")), ahead=st.sampled_from((1, 1, 0, 2)))
    def rotate(self, kind, ahead):
        fits = bool(self.events) and not self.state.revoked and kind == self.state.kind and ahead == 1
        assert self.told(RotateCredential(kind, "s", self.state.revision + ahead)) is fits
        assert self.state.revision == self.happened("CredentialCreated", "CredentialRotated")

    @rule()
    def revoke(self):
        alive = bool(self.events) and not self.happened("CredentialRevoked")
        assert self.told(RevokeCredential()) is alive

    @invariant()
    def nothing_follows_a_revocation(self):
        if self.happened("CredentialRevoked"):
            assert type(self.events[-1]).__name__ == "CredentialRevoked"


class TargetMachine(Aggregate):
    stream = "target/t"

    @rule(host=st.sampled_from(("h", "")), key=st.sampled_from((KEY, None, "x")), value=TEXTS)
    def register(self, host, key, value):
        self.told(RegisterTarget("t", host, SshConnection("c", host_key=key), "", {"k": value}))
        assert self.happened("TargetRegistered") <= 1

    @rule(
        title=st.one_of(st.none(), TEXTS),
        host=st.sampled_from((None, "h", "h2", "-")),
        labels=st.one_of(st.none(), st.dictionaries(st.sampled_from(("k", "l", "name")), st.one_of(st.none(), TEXTS))),
        clear=st.booleans(),
        connection=st.one_of(
            st.none(),
            st.builds(
                ConnectionChange,
                st.sampled_from((None, 22, 0)),
                st.sampled_from((None, "c", "d")),
                st.sampled_from((None, KEY)),
                st.booleans(),
            ),
        ),
    )
    def change(self, title, host, labels, clear, connection):
        before = len(self.events)
        if self.told(command := ChangeTarget(title, host, labels, clear, connection)):
            assert len(self.events) - before <= 4
            again = len(self.events)
            assert self.told(command) and len(self.events) == again, "the same change again changes nothing"

    @rule(check=st.sampled_from(("c1", "c2")))
    def request_check(self, check):
        self.told(RequestTargetCheck(check))

    @rule(check=st.sampled_from(("c1", "c2", "c3")), reachable=st.booleans())
    def record_check(self, check, reachable):
        open_before, before = check in self.state.open_checks, self.happened("TargetChecked")
        self.told(RecordTargetCheck(check, reachable))
        assert self.happened("TargetChecked") - before == open_before
        assert not open_before or self.state.reachable is reachable

    @rule(seldom=st.integers(0, 5))
    def retire(self, seldom):
        if seldom == 0:
            self.told(RetireTarget())
        assert self.happened("TargetRetired") <= 1

    @invariant()
    def only_open_checks_end_after_retiring(self):
        if self.state.retired:
            names = [type(event).__name__ for event in self.events]
            after = set(names[names.index("TargetRetired") + 1 :])
            assert after <= {"TargetChecked", "TargetReachabilityChanged"}

    @invariant()
    def reachability_alternates(self):
        changes = [event.reachable for event in self.events if type(event).__name__ == "TargetReachabilityChanged"]
        assert all(one is not other for one, other in pairwise(changes))


class JobMachine(Aggregate):
    stream = "job/j"
    definitions = st.builds(
        lambda title, run: JobDefinition(targets="a", title=title, steps=(CommandStep(name="s", run=run),)),
        st.sampled_from(("a", "b", "\n")),
        st.sampled_from(("true", "echo {{ run.id }}", "echo {{ nothing }}")),
    )

    @rule(definition=definitions)
    def define(self, definition):
        fits = not self.events and definition.title != "\n" and "nothing" not in definition.steps[0].run
        assert self.told(DefineJob("j", definition)) is fits

    @rule(definition=definitions)
    def revise(self, definition):
        if self.told(ReviseJob(definition)):
            assert self.state.definition == definition
        assert self.state.revision == self.happened("JobDefined", "JobRevised")
        assert [e.revision for e in self.events if hasattr(e, "revision")] == list(range(1, self.state.revision + 1))

    @rule(seldom=st.integers(0, 3))
    def archive(self, seldom):
        if seldom == 0:
            self.told(ArchiveJob())

    @invariant()
    def nothing_follows_archiving(self):
        if self.happened("JobArchived"):
            assert type(self.events[-1]).__name__ == "JobArchived" and self.happened("JobArchived") == 1


TestUser, TestLinkedUser, TestCredential = UserMachine.TestCase, LinkedUserMachine.TestCase, CredentialMachine.TestCase
TestTarget, TestJob = TargetMachine.TestCase, JobMachine.TestCase
for _case in (TestUser, TestLinkedUser, TestCredential, TestTarget, TestJob):
    _case.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)
