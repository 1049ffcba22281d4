"""What does the audit trail say of the installation's keys?"""

from datetime import timedelta

from domain.key import (
    AddSigningKey,
    MasterKeyChanged,
    RecordMasterKey,
    RecordSecretsWrapped,
    RetireSigningKey,
    SecretsWrapped,
    SigningKeyAdded,
    SigningKeyRetired,
)
from tests.support.builders import NOON
from tests.support.specification import given

KEYS = "key/installation"
LATER = NOON + timedelta(minutes=10)


def test_a_signing_key_is_told_of_once_and_once_when_it_goes():
    history = given(KEYS, []).when(AddSigningKey("k2", LATER)).then([SigningKeyAdded("k2", LATER)])
    given(KEYS, history).when(AddSigningKey("k2", LATER)).then_nothing()
    history = given(KEYS, history).when(RetireSigningKey("k2", ("k1",))).then([SigningKeyRetired("k2")])
    given(KEYS, history).when(RetireSigningKey("k2", ("k1",))).then_nothing()
    given(KEYS, history).when(AddSigningKey("k2", LATER)).then_nothing()


def test_the_first_signing_key_which_nobody_added_is_retired_like_any_other():
    given(KEYS, []).when(RetireSigningKey("k1", ("k2",))).then([SigningKeyRetired("k1")])


def test_a_master_key_is_told_of_when_it_comes_into_force_and_when_no_older_one_is_needed():
    first = given(KEYS, []).when(RecordMasterKey(1)).then([MasterKeyChanged(1)])
    given(KEYS, first).when(RecordMasterKey(1)).then_nothing()
    given(KEYS, first).when(RecordSecretsWrapped(1)).then_nothing()
    second = given(KEYS, first).when(RecordMasterKey(2)).then([MasterKeyChanged(2)])
    wrapped = given(KEYS, second).when(RecordSecretsWrapped(2)).then([SecretsWrapped(2)])
    given(KEYS, wrapped).when(RecordSecretsWrapped(2)).then_nothing()


def test_what_was_overtaken_by_a_newer_master_key_is_not_told_any_more():
    third = given(KEYS, [MasterKeyChanged(1)]).when(RecordMasterKey(3)).then([MasterKeyChanged(3)])
    given(KEYS, third).when(RecordMasterKey(2)).then_nothing()
    given(KEYS, [*third, SecretsWrapped(3)]).when(RecordSecretsWrapped(2)).then_nothing()


def test_of_two_who_take_away_the_last_two_keys_at_once_one_is_refused():
    history = given(KEYS, []).when(RetireSigningKey("k1", ("k2",))).then([SigningKeyRetired("k1")])
    given(KEYS, history).when(RetireSigningKey("k2", ("k1",))).then_rejected("only_signing_key")
    given(KEYS, history).when(RetireSigningKey("k2", ("k1", "k3"))).then([SigningKeyRetired("k2")])
