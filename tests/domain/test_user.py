"""What may become of a user: made, changed, disabled, signed in, given tokens?"""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from domain.access import PERMISSIONS, ROLES
from domain.decider import Companion
from domain.user.decide import DECIDER, MAX_SESSIONS, MAX_TOKENS
from domain.user.messages import (
    ChangePassword,
    ChangeUser,
    CreateFirstAdministrator,
    CreateUser,
    EndSessions,
    EraseUser,
    IdentityLinked,
    IdentityUnlinked,
    IssueToken,
    PasswordChanged,
    RecordSignIn,
    RecordSignInFailures,
    RevokeToken,
    RoleGranted,
    RoleRevoked,
    SessionsEnded,
    SignedIn,
    SignInsFailed,
    SignInWithProvider,
    TitleChanged,
    TokenIssued,
    TokenRevoked,
    UnlinkIdentity,
    UserCreated,
    UserDisabled,
    UserEnabled,
    UserErased,
    UserLinked,
    UserRetitled,
)
from domain.user.state import UserState, digest_before
from tests.support.specification import beside, folded, given

ADMIN, BOB = "user/admin", "user/bob"
MADE = [UserCreated("admin", "pw-1"), RoleGranted("administrator")]
BORN = [UserCreated("bob", "pw-1"), TitleChanged("title-1"), RoleGranted("operator")]
BEFORE = [UserCreated("bob", "pw-1", "Bob"), RoleGranted("operator")]
"""As it was written when titles stood in events in clear."""
NOON, LATER = datetime(2026, 1, 1, 12, tzinfo=UTC), datetime(2026, 1, 1, 13, tzinfo=UTC)
ISSUE = IssueToken("t1", "CI", "h1", ("runs.start",), LATER)
ISSUED = TokenIssued("t1", "CI", "h1", ("runs.start",), LATER)


def administrators(*names):
    """What a user's decider sees of the others: who may act as administrator."""
    return beside(ADMIN, MADE, names)


def test_the_first_administrator_is_created_with_the_role():
    given(ADMIN, []).when(CreateFirstAdministrator("admin", "pw-1")).then(MADE)


def test_an_existing_user_is_not_made_again_whatever_the_password():
    given(ADMIN, MADE).when(CreateFirstAdministrator("admin", "pw-2")).then_rejected("user_exists")
    given(BOB, BORN).when(CreateUser("bob")).then_rejected("user_exists")
    given(BOB, [*BORN, UserDisabled()]).when(CreateUser("bob")).then_rejected("user_exists")


@pytest.mark.parametrize("name", ["", "Admin", "-a", "a-", "a b", "a" * 64, "ädmin", "a\n", "a.b", "a/b"])
@pytest.mark.parametrize("command", [lambda name: CreateFirstAdministrator(name, "pw-1"), CreateUser])
def test_a_name_that_is_no_slug_is_refused(name, command):
    given(ADMIN, []).when(command(name)).then_rejected("validation_failed", "name")


def test_a_person_is_made_with_title_and_roles_and_a_service_account_without_a_password():
    person = CreateUser("bob", "title-1", ("operator", "auditor"), "pw-1")
    given(BOB, []).when(person).then([*BORN, RoleGranted("auditor")])
    given(BOB, []).when(CreateUser("bob", roles=("viewer",))).then([UserCreated("bob", None), RoleGranted("viewer")])


def test_wrong_roles_are_named():
    command = CreateUser("bob", None, ("operator", "root", "operator"))
    given(BOB, []).when(command).then_rejected("validation_failed", "roles.1", "roles.2")
    given(BOB, BORN).when(ChangeUser(roles=("x",))).then_rejected("validation_failed", "roles.0")


def test_only_what_differs_changes():
    given(BOB, BORN).when(ChangeUser()).then_nothing()
    given(BOB, BORN).when(ChangeUser("title-1", ("operator",), False)).then_nothing()
    command = ChangeUser("title-2", ("auditor",), True)
    changed = [TitleChanged("title-2"), RoleGranted("auditor"), RoleRevoked("operator"), UserDisabled()]
    given(BOB, BORN).when(command).then(changed)
    given(BOB, [*BORN, UserDisabled()]).when(ChangeUser(disabled=False)).then([UserEnabled()])


