"""Which software is this?"""

from importlib.metadata import version

VERSION = version("opsconductor")
