"""What all other rooms build on: errors, settings, YAML, the store, processes, formatting of numbers."""
