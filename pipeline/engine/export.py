"""Put a .tflite file into the form that a firmware or an app takes."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from pipeline import tflite
from pipeline.config.overrides import override
from pipeline.core import validation, yaml
from pipeline.core.errors import ConfigError, Fault
from pipeline.core.settings import Settings
from pipeline.export.format import AnyFormat, Format
from pipeline.verify import measurement
from pipeline.verify.device import Asked


class Export(Settings):
    """What `edgepipe export` is asked for."""

    format: AnyFormat
    """The form of the files."""


def chosen(name: str, overrides: Sequence[str]) -> Format:
    """The format of that name with settings such as ``prefix=kws``. ConfigError with every fault."""
    value = {"format": {"format": name}}
    origins = {override(value, f"format.{option}"): f"--set {option}" for option in overrides}
    document = yaml.Document("--format", value, {(): (1, 1)})
    return validation.validated(Export, document, value, origins).format


def export(path: Path, format_: Format, folder: Path) -> dict[Path, int]:
    """Write the files of a format into the folder, which is made; returns their sizes in bytes.

    Each file appears whole or not at all, and all are ready before the first is written. Raises InputError for a file
    that is no .tflite file or can't be put into this form, ConfigError for a folder that can't be written.
    """
    model = tflite.read(path)
    facts = measurement.read(path.stem, path)
    facts = facts.model_copy(update=Asked(None).measure(path))
    files = format_.files(model, facts.contract, facts)
    try:
        for name, content in files.items():
            _write(folder / name, content)
    except OSError as error:
        received = error.strerror or str(error)
        raise ConfigError(Fault("can't be written", where=f"--out {folder}", received=received)) from None
    return {folder / name: len(content) for name, content in files.items()}


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
        try:
            file.write(content)
            file.close()
            Path(file.name).chmod(0o644)
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
