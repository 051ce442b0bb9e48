"""Networks that the stages here start from, trained once a session."""

import pytest

from pipeline.stages.cluster import Cluster
from pipeline.stages.compress import Compress
from pipeline.stages.convert import Convert
from pipeline.stages.prune import Prune
from pipeline.stages.qat import Qat
from tests.support.stages import TRAIN, Runner


@pytest.fixture(scope="session")
def runner(tmp_path_factory):
    return Runner(tmp_path_factory.mktemp("training"))


@pytest.fixture(scope="session")
def trained(runner):
    return runner(TRAIN)


@pytest.fixture(scope="session")
def pruned(runner, trained):
    return runner(Prune(stage="prune", sparsity=0.5, epochs=3, batch_size=128, min_weights=100), trained)


@pytest.fixture(scope="session")
def aware(runner, pruned):
    return runner(Qat(stage="qat", epochs=1, batch_size=128), pruned)


@pytest.fixture(scope="session")
def zeros_shared(runner, pruned):
    """Shared weights behind pruning, in one of the two pruned layers."""
    stage = Cluster(stage="cluster", clusters=8, skip=("conv2",), epochs=2, batch_size=128, min_weights=100)
    return runner(stage, pruned)


@pytest.fixture(scope="session")
def shared_file(runner, zeros_shared):
    aware = runner(Qat(stage="qat", epochs=1, batch_size=128), zeros_shared)
    return runner(Convert(stage="convert", quantization="int8"), aware)


@pytest.fixture(scope="session")
def packed_file(runner, shared_file):
    pytest.importorskip("tflite_micro")
    return runner(Compress(stage="compress"), shared_file)