@pytest.mark.parametrize("change", [ChangeUser(roles=("viewer",)), ChangeUser(roles=()), ChangeUser(disabled=True)])
def test_the_last_administrator_who_may_act_stays_one(change):
    given(ADMIN, MADE, administrators("admin")).when(change).then_rejected("last_administrator")
    given(ADMIN, MADE, administrators()).when(change).then_rejected("last_administrator")


def test_one_administrator_of_two_may_go_and_then_the_other_stays():
    given(ADMIN, MADE, administrators("admin", "bob")).when(ChangeUser(disabled=True)).then([UserDisabled()])
    given(BOB, [*BORN, RoleGranted("administrator")], administrators("bob")).when(ChangeUser(disabled=True)).then_rejected(
        "last_administrator"
    )


def test_a_service_account_is_no_administrator_to_rest_on_until_it_has_a_password():
    service = [UserCreated("bob", None), RoleGranted("administrator")]
    assert not folded(BOB, service).administers
    assert folded(BOB, [*service, PasswordChanged("pw-1", True)]).administers


def test_a_disabled_administrator_may_lose_the_role_whoever_else_there_is():
    history = [*MADE, UserDisabled()]
    given(ADMIN, history, administrators("bob")).when(ChangeUser(roles=())).then([RoleRevoked("administrator")])
    given(ADMIN, history, administrators()).when(ChangeUser("gone")).then([TitleChanged("gone")])


def test_a_title_is_taken_away_once_also_one_that_stands_in_clear_in_an_event_from_before():
    for history in (BORN, BEFORE, [*BEFORE, UserRetitled("Robert")], [*BORN, UserRetitled("Robert")]):
        after = given(BOB, history).when(ChangeUser("")).then([TitleChanged(None)])
        given(BOB, after).when(ChangeUser("")).then_nothing()
    given(BOB, [UserCreated("bob", None)]).when(ChangeUser("")).then_nothing()


def test_events_from_before_still_say_the_title_until_a_sealed_one_takes_its_place():
    assert folded(BOB, BEFORE).title == "Bob"
    retitled = folded(BOB, [*BEFORE, UserRetitled("Robert")])
    assert (retitled.title, retitled.sealed_title) == ("Robert", None)
    sealed = folded(BOB, given(BOB, BEFORE).when(ChangeUser("title-1")).then([TitleChanged("title-1")]))
    assert (sealed.title, sealed.sealed_title) == ("", "title-1")


LIVED = [*BORN, SignedIn("s1"), ISSUED, PasswordChanged("pw-2", True, "s1")]
ERASED = [*LIVED, UserErased()]


def test_an_erased_user_is_nobody_any_more_and_keeps_the_name():
    assert folded(BOB, given(BOB, LIVED).when(EraseUser()).then([UserErased()])) == UserState("bob", disabled=True, erased=True)


def test_erasing_again_changes_nothing():
    given(BOB, ERASED).when(EraseUser()).then_nothing()


@pytest.mark.parametrize(
    "command",
    [
        ChangeUser(disabled=False),
        ChangeUser("title-2"),
        ChangeUser(roles=("viewer",)),
        ChangePassword("pw-3"),
        RecordSignIn("s2"),
        ISSUE,
        RevokeToken("t1"),
        SignInWithProvider("bob", "b-digest", ("viewer",), "s2"),
        UnlinkIdentity(),
    ],
    ids=lambda command: type(command).__name__,
)
def test_an_erased_user_gets_nothing_back(command):
    given(BOB, ERASED).when(command).then_rejected("user_erased")


def test_an_erased_user_s_name_is_not_given_to_another():
    given(BOB, ERASED).when(CreateUser("bob")).then_rejected("user_exists")
    given(BOB, ERASED).when(CreateFirstAdministrator("bob", "pw-3")).then_rejected("user_exists")


def test_wrong_passwords_for_an_erased_user_are_told_and_there_are_no_sessions_to_end():
    given(BOB, ERASED).when(RecordSignInFailures(7, NOON, LATER)).then([SignInsFailed(7, NOON, LATER)])
    given(BOB, ERASED).when(EndSessions(None, "sign_out")).then_nothing()


