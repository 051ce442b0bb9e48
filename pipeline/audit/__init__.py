"""Inspect, verify, compare and recheck files and run folders of any origin. All of them are untrusted."""
