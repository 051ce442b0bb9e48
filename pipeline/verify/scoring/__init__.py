"""Metrics: one module for each task, the table of all metrics, and paired statistics."""
