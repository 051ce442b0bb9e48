"""Models in other formats than .tflite, told by their first bytes or their files: what they are, and what to do."""

from pathlib import Path

_HDF5, _ZIP = b"\x89HDF\r\n\x1a\n", b"PK\x03\x04"
_SUFFIXES = {  # of files whose first bytes do not tell
    ".onnx": ("an ONNX model", "convert it with onnx2tf"),
    ".pt": ("a PyTorch file", "convert it with litert-torch"),
    ".pth": ("a PyTorch file", "convert it with litert-torch"),
}
_SAVED = (
    "convert it with tf.lite.TFLiteConverter.from_saved_model(FOLDER); "
    "one of Keras, loaded with tf_keras and saved as .h5, can be trained and converted here"
)
_KERAS = "name it as `model: {source: file, path: FILE}` in a config that converts it; `edgepipe inspect` describes it"


def kind(path: Path) -> tuple[str, str] | None:
    """Return what the model at a path is, in words, and what to do to get a .tflite file; None for anything else."""
    try:
        if path.is_dir():
            saved = any((path / name).is_file() for name in ("saved_model.pb", "saved_model.pbtxt"))
            return ("a SavedModel folder", _SAVED) if saved else None
        if not path.is_file():
            return None
        if path.suffix in _SUFFIXES:
            return _SUFFIXES[path.suffix]
        with path.open("rb") as file:
            head = file.read(8)
    except OSError:
        return None
    if head.startswith(_HDF5):
        return "a Keras .h5 file", _KERAS
    if head.startswith(_ZIP):
        return ("a Keras .keras archive", _KERAS) if path.suffix == ".keras" else ("a zip archive", "unpack it first")
    return None


def is_keras(path: Path) -> bool:
    """Return whether it is a model file of Keras, by its first bytes."""
    found = kind(path)
    return found is not None and found[1] == _KERAS
