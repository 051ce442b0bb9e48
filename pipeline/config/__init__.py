"""From a YAML file to a validated config; the registry of all parts; the reference of all settings."""
