"""Change a Keras network so that tfmot and the TFLite converter can work with all of it."""

from pipeline.surgery.graph import flat
from pipeline.surgery.quantizers import FEW_BITS, Quantized
from pipeline.surgery.ranges import measure as measure_ranges
from pipeline.surgery.rewrite import Network, quantizable
from pipeline.surgery.switched import INPUT, Simulation, Unit, simulation

__all__ = [
    "FEW_BITS", "INPUT", "Network", "Quantized", "Simulation", "Unit", "flat", "measure_ranges", "quantizable",
    "simulation",
]  # fmt: skip
