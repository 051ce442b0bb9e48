"""Networks as people bring them, each through a whole run: what comes out, or why it is refused: [NAME ...].

Every network is trained for a few epochs on data that are made here, by seed: pictures with a bright square, noisy
sines, and sequences of token ids. It is converted after training, and again behind pruning and quantization-aware
training. The table has, for each file, the accuracy of the runtime that counts, whether it is integer-only, and the
least signal-to-noise ratio of its tensors. The exit code is 1 if any network does not end as it should.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from pipeline.keras import tf

SEED = 1
CONFIG = """\
name: {name}
seed: 1
data: {{source: npz, path: data.npz}}
model: {{source: file, path: model.h5}}
stages:
  - {{stage: train, epochs: {epochs}, learning_rate: 0.005}}
  - {{stage: convert, name: float, quantization: float32}}
  - {{stage: convert, name: ptq, from: train, quantization: int8}}
  - {{stage: prune, from: train, sparsity: 0.5, epochs: 4, learning_rate: 0.002, min_weights: 64}}
  - {{stage: qat, epochs: 2, learning_rate: 0.0005}}
  - {{stage: convert, name: small, quantization: int8}}
  - stage: verify
    of: [ptq, small]
    baseline: float
    checks:
      - {{check: accuracy, max_drop: {drop}}}
      - {{check: integer_only}}
      - {{check: int8_spec}}
