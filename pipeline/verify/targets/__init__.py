"""Built-in targets: one YAML file for each target, and the op tables that the targets refer to."""

from pipeline.verify.targets.target import AnyTarget, Target, expand, load, names, placed

__all__ = ["AnyTarget", "Target", "expand", "load", "names", "placed"]
