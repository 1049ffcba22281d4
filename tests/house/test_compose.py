"""The compose file says what the cluster is made of; where no container engine is at hand its form is what can be checked."""

import re
import shutil
import subprocess

import pytest
import typer
import yaml

from infra.cli.main import app
from infra.wiring import supervise
from infra.wiring.role.executor import EXECUTOR_GRACE_S
from infra.wiring.settings import Settings
from processors.executor.runtime import KILL_WITHIN_S
from tests.house.files import TOP

COMPOSE = yaml.safe_load((TOP / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
STORES = {"kafka", "postgres", "redis"}
ROLES = {"commands", "projections", "executor", "sweeper", "api"}


def test_every_role_and_every_store_is_there():
    assert set(SERVICES) == STORES | ROLES | {"topics"}


@pytest.mark.parametrize("name", sorted(STORES | ROLES))
def test_every_service_that_stays_has_a_health_check(name):
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] in ("CMD", "CMD-SHELL") and check["interval"] and check["timeout"] and check["retries"]


@pytest.mark.parametrize("name", sorted(ROLES))
def test_a_role_starts_after_its_topics_and_stores(name):
    after = SERVICES[name]["depends_on"]
    assert after["topics"]["condition"] == "service_completed_successfully"
    assert {after[store]["condition"] for store in ("postgres", "redis")} == {"service_healthy"}
    assert set(after) <= set(SERVICES)


@pytest.mark.parametrize("name", sorted(ROLES | {"topics"}))
def test_a_role_s_command_is_one_of_ours_and_its_settings_exist(name):
    known = typer.main.get_command(app)
    for word in SERVICES[name]["command"]:
        known = known.commands[word]
    settings = {f"OPSCONDUCTOR_{field.upper()}" for field in Settings.model_fields}
    assert set(SERVICES[name]["environment"]) <= settings


def test_the_log_lies_on_its_volume():
    (volume,) = SERVICES["kafka"]["volumes"]
    assert SERVICES["kafka"]["environment"]["KAFKA_LOG_DIRS"] == volume.partition(":")[2]


@pytest.mark.parametrize("name", sorted(ROLES))
def test_a_role_is_given_the_time_it_takes_to_end_in_order(name):
    assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) > supervise.STOP_WITHIN_S
    assert supervise.STOP_WITHIN_S > EXECUTOR_GRACE_S + KILL_WITHIN_S


def test_no_secret_has_a_default():
    for name in ("POSTGRES_PASSWORD", "OPSCONDUCTOR_MASTER_KEY", "OPSCONDUCTOR_ADMIN_PASSWORD"):
        uses = re.findall(rf"\$\{{{name}([^}}]*)\}}", (TOP / "docker-compose.yml").read_text())
        assert uses and all(use.startswith(":?") for use in uses)


def test_compose_itself_takes_the_file():
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True).returncode:
        return  # the form is checked above; there is no compose here to ask
    given = {
        "POSTGRES_PASSWORD": "x",
        "OPSCONDUCTOR_MASTER_KEY": "x",
        "OPSCONDUCTOR_ADMIN_PASSWORD": "x",
        "PATH": "/usr/bin:/bin",
    }
    subprocess.run([docker, "compose", "-f", str(TOP / "docker-compose.yml"), "config", "-q"], check=True, env=given)
