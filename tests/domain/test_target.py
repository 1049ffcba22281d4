"""When may a target be registered, changed, checked and retired?"""

from dataclasses import replace

import pytest

from domain.target import (
    MAX_OPEN_CHECKS,
    ChangeTarget,
    ConnectionChange,
    RecordTargetCheck,
    RegisterTarget,
    RequestTargetCheck,
    RetireTarget,
    SshConnection,
    TargetChecked,
    TargetCheckRequested,
    TargetConnectionChanged,
    TargetHostKeyForgotten,
    TargetHostKeyTrusted,
    TargetReachabilityChanged,
    TargetRegistered,
    TargetRelabelled,
    TargetRetired,
    TargetRetitled,
    why_no_host_key,
)
from tests.support.specification import given

WEB = "target/web-01"
ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGG"
OTHER_KEY = ED25519[:-1] + "H"
SSH = SshConnection("deploy", port=22, host_key=ED25519)
LABELS = {"env": "prod", "role": "web"}
REGISTERED = TargetRegistered("web-01", "Web 1", "10.0.0.5", LABELS, SSH)
RETIRED = TargetRetired()


def register(**more):
    return RegisterTarget(**{"name": "web-01", "host": "10.0.0.5", "connection": SSH, "title": "Web 1", "labels": LABELS, **more})


def connected(**more):
    return replace(SSH, **more)


# --- register -------------------------------------------------------------------------------------------------------


def test_a_registered_target_is_recorded_whole():
    given(WEB, []).when(register()).then([REGISTERED])
    given(WEB, []).when(register(labels=None, title="")).then([replace(REGISTERED, labels={}, title="")])


def test_a_name_once_taken_stays_taken():
    given(WEB, [REGISTERED]).when(register()).then_rejected("target_exists")
    given(WEB, [REGISTERED, RETIRED]).when(register()).then_rejected("target_exists")


@pytest.mark.parametrize(
    "host", ["a", "web-01.example", "10.0.0.5", "::1", "fe80::1%eth0", "2001:db8::7", "under_score", "x" * 253]
)
def test_host_names_and_addresses_are_hosts(host):
    given(WEB, []).when(register(host=host)).then([replace(REGISTERED, host=host)])


@pytest.mark.parametrize(
    "host",
    ["", "x" * 254, "a b", "-oProxyCommand=x", "web\n", "user@web", "wéb", "a;b", "$(id)", "web:22", "10.0.0.5:22", "[::1]"],
)
def test_what_is_no_host_is_refused(host):
    given(WEB, []).when(register(host=host)).then_rejected("validation_failed", "host")


@pytest.mark.parametrize(
    ("more", "fields"),
    [
        ({"name": "Bad Name!"}, ["name"]),
        ({"title": "a\x00b"}, ["title"]),
        ({"title": "t" * 201}, ["title"]),
        ({"labels": {"name": "x"}}, ["labels.name"]),
        ({"labels": {"": "x"}}, ["labels."]),
        (
            {"labels": {"-a": "x", "b": " x", "c": "x,y", "d": "=x", "e": "x" * 201, "f": "\n"}},
            [f"labels.{k}" for k in ["-a", *"bcdef"]],
        ),
        ({"labels": {f"k{n}": "" for n in range(65)}}, ["labels"]),
        ({"connection": connected(port=0)}, ["connection.port"]),
        ({"connection": connected(port=65536)}, ["connection.port"]),
        ({"connection": connected(credential="No Slug")}, ["connection.credential"]),
        (
            {"host": "", "title": "\n", "connection": connected(port=-1, credential="", host_key="")},
            ["title", "host", "connection.port", "connection.credential", "connection.host_key"],
        ),
    ],
)
def test_every_field_at_fault_is_named(more, fields):
    given(WEB, []).when(register(**more)).then_rejected("validation_failed", *fields)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "ssh-ed25519",
        "ssh-ed25519 ",
        "ssh-ed25519 not base64",
        "ssh-ed25519 AAAA",
        ED25519.replace("ssh-ed25519 ", "ssh-rsa "),
        ED25519.replace("ssh-ed25519 ", "ssh-dss "),
        ED25519 + "\n" + ED25519,
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5",
        ED25519 + "A" * 8_000,
    ],
)
def test_what_is_no_host_key_is_refused(key):
    given(WEB, []).when(register(connection=connected(host_key=key))).then_rejected("validation_failed", "connection.host_key")


def test_of_a_host_key_with_its_comment_it_is_said_that_the_comment_is_too_much():
    assert "without the comment" in (why_no_host_key(f"{ED25519} root@web-01") or "")


# --- change ---------------------------------------------------------------------------------------------------------


def test_a_change_that_changes_nothing_is_no_event():
    given(WEB, [REGISTERED]).when(ChangeTarget()).then_nothing()
    given(WEB, [REGISTERED]).when(
        ChangeTarget("Web 1", "10.0.0.5", dict(LABELS), True, ConnectionChange(22, "deploy", ED25519))
    ).then_nothing()


