"""ADMM: a penalty that draws the weights towards the zeros."""

import numpy as np


def drawn(send):
    """How far the weights are from those with the zeros, over their size, with a strong and a weak penalty."""
    from pipeline.keras import tf
    from pipeline.keras.pruning import admm

    for rho in (1.0, 1e-6):
        tf.start(1)
        import tf_keras

        model = tf_keras.Sequential([tf_keras.layers.Dense(8, input_shape=(16,), use_bias=False)])
        kernel = model.layers[0].kernel
        step = admm.callback(model, [(kernel, 0.5)], rho, 99)
        model.compile("adam", "mse")
        model.optimizer.learning_rate = 0.01
        random = np.random.default_rng(1)
        x, dense = random.normal(size=(64, 16)).astype(np.float32), random.normal(size=(16, 8))
        model.fit(x, x @ dense, epochs=40, verbose=0, callbacks=[step])
        w = kernel.numpy()
        send(float(np.linalg.norm(w - admm.project(w, 0.5)) / np.linalg.norm(w)))


def test_the_penalty_draws_the_weights(in_child):
    near, far = in_child(drawn)
    assert near < 0.5 * far
