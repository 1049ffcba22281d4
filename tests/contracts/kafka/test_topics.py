"""Are topics made as the table says, and those that differ refused by name?"""

import json
import os
from dataclasses import replace
from unittest import mock

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from typer.testing import CliRunner

from infra.cli.main import app
from infra.kafka.log import KafkaLog
from infra.kafka.topics import TooFewBrokers, TopicsDiffer, TopicsRefused, apply, differences
from schemas.topics import TABLE
from tests.contracts.kafka_harness import kafka_settings
from tests.support.eventually import eventually

pytestmark = pytest.mark.services


def change(settings, name, key, value):
    entry = ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, settings.topic(name), incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": settings.bootstrap})
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(10)


def test_absent_topics_are_listed_then_made_and_a_second_time_there_is_nothing_to_do(kafka):
    settings = kafka_settings(kafka, partitions=2)
    assert differences(settings) == [f"{settings.topic(topic.name)} is absent" for topic in TABLE]
    assert apply(settings) == [f"created: {settings.topic(topic.name)}" for topic in TABLE]
    assert differences(settings) == []
    assert apply(settings) == []


async def test_a_changed_setting_is_listed_refused_at_start_up_and_set_right(kafka):
    settings = kafka_settings(kafka, partitions=2)
    apply(settings)
    change(settings, "runs", "retention.ms", "1000")
    line = f"{settings.topic('runs')} has retention.ms=1000, wanted -1"
    eventually(lambda: differences(settings) == [line])
    with pytest.raises(TopicsDiffer, match=r"retention\.ms=1000") as refused:
        await KafkaLog.open(settings)
    assert refused.value.differences == [line]
    assert apply(settings) == [f"changed: {line}"]
    assert differences(settings) == []


@pytest.mark.parametrize(
    ("change_of", "line"),
    [
        ({"cleanup.policy": "compact"}, "has cleanup.policy=compact, wanted delete"),
        ({"retention.bytes": "1000000"}, "has retention.bytes=1000000, wanted -1"),
        ({"unclean.leader.election.enable": "true"}, "has unclean.leader.election.enable=true, wanted false"),
        ({}, "has 1 replicas, wanted 3"),
    ],
)
async def test_whatever_would_lose_events_is_refused_at_start_up_and_ends_a_check_with_1(kafka, change_of, line):
    settings = kafka_settings(kafka, partitions=2)
    apply(settings)
    for key, value in change_of.items():
        change(settings, "runs", key, value)
    wanted = settings if change_of else replace(settings, replication=3)
    told = f"{settings.topic('runs')} {line}"
    eventually(lambda: told in differences(wanted))
    with pytest.raises(TopicsDiffer) as refused:
        await KafkaLog.open(wanted)
    assert told in refused.value.differences
    given = {"URL": f"kafka://{kafka}", "PREFIX": wanted.prefix, "PARTITIONS": "2", "REPLICATION": str(wanted.replication)}
    with mock.patch.dict(os.environ, {f"OPSCONDUCTOR_LOG_{name}": value for name, value in given.items()}):
        checked = CliRunner().invoke(app, ["topics", "check"])
        as_json = CliRunner().invoke(app, ["topics", "check", "-o", "json"])
    assert (checked.exit_code, told in checked.output.splitlines()) == (1, True), checked.output
    assert {"difference": told} in [json.loads(line) for line in as_json.stdout.splitlines()] and as_json.exit_code == 1


def test_more_replicas_than_there_are_brokers_are_a_wrong_setting_and_no_silence_of_kafka(kafka):
    wanted = replace(kafka_settings(kafka, partitions=2), replication=3)
    with pytest.raises(TooFewBrokers):
        apply(wanted)
    given = {"URL": f"kafka://{kafka}", "PREFIX": wanted.prefix, "PARTITIONS": "2", "REPLICATION": "3"}
    with mock.patch.dict(os.environ, {f"OPSCONDUCTOR_LOG_{name}": value for name, value in given.items()}):
        applied = CliRunner().invoke(app, ["topics", "apply"])
    assert applied.exit_code == 78, applied.output
    assert applied.stderr.startswith("wrong setting: OPSCONDUCTOR_LOG_REPLICATION: 3 replicas"), applied.stderr
    assert "Kafka cannot be reached" not in applied.stderr


def test_what_kafka_refuses_is_told_as_its_refusal(kafka):
    settings = kafka_settings(kafka, partitions=2)
    with mock.patch("infra.kafka.topics.wanted", lambda *_: {"retention.ms": "nonsense"}), pytest.raises(TopicsRefused):
        apply(settings)


def test_another_number_of_partitions_is_refused_and_nothing_is_touched(kafka):
    settings = kafka_settings(kafka, partitions=2)
    apply(settings)
    change(settings, "runs", "retention.ms", "1000")
    with pytest.raises(TopicsDiffer, match="has 2 partitions, wanted 3; that is fixed for ever") as refused:
        apply(replace(settings, partitions=3))
    assert len(refused.value.differences) == len(TABLE)
    eventually(lambda: "retention.ms=1000" in "".join(differences(settings)))
