"""What can be set from outside? Environment variables beginning `OPSCONDUCTOR_`; adapters are chosen by URLs alone."""

import re
import socket
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from api import cors
from api.caller_address import Network, networks
from api.passwords import MIN_LENGTH
from api.rate_limit import Kind
from infra.sql.file_url import sqlite_url
from infra.vaults.master_key import BadMasterKey, given
from infra.wiring.addresses import address, check_database_url, check_log_url, check_redis_url, check_web_url, path_of
from infra.wiring.misconfigured import WrongSetting

LogUrl = Annotated[str, AfterValidator(check_log_url)]
DatabaseUrl = Annotated[str, AfterValidator(check_database_url)]
RedisUrl = Annotated[str, AfterValidator(check_redis_url)]
WebUrl = Annotated[str, AfterValidator(check_web_url)]

LOG_LEVELS = ("debug", "info", "warning", "error")


class Settings(BaseSettings):
    """Everything that can be set; each is the environment variable `OPSCONDUCTOR_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix="OPSCONDUCTOR_", extra="ignore")

    home: Path = Field(Path("~/.opsconductor"), description="The data folder.")
    log_url: LogUrl = Field("", description="`sqlite:///folder` or `kafka://h1:9092,h2:9092`; default: in the data folder.")
    database_url: DatabaseUrl = Field("", description="`sqlite:///file` or `postgresql://…`; default: SQLite in the data folder.")
    redis_url: RedisUrl = Field("", description="`redis://…` for sessions, hints and rate limits; default: in memory.")
    listen: str = Field("127.0.0.1:8080", description="Where the API listens.")
    tls_cert: Path | None = Field(None, description="The API's certificate chain, PEM; read anew when it is replaced.")
    tls_key: Path | None = Field(None, description="The certificate's private key, PEM, without a passphrase.")
    trusted_proxies: str = Field(
        "", description="Networks whose `X-Forwarded-For` is believed, as `10.0.0.0/8,::1`; default: none."
    )
    cors_origins: str = Field(
        "", description="Origins whose pages may use the API, exactly, as `https://ops.example.org`; default: none."
    )
    rate_account_reads: int = Field(
        120_000, ge=0, description="How many reads an account may send a minute, at once or spread; 0: no limit."
    )
    rate_account_writes: int = Field(30_000, ge=0, description="How many writes an account may send a minute; 0: no limit.")
    rate_address_reads: int = Field(
        6_000, ge=0, description="How many reads a minute nobody signed in may send from one address; 0: no limit."
    )
    rate_address_writes: int = Field(
        1_200, ge=0, description="How many writes a minute, signing in and refreshing above all; 0: no limit."
    )
    admin_password: SecretStr | None = Field(None, description="The first administrator's password; used once, never re-applied.")
    master_key: SecretStr | None = Field(
        None, description="The master key, 32 bytes as base64, or several as `version:base64`; default: generated."
    )
    public_url: WebUrl = Field(
        "", description="How browsers reach the API, `https://ops.example.org`; for sign-in with a provider."
    )
    oidc_issuer: WebUrl = Field("", description="The OpenID Connect provider to sign in with; default: none.")
    oidc_client_id: str = Field("", description="What the provider calls us.")
    oidc_client_secret: SecretStr | None = Field(None, description="Our secret there; default: a public client, PKCE alone.")
    oidc_scope: str = Field("openid profile email", description="What is asked of the provider.")
    oidc_name_claim: str = Field("preferred_username", description="The claim that is the user's name here.")
    oidc_groups_claim: str = Field("groups", description="The claim that holds the user's groups.")
    oidc_roles: str = Field("", description="Which roles groups give: `ops=operator,ops-admins=administrator`.")
    instance: str = Field("", description="This process's stable name, part of a folder's; default: the machine's name.")
    vault_url: str = Field("", description="HashiCorp Vault or OpenBao to keep secrets in; default: the database, sealed.")
    vault_mount: str = Field("secret", description="Where its KV engine, version 2, is mounted.")
    vault_folder: str = Field("opsconductor", description="What the paths of our secrets there begin with.")
    vault_namespace: str = Field("", description="Its namespace.")
    vault_token: SecretStr | None = Field(None, description="A token for it; or an AppRole:")
    vault_role_id: str = Field("", description="The AppRole's role id.")
    vault_secret_id: SecretStr | None = Field(None, description="The AppRole's secret id.")
    log_prefix: str = Field("ops", description="What every Kafka topic's name begins with.")
    log_partitions: int = Field(12, ge=1, le=1000, description="Shards of a new log; fixed for ever when it is created.")
    log_replication: int = Field(
        3, ge=1, le=9, description="Replicas of every Kafka topic; 3 or more survive the loss of a broker."
    )
    lease_s: float = Field(15, ge=1, le=3600, description="An executor that is silent for so many seconds has lost its runs.")
    outcome_wait_s: float = Field(5, gt=0, le=60, description="How long a write waits for its outcome before it answers 202.")
    max_connections: int = Field(128, ge=1, le=2000, description="How many steps one executor runs at a time.")
    metrics_listen: str = Field("", description="Where roles other than the API serve /metrics and /health; default: nowhere.")
    log_level: str = Field("info", description="debug, info, warning or error.")

    @field_validator("home")
    @classmethod
    def _home_is_absolute(cls, home: Path) -> Path:
        if "\0" in str(home):
            raise ValueError("no path holds U+0000")
        try:
            return home.expanduser().absolute()
        except RuntimeError:
            raise ValueError("there is no such user's home") from None

    @field_validator("admin_password", "master_key", "oidc_client_secret", "vault_token", "vault_secret_id")
    @classmethod
    def _secrets_can_be_sent(cls, secret: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        try:
            raw = secret.get_secret_value().encode() if secret else b""
        except UnicodeError:
            raise ValueError("is no text in UTF-8") from None
        if info.field_name == "vault_token" and any(not 0x21 <= byte <= 0x7E for byte in raw):
            raise ValueError("is no token")
        return secret

    @field_validator("admin_password")
    @classmethod
    def _password_is_long_enough(cls, password: SecretStr | None) -> SecretStr | None:
        if password is None or not password.get_secret_value():
            return None  # set to nothing, as compose files do, is not set
        if len(password.get_secret_value()) < MIN_LENGTH:
            raise ValueError(f"must have at least {MIN_LENGTH} characters")
        return password

    @field_validator("master_key")
    @classmethod
    def _keys_are_keys(cls, keys: SecretStr | None) -> SecretStr | None:
        if keys is not None:
            try:
                given(keys.get_secret_value())
            except BadMasterKey as bad:
                raise ValueError(str(bad)) from None
        return keys

    @field_validator("trusted_proxies")
    @classmethod
    def _proxies_are_networks(cls, proxies: str) -> str:
        networks(proxies)
        return proxies

    @field_validator("cors_origins")
    @classmethod
    def _origins_are_exact(cls, origins: str) -> str:
        cors.origins(origins)
        return origins

    @field_validator("listen", "metrics_listen")
    @classmethod
    def _listens_on_an_address(cls, text: str, info: ValidationInfo) -> str:
        if text or info.field_name == "listen":
            address(text)
        return text

    @field_validator("log_level")
    @classmethod
    def _level_is_known(cls, level: str) -> str:
        if level.lower() not in LOG_LEVELS:
            raise ValueError(f"must be one of {', '.join(LOG_LEVELS)}")
        return level.lower()

    @field_validator("log_prefix")
    @classmethod
    def _prefix_can_begin_a_topic(cls, prefix: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,100}", prefix, re.ASCII):
            raise ValueError("must be 1 to 100 letters, digits, dots, underscores and hyphens")
        return prefix

    @field_validator("instance")
    @classmethod
    def _instance_can_name_a_folder(cls, instance: str) -> str:
        if instance and not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}", instance):
            raise ValueError("must be 1 to 100 letters, digits, dots, underscores and hyphens, not beginning with a dot")
        return instance

    @property
    def is_embedded(self) -> bool:
        """Whether the log is SQLite, so that everything runs in one process."""
        return not self.log_url.startswith("kafka://")

    @property
    def log_folder(self) -> Path:
        """The folder of the SQLite log."""
        return path_of(self.log_url) if self.log_url else self.home / "log"

    @property
    def bootstrap(self) -> str:
        """Kafka's bootstrap servers."""
        return self.log_url.removeprefix("kafka://").rstrip("/")

    @property
    def read_models_url(self) -> str:
        """The database of the read models and the vault."""
        return self.database_url or sqlite_url(self.home / "read-models.db")

    @property
    def instance_name(self) -> str:
        """This process's stable name."""
        return self.instance or socket.gethostname()

    @property
    def listen_address(self) -> tuple[str, int]:
        """Host and port to listen on."""
        return address(self.listen)

    @property
    def tls(self) -> tuple[Path, Path] | None:
        """Certificate and key, where the API speaks TLS itself. Raises `ValueError` when only one is given."""
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("OPSCONDUCTOR_TLS_CERT and OPSCONDUCTOR_TLS_KEY are of no use without each other")
        return (self.tls_cert, self.tls_key) if self.tls_cert and self.tls_key else None

    @property
    def proxies(self) -> tuple[Network, ...]:
        """Whose word about a caller's address is believed."""
        return networks(self.trusted_proxies)

    @property
    def rates(self) -> Mapping[Kind, int]:
        """Requests a minute."""
        return {
            "account_reads": self.rate_account_reads,
            "account_writes": self.rate_account_writes,
            "address_reads": self.rate_address_reads,
            "address_writes": self.rate_address_writes,
        }

    @property
    def is_in_the_clear(self) -> bool:
        """Whether other machines may reach the API, and nothing says that what they send is encrypted on the way."""
        return not (_is_loopback(self.listen_address[0]) or self.tls or self.proxies)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def settings_given(**chosen: Any) -> Settings:
    """The settings of this process's environment, these ones chosen otherwise. Raises `WrongSetting`."""
    try:
        settings = Settings(**chosen)
        settings.tls  # noqa: B018 - read now: it may be half of a pair
    except ValidationError as wrong:
        raise WrongSetting("; ".join(_told(error) for error in wrong.errors(include_input=False))) from None
    except ValueError as wrong:
        raise WrongSetting(str(wrong)) from None
    return settings


