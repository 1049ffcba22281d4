"""Adapters, each folder a technology; imported only by `infra.wiring` and `infra.cli`."""
