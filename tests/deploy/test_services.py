"""Do the native services start, answer, survive a crash and stop?"""

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
import redis
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from infra.deploy.services.kafka import kafka_cluster
from infra.deploy.services.kafka_jars import kafka_jars
from infra.deploy.services.native_process import ServiceFailed, ServiceUnavailable, children_of, free_port, start_ticks
from infra.deploy.services.postgres import PostgresServer
from infra.deploy.services.redis import RedisServer
from infra.deploy.services.sshd import SshServer
from infra.deploy.services.together import down, recorded, running, services_folder, up
from tests.support.eventually import eventually
from tests.support.services import docker_answers, missing, scratch_folder

pytestmark = pytest.mark.services


def test_a_free_port_is_given_once_and_is_none_that_an_outgoing_connection_may_have_meanwhile() -> None:
    ports = [free_port() for _ in range(100)]
    assert len(set(ports)) == 100
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    assert not [port for port in ports if first <= port <= last]


def test_the_fixture_kafka_is_one_broker_that_creates_no_topic_by_itself(kafka: str) -> None:
    admin = AdminClient({"bootstrap.servers": kafka, "allow.auto.create.topics": True})
    assert len(admin.list_topics(timeout=60).brokers) >= 1
    assert "nobody-made-this" not in admin.list_topics("nobody-made-this", timeout=60).topics or (
        admin.list_topics("nobody-made-this", timeout=60).topics["nobody-made-this"].error is not None
    )


def test_the_fixture_postgres_takes_sql(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("select 1 + 1").fetchone() == (2,)


def test_the_fixture_redis_keeps_a_value(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.set("services-test", "kept")
        assert client.getdel("services-test") == b"kept"


def test_the_fixture_sshd_runs_a_command_for_the_holder_of_its_key(sshd: SshServer, tmp_path: Path) -> None:
    key, known = tmp_path / "key", tmp_path / "known"
    key.touch(mode=0o600)
    key.write_text(sshd.private_key)
    known.write_text(f"[127.0.0.1]:{sshd.port} {sshd.host_key}\n")
    options = ["-F", "none", "-i", str(key), "-o", f"UserKnownHostsFile={known}", "-o", "StrictHostKeyChecking=yes"]
    ran = subprocess.run(
        ["ssh", *options, "-p", str(sshd.port), f"{sshd.user}@127.0.0.1", "echo through"], capture_output=True, timeout=60
    )
    assert (ran.stdout, ran.returncode) == (b"through\n", 0), ran.stderr


def test_a_killed_server_starts_again_on_the_same_port(tmp_path: Path) -> None:
    with RedisServer(home=tmp_path) as server:
        first = server.pid
        server.kill9()
        assert start_ticks(first) is None
        assert not server.ready()
        assert server.start().ready()
        assert server.pid != first


def test_of_a_killed_postgres_no_child_is_left_in_the_way_of_the_next_one() -> None:
    with scratch_folder() as folder:
        server = PostgresServer(home=folder)
        try:
            server.start()
        except ServiceUnavailable as absent:
            missing("postgres", absent)
        children = children_of(server.pid)
        assert children
        server.kill9()
        assert [child for child in children if start_ticks(child) is not None] == []
        assert server.start().ready()
        server.stop()


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    server = RedisServer(home=tmp_path, port=1_000_000)
    with pytest.raises(ServiceFailed, match=r"(?i)port"):
        server.start()


def test_a_tied_server_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from infra.deploy.services.redis import RedisServer\n"
        "server = RedisServer(home=Path(sys.argv[1])).start(); print(server.pid, flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    server = int(parent.stdout.readline())
    assert start_ticks(server) is not None
    parent.kill()
    parent.wait()
    eventually(lambda: start_ticks(server) is None)


@pytest.mark.faults
def test_three_brokers_keep_the_consumed_offsets_and_the_transactions_three_times_two_of_them_in_step() -> None:
    try:
        jars = kafka_jars(services_folder())
    except ServiceUnavailable as absent:
        missing("kafka", absent)
    with scratch_folder() as folder, kafka_cluster(folder, jars, 3) as cluster:
        admin = AdminClient({"bootstrap.servers": cluster.address})
        admin.create_topics([NewTopic("three", 1, 3)])["three"].result(20)
        consumer = Consumer({"bootstrap.servers": cluster.address, "group.id": "group"})
        producer = Producer({"bootstrap.servers": cluster.address, "transactional.id": "one"})
        producer.init_transactions(30)
        producer.begin_transaction()
        producer.produce("three", b"value")
        producer.send_offsets_to_transaction([TopicPartition("three", 0, 0)], consumer.consumer_group_metadata(), 20)
        producer.commit_transaction(20)
        consumer.close()
        listed = admin.list_topics(timeout=60)
        assert len(listed.brokers) == 3
        for topic in ("three", "__consumer_offsets", "__transaction_state"):
            assert {len(p.replicas) for p in listed.topics[topic].partitions.values()} == {3}, topic
            asked = ConfigResource(ResourceType.TOPIC, topic)
            assert admin.describe_configs([asked])[asked].result(10)["min.insync.replicas"].value == "2", topic


@pytest.mark.skipif(docker_answers(), reason="services come from Docker here")
def test_up_leaves_all_services_running_and_down_stops_exactly_those() -> None:
    with scratch_folder() as folder:
        jars = next(services_folder().glob("kafka-jars-*"), None)
        if jars:
            (folder / jars.name).symlink_to(jars)
        started = up(folder)
        try:
            assert {one.name for one in started} == {"kafka-1", "postgres", "redis", "sshd"}
            assert up(folder) == started, "a second up finds the first"
            assert os.stat(folder / "services.json").st_mode & 0o77 == 0
        finally:
            stopped = down(folder)
        assert stopped == started
        assert recorded(folder) == []
        assert [one.name for one in started if start_ticks(one.pid) == one.started] == []
        with running(folder) as services, psycopg.connect(services["postgres"].address) as connection:
            assert connection.execute("select 1").fetchone() == (1,)