_ELSEWHERE = frozenset({"OPSCONDUCTOR_URL", "OPSCONDUCTOR_TOKEN", "OPSCONDUCTOR_CA_FILE", "OPSCONDUCTOR_SERVICES_DIR"})
"""Those of the command line, and where `cluster` keeps its services."""

_OF_KUBERNETES = re.compile(r"OPSCONDUCTOR_(SERVICE_(HOST|PORT\w*)|PORT\w*)")
"""What it sets in every pod beside a service of our name."""


def unknown_settings(environment: Mapping[str, str]) -> list[str]:
    """The names in an environment that begin as settings do and are none: misspelt ones, that change nothing."""
    known = _ELSEWHERE | {f"OPSCONDUCTOR_{name.upper()}" for name in Settings.model_fields}
    ours = sorted(name for name in environment if name.upper().startswith("OPSCONDUCTOR_"))
    return [name for name in ours if name.upper() not in known and not _is_of_kubernetes(name, environment)]


def _is_of_kubernetes(name: str, environment: Mapping[str, str]) -> bool:
    return "OPSCONDUCTOR_SERVICE_HOST" in environment and _OF_KUBERNETES.fullmatch(name) is not None


def _told(error: Any) -> str:
    where = f"OPSCONDUCTOR_{str(error['loc'][0]).upper()}: " if error["loc"] else ""
    reason = str(error["msg"]).removeprefix("Value error, ")
    return where + reason
