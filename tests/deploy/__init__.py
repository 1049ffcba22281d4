"""Tests of what deploys the system on one machine."""
