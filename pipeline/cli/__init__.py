"""The command line interface: commands and progress display."""