def test_the_last_administrator_is_not_erased():
    given(ADMIN, MADE, administrators("admin")).when(EraseUser()).then_rejected("last_administrator")
    given(ADMIN, MADE, administrators("admin", "bob")).when(EraseUser()).then([UserErased()])
    given(ADMIN, [*MADE, UserDisabled()], administrators("bob")).when(EraseUser()).then([UserErased()])


def test_whom_the_provider_names_after_an_erasure_is_somebody_new_under_another_name_alone():
    erased = [*LINKED, UserErased()]
    assert DECIDER.is_finished(folded(CAROL, erased)), "it is told to the others no more"
    given(CAROL, erased).when(by_provider()).then_rejected("user_erased")


def test_a_new_password_ends_every_session_but_the_one_it_was_changed_in():
    history = [*BORN, SignedIn("s1"), SignedIn("s2")]
    after = given(BOB, history).when(ChangePassword("pw-2", "pw-1", "s2")).then([PasswordChanged("pw-2", False, "s2")])
    assert folded(BOB, after).sessions == ("s2",)
    after = given(BOB, history).when(ChangePassword("pw-2")).then([PasswordChanged("pw-2", True)])
    assert folded(BOB, after).sessions == ()


def test_a_session_that_is_over_is_not_kept_by_a_new_password():
    given(BOB, BORN).when(ChangePassword("pw-2", "pw-1", "s9")).then([PasswordChanged("pw-2", False)])


def test_a_password_replaced_while_it_was_being_hashed_neither_opens_a_session_nor_sets_another_one():
    history = [*BORN, SignedIn("s1"), PasswordChanged("pw-2", True)]
    given(BOB, history).when(RecordSignIn("s2", "pw-1")).then_rejected("password_changed")
    given(BOB, history).when(ChangePassword("pw-3", "pw-1", "s1")).then_rejected("password_changed")
    given(BOB, history).when(RecordSignIn("s2", "pw-2")).then([SignedIn("s2")])
    given(BOB, history).when(ChangePassword("pw-3", "pw-2")).then([PasswordChanged("pw-3", False)])


def test_a_disabled_user_changes_no_password_but_an_administrator_may_give_another():
    history = [*BORN, UserDisabled()]
    given(BOB, history).when(ChangePassword("pw-2", "pw-1")).then_rejected("user_disabled")
    given(BOB, history).when(ChangePassword("pw-2")).then([PasswordChanged("pw-2", True)])


def test_signing_in_begins_a_session_once():
    history = given(BOB, BORN).when(RecordSignIn("s1")).then([SignedIn("s1")])
    given(BOB, history).when(RecordSignIn("s1")).then_nothing()


def test_a_session_too_many_ends_the_oldest():
    history = [*BORN, *(SignedIn(f"s{n}") for n in range(MAX_SESSIONS))]
    after = given(BOB, history).when(RecordSignIn("new")).then([SessionsEnded(("s0",), "too_many"), SignedIn("new")])
    assert len(folded(BOB, after).sessions) == MAX_SESSIONS


def test_a_disabled_user_neither_signs_in_nor_gets_a_token_and_has_no_session_left():
    history = [*BORN, SignedIn("s1"), UserDisabled()]
    assert folded(BOB, history).sessions == ()
    given(BOB, history).when(RecordSignIn("s2")).then_rejected("user_disabled")
    given(BOB, history).when(ISSUE).then_rejected("user_disabled")


def test_sessions_end_some_or_all_and_what_is_over_ends_no_more():
    history = [*BORN, SignedIn("s1"), SignedIn("s2")]
    after = given(BOB, history).when(EndSessions(("s1", "s9"), "sign_out")).then([SessionsEnded(("s1",), "sign_out")])
    given(BOB, after).when(EndSessions(("s1",), "sign_out")).then_nothing()
    given(BOB, history).when(EndSessions(None, "refresh_token_reused")).then(
        [SessionsEnded(("s1", "s2"), "refresh_token_reused")]
    )


