"""What is said of settings that cannot be meant, and with which status does a process end for them?"""

MISCONFIGURED = 78
"""The exit status of whatever cannot begin because a setting is wrong (EX_CONFIG)."""


class WrongSetting(Exception):
    """A setting that cannot be meant; the message names the variable and never shows a secret."""
