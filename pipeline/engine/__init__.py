"""Plan a run, check its networks, and run its stages."""