def test_a_session_ends_all_others_and_goes_on_but_one_that_is_over_ends_none():
    history = [*BORN, SignedIn("s1"), SignedIn("s2"), SignedIn("s3")]
    after = given(BOB, history).when(EndSessions(None, "sign_out", "s2")).then([SessionsEnded(("s1", "s3"), "sign_out")])
    given(BOB, after).when(EndSessions(None, "sign_out", "s2")).then_nothing()
    given(BOB, after).when(EndSessions(None, "sign_out", "s1")).then_rejected("session_not_found")


def test_failed_sign_ins_are_recorded_by_the_window():
    given(BOB, BORN).when(RecordSignInFailures(7, NOON, LATER)).then([SignInsFailed(7, NOON, LATER)])


def test_a_token_is_issued_once_and_revoked_once():
    history = given(BOB, BORN).when(ISSUE).then([ISSUED])
    given(BOB, history).when(ISSUE).then_rejected("token_exists")
    after = given(BOB, history).when(RevokeToken("t1")).then([TokenRevoked("t1")])
    given(BOB, after).when(RevokeToken("t1")).then_rejected("token_not_found")


def test_lists_of_roles_and_permissions_name_each_once_and_are_bounded():
    twice = IssueToken("t1", "", "h1", ("runs.start", "runs.start"), LATER)
    given(BOB, BORN).when(twice).then_rejected("validation_failed", "permissions.1")
    many = IssueToken("t1", "", "h1", ("runs.start",) * 30_000, LATER)
    given(BOB, BORN).when(many).then_rejected("validation_failed", "permissions")
    given(BOB, BORN).when(ChangeUser(roles=("viewer",) * 30_000)).then_rejected("validation_failed", "roles")


def test_a_token_expires_at_a_time_that_can_be_told_in_utc():
    beyond = datetime(9999, 12, 31, 23, 30, tzinfo=timezone(timedelta(hours=-1)))
    given(BOB, BORN).when(IssueToken("t1", "", "h1", None, beyond)).then_rejected("validation_failed", "expires_at")


def test_a_token_names_permissions_that_exist_and_a_title():
    command = IssueToken("t1", "a\nb", "h1", ("runs.start", "everything"), LATER)
    given(BOB, BORN).when(command).then_rejected("validation_failed", "title", "permissions.1")


def test_a_user_has_a_bounded_number_of_tokens():
    history = [*BORN, *(TokenIssued(f"t{n}", "", "h", None, LATER) for n in range(MAX_TOKENS))]
    given(BOB, history).when(IssueToken("new", "", "h", None, LATER)).then_rejected("too_many_tokens")
    given(BOB, [*history, TokenRevoked("t3")]).when(IssueToken("new", "", "h", None, LATER)).then(
        [TokenIssued("new", "", "h", None, LATER)]
    )


@pytest.mark.parametrize(
    "command",
    [
        ChangeUser(),
        ChangePassword("p"),
        RecordSignIn("s"),
        RecordSignInFailures(1, NOON, LATER),
        EndSessions(None, "sign_out"),
        ISSUE,
        RevokeToken("t1"),
        UnlinkIdentity(),
        EraseUser(),
    ],
    ids=lambda command: type(command).__name__,
)
def test_what_was_never_made_is_not_found(command):
    given(BOB, [], Companion(None)).when(command).then_rejected("user_not_found")


def test_every_role_may_something_and_every_permission_has_a_holder_who_is_a_role():
    assert all(holders and holders <= set(ROLES) for holders in PERMISSIONS.values())
    assert all(any(role in holders for holders in PERMISSIONS.values()) for role in ROLES)
    assert all("administrator" in holders for holders in PERMISSIONS.values())


ISSUER = "https://id.example.org"
CAROL = "user/carol"
LINKED = [UserCreated("carol", None), IdentityLinked("c-1", "who-1"), TitleChanged("title-1"), RoleGranted("operator")]
LINKED_BEFORE = [UserCreated("carol", None, "Carol"), UserLinked(ISSUER, "c"), RoleGranted("operator")]


def by_provider(session="s1", roles=("operator",), identity="c-1", title=None, before=None):
    return SignInWithProvider("carol", identity, roles, session, "who-1", title, before)


def test_whom_the_identity_provider_names_first_is_made_linked_and_signed_in():
    given(CAROL, []).when(by_provider(title="title-1")).then([*LINKED, SignedIn("s1")])


