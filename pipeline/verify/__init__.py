"""Measure .tflite files and check them. Shares no code with the conversion, and does not import TensorFlow."""
