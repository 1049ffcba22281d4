"""Thin bindings of the processors: Faust in a cluster, asyncio when embedded."""
