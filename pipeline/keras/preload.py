"""What the fork server imports before the first stage, so that every stage's process starts with it in memory."""

from pipeline.keras import tf

tf.load()
