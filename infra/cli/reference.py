"""Implements `make reference`: writes the generated reference and the published JSON Schemas below a folder."""

from pathlib import Path

import typer

from infra.cli.manual import manual
from schemas.export import PUBLISHED, documents


def write_reference(folder: Path, app: typer.Typer) -> list[Path]:
    """Write every generated file below `folder`, remove published schemas that are no more, and name what changed."""
    changed = []
    for path, text in {**documents(), **manual(app)}.items():
        file = folder / path
        if not file.exists() or file.read_text() != text:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            changed.append(file)
    for file in sorted((folder / PUBLISHED).rglob("*.json")):
        if str(file.relative_to(folder)) not in documents():
            file.unlink()
            changed.append(file)
    return changed