"""


def pictures(channels=1, count=900, size=16):
    """Grey noise with a bright square in one quadrant, which is the label: uint8 (N, 16, 16, channels), (N,)."""
    random = np.random.default_rng(SEED)
    labels, pixels, half = random.integers(0, 4, count), random.normal(75, 20, (count, size, size, channels)), size // 2
    for picture, label in zip(pixels, labels, strict=True):
        row, column = (divmod(int(label), 2)[i] * half + random.integers(0, half - 4) for i in (0, 1))
        picture[row : row + 4, column : column + 4] += 140
    return np.clip(pixels, 0, 255).astype(np.uint8), labels


def sines(channels=3, count=900, steps=24):
    """Noisy sines whose frequency is the label: float32 (N, 24, channels), (N,)."""
    random, time = np.random.default_rng(SEED), np.arange(steps) / steps
    labels = random.integers(0, 4, count)
    angle = 4 * np.pi * (labels[:, None, None] + 1) * time[:, None] + random.uniform(0, 6.3, (count, 1, channels))
    return (np.sin(angle) + random.normal(0, 0.3, angle.shape)).astype(np.float32), labels


def tokens(count=900, length=12, words=1000):
    """Random words, of which one of four stands somewhere, and its number is the label: int32 (N, 12), (N,)."""
    random = np.random.default_rng(SEED)
    labels, ids = random.integers(0, 4, count), random.integers(4, words, (count, length))
    ids[np.arange(count), random.integers(0, length, count)] = labels * 37 + 300
    return ids.astype(np.int32), labels


class Networks:
    """The networks by name: each method returns one, with its data. A docstring says how it ends otherwise than well.

    A docstring that begins with `refused:` has, after the colon, words of the message.
    """

    def __init__(self):
        import tf_keras

        self.k, self.l = tf_keras, tf_keras.layers

    def model(self, body, shape, dtype=None, **settings):
        x = inputs = self.l.Input(shape, dtype=dtype, **settings)
        return self.k.Model(inputs, self.l.Dense(4, activation="softmax")(body(x)))

    def picture_net(self, body, channels=1):
        return self.model(lambda x: self.l.Flatten()(self.l.MaxPool2D(4)(body(x))), (16, 16, channels))

    def sine_net(self, body, channels=3, **settings):
        return self.model(body, (24, channels), **settings)

    def pooled(self, *layers):
        """Layers one after the other, then the mean over time."""
        return self.k.Sequential([*layers, self.l.GlobalAveragePooling1D()])

    def plain(self):
        return self.picture_net(self.l.Conv2D(16, 3, padding="same", activation="relu")), pictures()

    def nested(self):
        base = self.k.Sequential([self.l.Input((16, 16, 1)), self.l.Conv2D(16, 3, activation="relu")], name="base")
        deep = self.k.Sequential([base, self.l.Conv2D(16, 3, activation="relu")], name="deep")
        return self.picture_net(deep), pictures()

    def frozen(self):
        base = self.k.Sequential(
            [
                self.l.Input((16, 16, 1)),
                self.l.Conv2D(16, 3, use_bias=False),
                self.l.BatchNormalization(),
                self.l.ReLU(),
            ]
        )
        base.trainable = False
        conv = self.l.Conv2D(16, 3, activation="relu")
        return self.picture_net(lambda x: conv(base(x))), pictures()

    def augmented_inside(self):
        augment = self.k.Sequential([self.l.RandomContrast(0.2), self.l.RandomTranslation(0.02, 0.02)], name="augment")
        conv = self.l.Conv2D(16, 3, padding="same", activation="relu")
        return self.picture_net(lambda x: conv(self.l.Rescaling(2.0, offset=-1)(augment(x))), 3), pictures(3)

    def open_size(self):
        conv, again = (self.l.Conv2D(n, 3, padding="same", activation="relu") for n in (8, 16))
        body = lambda x: self.l.Flatten()(self.l.Reshape((4, 4, 16))(self.l.MaxPool2D(4)(again(conv(x)))))  # noqa: E731
        return self.model(body, (None, None, 1)), pictures()

    def shared_layers(self):
        conv = self.l.Conv2D(16, 3, padding="same", activation="relu", name="twice")
        both = lambda x: self.l.Concatenate()([conv(x[..., :1]), conv(x[..., 1:])])  # noqa: E731
        return self.picture_net(both, 2), pictures(2)

    def softmax_inside(self):
        conv = self.l.Conv2D(16, 3, padding="same", activation="relu")
        return self.picture_net(lambda x: self.l.Multiply()([self.l.Softmax()(h := conv(x)), h])), pictures()

    def separable(self):
        split = self.l.SeparableConv2D(16, 3, padding="same")
        deep = self.l.DepthwiseConv2D(3, padding="same", depth_multiplier=2)
        first, norm = self.l.Conv2D(8, 3, padding="same"), self.l.BatchNormalization()
        return self.picture_net(lambda x: self.l.ReLU()(deep(self.l.ReLU(6.0)(norm(split(first(x))))))), pictures()

    def transposed(self):
        down, up = self.l.Conv2D(16, 3, 2, padding="same"), self.l.Conv2DTranspose(16, 3, 2, padding="same")
        return self.picture_net(lambda x: self.l.ReLU()(up(self.l.ReLU()(down(x))))), pictures()

    def channels_first(self):
        """refused: channels_last"""
        conv = self.l.Conv2D(16, 3, data_format="channels_first", activation="relu")
        pool = self.l.MaxPool2D(4, data_format="channels_first")
        x, y = pictures()
        return self.model(lambda x: self.l.Flatten()(pool(conv(x))), (1, 16, 16)), (x.transpose(0, 3, 1, 2), y)

    def conv1d(self):
        return self.sine_net(self.pooled(self.l.Conv1D(16, 5, padding="same", activation="relu"))), sines()

    def lstm(self):
        return self.sine_net(self.l.LSTM(16)), sines()

    def lstm_stack(self):
        return self.sine_net(self.k.Sequential([self.l.LSTM(12, return_sequences=True), self.l.LSTM(12)])), sines()

    def gru(self):
        return self.sine_net(self.k.Sequential([self.l.GRU(16, return_sequences=True), self.l.GRU(12)])), sines()

    def simple_rnn(self):
        return self.sine_net(self.l.SimpleRNN(16)), sines()

    def bidirectional_lstm(self):
        return self.sine_net(self.l.Bidirectional(self.l.LSTM(8))), sines()

    def bidirectional_gru(self):
        return self.sine_net(self.pooled(self.l.Bidirectional(self.l.GRU(8, return_sequences=True)))), sines()

    def time_distributed(self):
        wrapped = self.l.TimeDistributed(self.l.Dense(16, activation="relu"))
        return self.sine_net(self.pooled(self.l.Conv1D(8, 5, padding="same"), wrapped)), sines()

    def stateful(self):
        """refused: stateful=False"""
        return self.sine_net(self.l.LSTM(16, stateful=True), batch_size=1), sines()

    def attention(self):
        def body(x):
            h = self.l.Dense(16)(x)
            h = self.l.LayerNormalization()(self.l.Add()([h, self.l.MultiHeadAttention(2, 8)(h, h)]))
            wide = self.l.Dense(16)(self.l.Dense(32, activation="gelu")(h))
            return self.l.GlobalAveragePooling1D()(self.l.LayerNormalization()(self.l.Add()([h, wide])))

        conv = self.l.Conv1D(16, 5, padding="same")
        return self.sine_net(lambda x: body(conv(x)), 6), sines(6)

    def not_a_number(self):
        """refused: norm"""
        norm = self.l.BatchNormalization(name="norm")
        network = self.sine_net(self.pooled(self.l.Conv1D(8, 5, activation="relu"), norm))
        gamma, beta, mean, variance = norm.get_weights()
        norm.set_weights([gamma, beta, mean, np.where(np.arange(8) == 2, np.nan, variance)])
        return network, sines()

    def word_mean(self):
        embedded = self.l.Embedding(1000, 16)
        return self.model(lambda x: self.l.GlobalAveragePooling1D()(embedded(x)), (12,), "int32"), tokens()

    def word_conv(self):
        layers = [self.l.Embedding(1000, 16), self.l.Conv1D(16, 3, activation="relu"), self.l.GlobalMaxPooling1D()]
        return self.model(self.k.Sequential(layers), (12,), "int32"), tokens()


def activation(name):
    """A network with that activation inside a convolution."""

    def network(self):
        return self.sine_net(self.pooled(self.l.Conv1D(16, 5, padding="same", activation=name))), sines()

    return network


for each in ("elu", "selu", "gelu", "softplus", "softsign", "mish", "swish", "hard_sigmoid", "exponential", "tanh"):
    setattr(Networks, each, activation(each))


def names():
    return [name for name in vars(Networks) if name not in ("model", "picture_net", "sine_net", "pooled")
            and not name.startswith("_")]  # fmt: skip


def run(name, folder):
    """One row of the table, and whether the network ended as it should."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    tf.load()
    import tf_keras

    tf_keras.utils.set_random_seed(SEED)
    make = getattr(Networks, name)
    network, (x, y) = make(Networks())
    network.save(folder / "model.h5")
    np.savez(folder / "data.npz", x_train=x[:-200], y_train=y[:-200], x_test=x[-200:], y_test=y[-200:])
    (folder / "config.yaml").write_text(CONFIG.format(name=name, epochs=12, drop=0.05), encoding="utf-8")
    command = [sys.executable, "-m", "pipeline", "run", "config.yaml", "--out", "runs", "--store", "store"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    refusal = (make.__doc__ or "").partition("refused: ")[2].strip()
    report = folder / "runs" / name / "report.json"
    if refusal or not report.exists():
        line = next((line for line in done.stderr.splitlines() if line.startswith("error: ")), done.stderr[-200:])
        early = "train: starts" not in done.stderr
        return [name, "refused", line[:110]], bool(refusal) and refusal in done.stderr and early
    result = json.loads(report.read_bytes())
    cells = [name]
    for model in result["models"]:
        ratios = [tensor["sqnr_db"] for tensor in model["tensors"] if tensor["sqnr_db"] is not None]
        accuracy = f"{100 * model['metrics']['accuracy']:.1f} %"
        ratio = f", {min(ratios):.0f} dB" if ratios else ""
        cells.append(accuracy + ("" if model["name"] == "float" else f"{ratio}, {model['quantization']}"))
    wrong = [f"{check['model']} {check['check']}" for check in result["checks"] if check["status"] != "pass"]
    return [*cells, ", ".join(wrong) or "passes"], not wrong


def main(chosen):
    print("| network | float | int8 after training | int8 behind prune and qat | |\n|---|---|---|---|---|")
    well = True
    for name in chosen or names():
        with tempfile.TemporaryDirectory() as folder:
            row, good = run(name, Path(folder))
        well &= good
        print(f"| {' | '.join(row)} |{'' if good else ' <- not as it should be'}", flush=True)
    sys.exit(not well)


if __name__ == "__main__":
    main(sys.argv[1:])
