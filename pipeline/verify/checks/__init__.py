"""The checks: one module for each kind of check, and their base class in `check`."""
