"""When may a credential be made, rotated and revoked?"""

import pytest

from domain.credential import (
    CreateCredential,
    CredentialCreated,
    CredentialRevoked,
    CredentialRotated,
    CredentialShredded,
    RevokeCredential,
    RotateCredential,
    ShredCredential,
)
from tests.support.specification import given

KEY = "credential/deploy"
CREATE = CreateCredential("deploy", "ssh_key", "s1", "Deploy key")
CREATED = CredentialCreated("deploy", "Deploy key", "ssh_key", "s1", 1)
ROTATED = CredentialRotated("s2", 2)


def test_a_created_credential_begins_at_revision_1():
    given(KEY, []).when(CREATE).then([CREATED])


def test_a_name_once_taken_stays_taken():
    given(KEY, [CREATED]).when(CREATE).then_rejected("credential_exists")
    given(KEY, [CREATED, CredentialRevoked()]).when(CREATE).then_rejected("credential_exists")


@pytest.mark.parametrize(
    ("name", "title", "field"),
    [("Deploy", "", "name"), ("deploy", "t" * 201, "title"), ("deploy", "two\nlines", "title"), ("deploy", "\u202ex", "title")],
)
def test_a_wrong_name_or_title_is_named(name, title, field):
    given(KEY, []).when(CreateCredential(name, "token", "s1", title)).then_rejected("validation_failed", field)


def test_rotating_makes_the_next_revision():
    given(KEY, [CREATED]).when(RotateCredential("ssh_key", "s2", 2)).then([ROTATED])
    given(KEY, [CREATED, ROTATED]).when(RotateCredential("ssh_key", "s3", 3)).then([CredentialRotated("s3", 3)])


@pytest.mark.parametrize("revision", [0, 1, 2, 4])
def test_a_secret_sealed_for_another_revision_is_refused(revision):
    given(KEY, [CREATED, ROTATED]).when(RotateCredential("ssh_key", "s", revision)).then_rejected("credential_rotated_meanwhile")


def test_a_credential_keeps_its_kind():
    given(KEY, [CREATED]).when(RotateCredential("password", "s2", 2)).then_rejected("credential_kind_differs")


def test_a_credential_is_revoked_once_and_for_all():
    given(KEY, [CREATED]).when(RevokeCredential()).then([CredentialRevoked()])
    given(KEY, [CREATED, CredentialRevoked()]).when(RevokeCredential()).then_rejected("credential_revoked")
    given(KEY, [CREATED, CredentialRevoked()]).when(RotateCredential("ssh_key", "s2", 2)).then_rejected("credential_revoked")


@pytest.mark.parametrize("before", [[], [ROTATED], [CredentialRevoked()]])
def test_a_credential_is_shredded_once_however_often_asked_revoked_or_not_and_takes_no_secret_after(before):
    given(KEY, [CREATED, *before]).when(ShredCredential()).then([CredentialShredded()])
    shredded = [CREATED, *before, CredentialShredded()]
    given(KEY, shredded).when(ShredCredential()).then_nothing()
    given(KEY, shredded).when(RotateCredential("ssh_key", "s2", 1)).then_rejected("credential_revoked")
    given(KEY, shredded).when(RevokeCredential()).then_rejected("credential_revoked")
    given(KEY, shredded).when(CREATE).then_rejected("credential_exists")


@pytest.mark.parametrize("command", [RotateCredential("ssh_key", "s", 1), RevokeCredential(), ShredCredential()])
def test_what_was_never_created_is_not_found(command):
    given(KEY, []).when(command).then_rejected("credential_not_found")
