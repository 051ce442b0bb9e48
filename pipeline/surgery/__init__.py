"""Change a Keras network so that tfmot and the TFLite converter can work with all of it."""

from pipeline.surgery.equalization import Pair, equalize, largest, pairs
from pipeline.surgery.folding import Folded
from pipeline.surgery.graph import Rebuild, flat
from pipeline.surgery.quantizers import FEW_BITS, Quantized
from pipeline.surgery.ranges import measure as measure_ranges
from pipeline.surgery.relu6 import Unlimited
from pipeline.surgery.rewrite import Network, quantizable
from pipeline.surgery.switched import INPUT, Simulation, Unit, simulation

__all__ = [
    "FEW_BITS", "INPUT", "Folded", "Network", "Pair", "Quantized", "Rebuild", "Simulation", "Unit", "Unlimited",
    "equalize", "flat", "largest", "measure_ranges", "pairs", "quantizable", "simulation",
]  # fmt: skip
