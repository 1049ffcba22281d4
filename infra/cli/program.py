"""How is this program started once more? By the script it was itself started by, wherever the caller stands."""

import shutil
import sys
from pathlib import Path


def program() -> str:
    """The absolute path of the running `opsconductor` script."""
    return str(Path(shutil.which(sys.argv[0]) or sys.argv[0]).absolute())
