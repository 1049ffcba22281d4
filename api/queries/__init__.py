"""Queries over the read models, one module a resource."""
