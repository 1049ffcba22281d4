"""Services that all tests may ask for."""

from tests.support.services import kafka, postgres_url, redis_url, sshd

__all__ = ["kafka", "postgres_url", "redis_url", "sshd"]