def test_at_every_sign_in_the_provider_says_which_roles_and_title_it_is():
    signing_in = by_provider("s2", ("author",), title="title-2")
    after = given(CAROL, [*LINKED, SignedIn("s1")]).when(signing_in)
    after.then([TitleChanged("title-2"), RoleGranted("author"), RoleRevoked("operator"), SignedIn("s2")])
    given(CAROL, [*LINKED, SignedIn("s1")]).when(by_provider("s1")).then_nothing()


def test_whom_the_provider_gives_no_role_any_more_loses_all_and_does_not_sign_in():
    given(CAROL, LINKED).when(by_provider("s2", ())).then([RoleRevoked("operator")])
    given(CAROL, [*LINKED, RoleRevoked("operator")]).when(by_provider("s2", ())).then_nothing()
    given(CAROL, []).when(by_provider(roles=())).then_rejected("validation_failed", "roles")


@pytest.mark.parametrize("other", [by_provider(identity="c-2"), by_provider(identity="c-2", before=digest_before(ISSUER, "c"))])
def test_a_name_is_not_given_to_another_user_of_a_provider(other):
    given(CAROL, LINKED).when(other).then_rejected("user_not_linked")


def test_whom_an_event_from_before_names_in_clear_is_linked_anew_by_the_digest_at_the_next_sign_in():
    signing_in = by_provider(before=digest_before(ISSUER, "c"))
    after = given(CAROL, LINKED_BEFORE).when(signing_in).then([IdentityLinked("c-1", "who-1"), SignedIn("s1")])
    assert (folded(CAROL, after).linked, folded(CAROL, after).identity) == (None, "c-1")
    given(CAROL, after).when(by_provider("s2")).then([SignedIn("s2")])


@pytest.mark.parametrize("before", [None, digest_before(ISSUER, "d"), digest_before("https://evil.example.org", "c")])
def test_whom_an_event_from_before_names_in_clear_is_nobody_else(before):
    given(CAROL, LINKED_BEFORE).when(by_provider(before=before)).then_rejected("user_not_linked")
    given(CAROL, LINKED_BEFORE).when(ChangePassword("pw-1")).then_rejected("user_linked")
    assert not DECIDER.is_finished(folded(CAROL, LINKED_BEFORE))


def test_who_is_linked_gets_no_second_name():
    """A new name at the provider, in other groups, would leave the roles and tokens of the old one with them."""
    listed = DECIDER.listed_as(folded(CAROL, LINKED), "carol")
    renamed = SignInWithProvider("carol2", "c-1", ("viewer",), "s2")
    given("user/carol2", [], administrators("admin", listed)).when(renamed).then_rejected("identity_linked")
    other = SignInWithProvider("dora", "d-1", ("viewer",), "s2", "who-2")
    made = [UserCreated("dora", None), IdentityLinked("d-1", "who-2"), RoleGranted("viewer"), SignedIn("s2")]
    given("user/dora", [], administrators("admin", listed)).when(other).then(made)
    given(CAROL, LINKED, administrators("admin", listed)).when(by_provider()).then([SignedIn("s1")])
    assert not DECIDER.is_finished(folded(CAROL, [*LINKED, UserDisabled()])), "nor who was disabled"


def test_who_has_a_second_name_in_clear_from_before_is_refused_under_the_first():
    """Else the second would keep its roles and tokens, whatever the groups say from now on."""
    other = f"linked/{digest_before(ISSUER, 'c')}/caroline"
    again = by_provider(before=digest_before(ISSUER, "c"))
    for first in (LINKED_BEFORE, LINKED):
        listed = DECIDER.listed_as(folded(CAROL, first), "carol")
        given(CAROL, first, administrators("admin", listed, other)).when(again).then_rejected("identity_linked")


def test_a_user_of_our_own_is_nobody_else_s():
    given(CAROL, [UserCreated("carol", "pw-1"), RoleGranted("administrator")]).when(by_provider()).then_rejected(
        "user_not_linked"
    )
    given(CAROL, [UserCreated("carol", None)]).when(by_provider()).then_rejected("user_not_linked")


