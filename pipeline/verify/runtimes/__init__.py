"""The runtimes that files are compared on: one module for each, and their base class in `runtime`."""
