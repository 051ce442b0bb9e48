"""What files run on: one YAML file each, data only, beside the tables of ops that they refer to."""

from pipeline.verify.targets.target import AnyTarget, Target, expand, load, names, placed

__all__ = ["AnyTarget", "Target", "expand", "load", "names", "placed"]
