"""Interpreters that run .tflite files: LiteRT and TensorFlow Lite Micro."""
