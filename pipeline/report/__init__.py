"""What a run found, as data and as pages: RunResult -> Report -> the files of the run folder."""
