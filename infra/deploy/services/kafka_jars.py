"""Where do the Kafka broker's jars come from? From Maven, once; afterwards from a folder."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from infra.deploy.services.native_process import ServiceFailed, ServiceUnavailable, program

_POM = Path(__file__).with_name("pom.xml")


def kafka_jars(cache: Path, within_s: float = 600.0) -> Path:
    """The folder with the jars that `pom.xml` names, fetched when it is not there yet; a second call needs no Maven.

    Raises `ServiceUnavailable` when Java or, for the first call, Maven is absent; `ServiceFailed` when Maven fails.
    """
    program("java")
    jars = cache / f"kafka-jars-{hashlib.sha256(_POM.read_bytes()).hexdigest()[:12]}"
    if not jars.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        _fetch(jars, within_s)
    return jars


def _fetch(jars: Path, within_s: float) -> None:
    """Into a folder beside, then renamed: two who fetch at once, or a fetch cut off, leave no half folder."""
    beside = Path(tempfile.mkdtemp(prefix="fetching-", dir=jars.parent))
    pom = shutil.copy(_POM, beside / "pom.xml")
    command = [program("mvn"), "-B", "-q", "-f", pom, "dependency:copy-dependencies", "-DincludeScope=runtime"]
    try:
        ran = subprocess.run(
            [*command, f"-DoutputDirectory={beside / 'jars'}"],
            capture_output=True,
            text=True,
            timeout=within_s,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        if ran.returncode:
            raise ServiceFailed(f"Maven could not fetch Kafka: {(ran.stdout + ran.stderr)[-2000:]}")
        os.rename(beside / "jars", jars)
    except subprocess.TimeoutExpired as late:
        raise ServiceUnavailable(f"Maven did not fetch Kafka within {within_s:g} s") from late
    except OSError:
        if not jars.is_dir():
            raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)