def test_every_kind_of_change_has_its_own_event_in_a_fixed_order():
    change = ChangeTarget(
        "W", "web.example", {"env": "test", "role": None}, connection=ConnectionChange(2222, "other", OTHER_KEY)
    )
    moved = SshConnection("other", port=2222, host_key=ED25519)
    given(WEB, [REGISTERED]).when(change).then(
        [
            TargetRetitled("W"),
            TargetRelabelled({"env": "test"}),
            TargetConnectionChanged("web.example", moved),
            TargetHostKeyTrusted(OTHER_KEY),
        ]
    )


@pytest.mark.parametrize(
    ("change", "labels"),
    [
        (ChangeTarget(labels={"zone": "a"}), {**LABELS, "zone": "a"}),
        (ChangeTarget(labels={"env": None}), {"role": "web"}),
        (ChangeTarget(clear_labels=True), {}),
        (ChangeTarget(labels={"env": "x", "gone": None}, clear_labels=True), {"env": "x"}),
    ],
)
def test_labels_are_merged_removed_and_cleared(change, labels):
    given(WEB, [REGISTERED]).when(change).then([TargetRelabelled(labels)])


def test_a_pinned_key_stays_when_the_host_moves_and_goes_only_on_demand():
    given(WEB, [REGISTERED]).when(ChangeTarget(host="b")).then([TargetConnectionChanged("b", SSH)])
    forget = ChangeTarget(connection=ConnectionChange(forget_host_key=True))
    history = given(WEB, [REGISTERED]).when(forget).then([TargetHostKeyForgotten()])
    given(WEB, history).when(forget).then_nothing()
    trust = ChangeTarget(connection=ConnectionChange(host_key=OTHER_KEY))
    given(WEB, history).when(trust).then([TargetHostKeyTrusted(OTHER_KEY)])


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (ChangeTarget(title="\n"), "title"),
        (ChangeTarget(host=""), "host"),
        (ChangeTarget(labels={"a b": "x"}), "labels.a b"),
        (ChangeTarget(connection=ConnectionChange(port=70000)), "connection.port"),
        (ChangeTarget(connection=ConnectionChange(credential="")), "connection.credential"),
        (ChangeTarget(connection=ConnectionChange(host_key="x")), "connection.host_key"),
    ],
)
def test_a_wrong_change_changes_nothing(change, field):
    given(WEB, [REGISTERED]).when(change).then_rejected("validation_failed", field)


# --- retire and check -----------------------------------------------------------------------------------------------


def test_a_retired_target_changes_no_more():
    given(WEB, [REGISTERED]).when(RetireTarget()).then([RETIRED])
    for command in (ChangeTarget(title="x"), RetireTarget(), RequestTargetCheck("c1")):
        given(WEB, [REGISTERED, RETIRED]).when(command).then_rejected("target_retired")


def test_what_was_never_registered_is_not_found():
    for command in (ChangeTarget(), RetireTarget(), RequestTargetCheck("c"), RecordTargetCheck("c", True)):
        given(WEB, []).when(command).then_rejected("target_not_found")


def checked(check, reachable, **more):
    return TargetChecked(
        **{"check": check, "reachable": reachable, "seconds": None, "code": None, "message": None, "details": {}, **more}
    )


def test_a_check_is_asked_for_and_recorded_once():
    asked = given(WEB, [REGISTERED]).when(RequestTargetCheck("c1")).then([TargetCheckRequested("c1")])
    given(WEB, asked).when(RequestTargetCheck("c1")).then_nothing()
    record = RecordTargetCheck("c1", True, 0.25, details={"kex": "curve25519"})
    done = (
        given(WEB, asked)
        .when(record)
        .then([checked("c1", True, seconds=0.25, details={"kex": "curve25519"}), TargetReachabilityChanged(True)])
    )
    given(WEB, done).when(record).then_nothing()
    given(WEB, done).when(RecordTargetCheck("never-asked", True)).then_nothing()


def test_reachability_changes_only_when_it_does():
    up = [
        REGISTERED,
        TargetCheckRequested("c1"),
        checked("c1", True),
        TargetReachabilityChanged(True),
        TargetCheckRequested("c2"),
    ]
    given(WEB, up).when(RecordTargetCheck("c2", True)).then([checked("c2", True)])
    failed = RecordTargetCheck("c2", False, code="connect_failed", message="refused")
    given(WEB, up).when(failed).then(
        [checked("c2", False, code="connect_failed", message="refused"), TargetReachabilityChanged(False)]
    )


def test_a_check_ends_also_when_its_target_was_retired_meanwhile():
    asked = [REGISTERED, TargetCheckRequested("c1"), RETIRED]
    given(WEB, asked).when(RecordTargetCheck("c1", False)).then([checked("c1", False), TargetReachabilityChanged(False)])


def test_open_checks_are_bounded_and_a_known_one_is_still_known_at_the_bound():
    full = [REGISTERED, *(TargetCheckRequested(f"c{n}") for n in range(MAX_OPEN_CHECKS))]
    given(WEB, full).when(RequestTargetCheck("one-more")).then_rejected("too_many_checks")
    given(WEB, full).when(RequestTargetCheck("c7")).then_nothing()
