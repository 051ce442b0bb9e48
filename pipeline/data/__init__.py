"""Data sources, tasks, and the preprocessing contract."""
