"""Implements SessionStore, SignInAttempts and Wakeups on Redis, which may lose everything at any time."""
