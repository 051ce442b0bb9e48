"""edgepipe: a Keras model to full-integer TensorFlow Lite, with the proof of what ships."""

__version__ = "0.1.0"
