"""Which bounds hold for SSH? All in seconds or counts; the defaults suit OpenSSH's own."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SshSettings:
    """The bounds of one connector. None of them depends on what a target does.

    `channels_per_connection` stays below OpenSSH's MaxSessions (10), so that a confirmation always finds room, and
    `connects_per_host` below its MaxStartups (10), so that no log-in is refused by chance.
    """

    threads: int = 128
    connect_timeout_s: float = 15.0
    refusals_for_s: float = 20.0
    answer_timeout_s: float = 10.0
    max_connections: int = 1000
    channels_per_connection: int = 8
    connects_per_host: int = 8
    idle_timeout_s: float = 300.0
    recycle_after_channels: int = 1000
    recycle_after_s: float = 3600.0
    keepalive_s: int = 15
    quiet_s: float = 0.3
    quiet_bound_s: float = 5.0
    confirm_timeout_s: float = 10.0
