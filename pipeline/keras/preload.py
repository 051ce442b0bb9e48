"""Imported by the fork server before the first stage, so that each stage's process starts with TensorFlow loaded."""

from pipeline.keras import tf

tf.load()
