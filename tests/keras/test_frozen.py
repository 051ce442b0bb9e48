"""Frozen layers (`trainable: false`) keep channels, weights and statistics in stages that train nothing too."""


def examine(send):
    """Send what channel_prune and recalibrate say of a network that is frozen in part, and how it was thinned."""
    from pipeline.keras import normalization, tf
    from pipeline.keras.pruning.channels import wiring, without

    tf.start(0)
    import numpy as np
    from tf_keras import Input, Model, layers

    x = inputs = Input((8, 8, 1))
    for name, frozen in (("a", False), ("b", True), ("c", False), ("d", False)):
        x = layers.Conv2D(8, 3, padding="same", name=name, trainable=not frozen)(x)
        x = layers.BatchNormalization(name=f"norm_{name}", trainable=not frozen)(x)
    model = Model(inputs, layers.Dense(10, name="out")(layers.Flatten()(x)))
    wired = wiring(model)
    send({group.name: group.why for group in wired.groups})
    send(normalization.reasons(model))
    (free,) = [group for group in wired.groups if group.name == "c"]
    kept = wired.all.copy()
    kept[free.channels[:4]] = False
    smaller = without(model, wired, kept)
    send(
        [
            np.array_equal(*pair)
            for pair in zip(*(m.get_layer("b").get_weights() for m in (model, smaller)), strict=True)
        ]
    )
    send((smaller.get_layer("b").trainable, smaller.get_layer("c").output_shape))


def test_what_is_frozen_keeps_its_channels_and_its_statistics(in_child):
    groups, norms, equal, thinned = in_child(examine)
    why = "is frozen: its `trainable` is false"
    assert groups == {"a": f"reaches b, which {why}", "b": why, "c": "", "d": "", "out": "makes the model's output"}
    assert norms == {"norm_a": "", "norm_b": why, "norm_c": "", "norm_d": ""}
    assert equal == [True, True]
    assert thinned == (False, (None, 8, 8, 4))