def test_a_disabled_linked_user_does_not_sign_in():
    given(CAROL, [*LINKED, UserDisabled()]).when(by_provider()).then_rejected("user_disabled")


def test_a_linked_user_gets_no_password_and_no_other_roles_here():
    given(CAROL, LINKED).when(ChangePassword("pw-1")).then_rejected("user_linked")
    given(CAROL, LINKED).when(ChangeUser(roles=("administrator",))).then_rejected("user_linked")
    given(CAROL, LINKED).when(ChangeUser(roles=("operator",), disabled=True)).then([UserDisabled()])


def test_a_linked_administrator_is_not_the_last_one_who_may_act():
    """While the provider is away nobody could sign in: one with a password has to stay."""
    assert not folded(CAROL, [*LINKED, RoleGranted("administrator")]).administers


def test_what_a_provider_says_is_checked_like_anything_else():
    given(CAROL, []).when(by_provider(roles=("root",))).then_rejected("validation_failed", "roles.0")


USED = [*LINKED, SignedIn("s1"), ISSUED]


@pytest.mark.parametrize(
    "history", [USED, [*LINKED_BEFORE, SignedIn("s1"), ISSUED]], ids=["by a digest", "in clear, from before"]
)
def test_with_the_link_every_role_session_and_api_token_goes_and_the_title_stays(history):
    before = folded(CAROL, history)
    assert before.roles and before.sessions and before.tokens
    after = folded(CAROL, given(CAROL, history).when(UnlinkIdentity()).then([IdentityUnlinked()]))
    assert after == UserState("carol", before.title, sealed_title=before.sealed_title)


UNLINKED = [*USED, IdentityUnlinked()]


def test_who_has_no_link_has_none_to_lose():
    given(CAROL, UNLINKED).when(UnlinkIdentity()).then_rejected("identity_not_found")
    given(BOB, BORN).when(UnlinkIdentity()).then_rejected("identity_not_found")


def test_whom_the_provider_named_does_not_come_back_under_a_name_that_was_unlinked():
    given(CAROL, UNLINKED).when(by_provider("s2")).then_rejected("user_not_linked")
    clear = [*LINKED_BEFORE, IdentityUnlinked()]
    given(CAROL, clear).when(by_provider("s2", before=digest_before(ISSUER, "c"))).then_rejected("user_not_linked")


def test_of_two_names_one_is_unlinked_and_its_owner_goes_on_under_the_other():
    listed = DECIDER.listed_as(folded(CAROL, LINKED), "carol")
    second = [UserCreated("caroline", None), IdentityLinked("c-1", None), RoleGranted("operator")]
    other = DECIDER.listed_as(folded("user/caroline", second), "caroline")
    given(CAROL, LINKED, administrators("admin", listed, other)).when(by_provider()).then_rejected("identity_linked")
    assert DECIDER.is_finished(folded("user/caroline", [*second, IdentityUnlinked()])), "it is told to the others no more"
    given(CAROL, LINKED, administrators("admin", listed)).when(by_provider()).then([SignedIn("s1")])


def test_a_name_that_was_unlinked_is_nobody_s_until_an_administrator_gives_it_roles_and_a_password():
    assert not folded(CAROL, UNLINKED).administers
    after = given(CAROL, UNLINKED).when(ChangeUser(roles=("viewer",))).then([RoleGranted("viewer")])
    after = given(CAROL, after).when(ChangePassword("pw-1")).then([PasswordChanged("pw-1", True)])
    given(CAROL, after).when(RecordSignIn("s2", "pw-1")).then([SignedIn("s2")])
    given(CAROL, after).when(by_provider("s2")).then_rejected("user_not_linked")


def test_a_disabled_user_is_unlinked_and_stays_disabled():
    assert folded(CAROL, given(CAROL, [*USED, UserDisabled()]).when(UnlinkIdentity()).then([IdentityUnlinked()])).disabled


def test_the_last_administrator_is_nobody_who_could_be_unlinked():
    root = [*LINKED, RoleGranted("administrator")]
    given(CAROL, root, administrators("admin")).when(UnlinkIdentity()).then([IdentityUnlinked()])
    given(ADMIN, MADE, administrators("admin")).when(UnlinkIdentity()).then_rejected("identity_not_found")
