"""Builds recurrent networks in Keras and writes each as ONNX, beside what TensorFlow's own tapes say of it.

    python keras_loops.py FOLDER

Of each: NAME.onnx, and in NAME.npz x, u, v, the answer y, the gradient g of ⟨u, y⟩ by x and h, the Hessian of
that times v. In a process of its own, as keras_export.py.
"""

import os
import sys
from pathlib import Path

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}

import numpy as np

NAMES = ("gru", "gru_text", "gru_masked", "bidirectional_gru", "bidirectional_lstm", "rnn", "conv_lstm")


def built(name):
    import keras
    from keras import layers

    keras.utils.set_random_seed(3)
    columns = [
        keras.Input((8, 12, 3)),
        layers.Conv2D(4, 3, padding="same", activation="tanh"),
        layers.Permute((2, 1, 3)),
        layers.Reshape((12, 32)),
    ]
    answer = layers.Dense(4, activation="softmax")
    made = {
        "gru": lambda: [*columns, layers.GRU(5)],
        "gru_text": lambda: [*columns, layers.GRU(5, return_sequences=True)],
        "gru_masked": lambda: [keras.Input((6, 3)), layers.Masking(), layers.GRU(5)],
        "bidirectional_gru": lambda: [*columns, layers.Bidirectional(layers.GRU(5, reset_after=False))],
        "bidirectional_lstm": lambda: [
            *columns,
            layers.Bidirectional(layers.LSTM(5, return_sequences=True)),
        ],
        "rnn": lambda: [*columns, layers.SimpleRNN(5, go_backwards=True)],
        "conv_lstm": lambda: [
            keras.Input((3, 6, 6, 2)),
            layers.ConvLSTM2D(4, 3, padding="same", return_sequences=True),
            layers.GlobalAveragePooling3D(),
        ],
    }
    return keras.Sequential([*made[name](), answer])


def main(folder: Path) -> None:
    import tensorflow as tf

    for name in NAMES:
        model, rng = built(name), np.random.default_rng(1)
        for weight in model.weights:
            weight.assign(np.asarray(rng.standard_normal(weight.shape) * 0.4, np.float32))
        x, v = (rng.standard_normal((2, *model.input_shape[1:])).astype(np.float32) for _ in range(2))
        u, at = rng.standard_normal((2, *model.output_shape[1:])).astype(np.float32), tf.constant(x)
        with tf.GradientTape() as outer:
            outer.watch(at)
            with tf.GradientTape() as tape:
                tape.watch(at)
                y = model(at)
                score = tf.reduce_sum(y * u)
            g = tape.gradient(score, at)
            along = tf.reduce_sum(g * v)
        h = outer.gradient(along, at)
        np.savez(folder / f"{name}.npz", x=x, u=u, v=v, y=y.numpy(), g=g.numpy(), h=h.numpy())
        spec = [tf.TensorSpec((None, *model.input_shape[1:]), tf.float32, name="image")]
        model.export(folder / f"{name}.onnx", format="onnx", verbose=False, input_signature=spec)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
