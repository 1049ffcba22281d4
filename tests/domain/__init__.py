"""The rules, by example and by search."""
