"""Where do tests find Kafka, Postgres, Redis and sshd?

In this order: an address in the environment (OPSCONDUCTOR_TEST_KAFKA, _POSTGRES, _REDIS), a container when a Docker daemon
answers, a native server. Where none is possible the test is skipped with one line; with CI=true that is a failure.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import docker
import pytest
from docker.errors import DockerException

from infra.deploy.services.kafka import KafkaNode
from infra.deploy.services.kafka_jars import kafka_jars
from infra.deploy.services.native_process import ServiceUnavailable
from infra.deploy.services.postgres import PostgresServer
from infra.deploy.services.redis import RedisServer
from infra.deploy.services.sshd import SshServer
from infra.deploy.services.together import services_folder


@cache
def docker_answers() -> bool:
    try:
        return bool(docker.from_env(timeout=3).ping())
    except DockerException:
        return False


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder that other users may enter (Postgres does not run as root), erased afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="opsconductor-test-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def missing(what: str, why: object) -> None:
    """Skip, or fail where everything has to be there."""
    line = f"no {what} for this test: {why}"
    if os.environ.get("CI") == "true":
        pytest.fail(line, pytrace=False)
    pytest.skip(line)


def _found(
    what: str, in_container: Callable[[contextlib.ExitStack], str], natively: Callable[[contextlib.ExitStack], str]
) -> Iterator[str]:
    if address := os.environ.get(f"OPSCONDUCTOR_TEST_{what.upper()}"):
        yield address
        return
    with contextlib.ExitStack() as stack:
        try:
            address = in_container(stack) if docker_answers() else natively(stack)
        except ServiceUnavailable as absent:
            missing(what, absent)
        yield address


def _kafka_in_container(stack: contextlib.ExitStack) -> str:
    from testcontainers.community.kafka import KafkaContainer

    container = KafkaContainer().with_kraft()
    for name, value in {
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_TRANSACTION_ABORT_TIMED_OUT_TRANSACTION_CLEANUP_INTERVAL_MS": "1000",
        "KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS": "1000",
    }.items():
        container.with_env(name, value)
    return str(stack.enter_context(container).get_bootstrap_server())


def _kafka_natively(stack: contextlib.ExitStack) -> str:
    folder = stack.enter_context(scratch_folder())
    return stack.enter_context(KafkaNode(home=folder, jars=kafka_jars(services_folder()))).address


def _postgres_in_container(stack: contextlib.ExitStack) -> str:
    from testcontainers.community.postgres import PostgresContainer

    return str(stack.enter_context(PostgresContainer("postgres:16", driver=None)).get_connection_url())


def _postgres_natively(stack: contextlib.ExitStack) -> str:
    return stack.enter_context(PostgresServer(home=stack.enter_context(scratch_folder()))).address


def _redis_in_container(stack: contextlib.ExitStack) -> str:
    from testcontainers.community.redis import RedisContainer

    container = stack.enter_context(RedisContainer("redis:7"))
    return f"redis://{container.get_container_host_ip()}:{container.get_exposed_port(6379)}/0"


def _redis_natively(stack: contextlib.ExitStack) -> str:
    return stack.enter_context(RedisServer(home=stack.enter_context(scratch_folder()))).address


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """Bootstrap addresses of a Kafka that this session's tests share; take a fresh topic prefix for every test."""
    yield from _found("kafka", _kafka_in_container, _kafka_natively)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A `postgresql://` URL that this session's tests share; take a fresh schema or database for every test."""
    yield from _found("postgres", _postgres_in_container, _postgres_natively)


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A `redis://` URL that this session's tests share; take a fresh key prefix for every test."""
    yield from _found("redis", _redis_in_container, _redis_natively)


@pytest.fixture(scope="session")
def sshd() -> Iterator[SshServer]:
    """A native OpenSSH server with keys of its own; `user`, `private_key`, `host_key`, `port`."""
    with scratch_folder() as folder:
        server = SshServer(home=folder)
        try:
            server.start()
        except ServiceUnavailable as absent:
            missing("sshd", absent)
        yield server
        server.stop()
