"""How is Redis reached? With short time-outs and a bounded pool: it is never worth waiting for."""

from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import RedisError

WITHIN_S = 1.0
_MOST_CONNECTIONS = 32

Failed = (RedisError, OSError, TimeoutError)
"""What a call raises when Redis is not there or not well."""


def connect(url: str) -> Redis:
    """A client; one connection is never shared by two calls at once (HAZARDS R53)."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=_MOST_CONNECTIONS,
        timeout=WITHIN_S,
        socket_timeout=WITHIN_S,
        socket_connect_timeout=WITHIN_S,
        decode_responses=True,
    )
    return Redis(connection_pool=pool)
