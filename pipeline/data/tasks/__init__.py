"""The tasks that a model can learn, one module each."""
