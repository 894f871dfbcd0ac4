"""Builds the network of `frameworks.py` in Keras and writes it as ONNX; run in a process of its own.

    python keras_export.py WEIGHTS.npz FOLDER

TensorFlow takes a gigabyte and talks a lot, so the tests do not import it.
"""

import os
import subprocess
import sys
from pathlib import Path

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}

import numpy as np


def built(w):
    import keras
    from keras import layers

    keras.backend.clear_session()
    norm = layers.BatchNormalization(epsilon=1e-5)
    model = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Conv2D(8, 3, padding="same"),
            norm,
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.Conv2D(12, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(5, activation="softmax"),
        ]
    )
    convs = [layer for layer in model.layers if isinstance(layer, layers.Conv2D)]
    for i, conv in enumerate(convs, 1):
        conv.set_weights([w[f"w{i}"].transpose(2, 3, 1, 0), w[f"b{i}"]])
    norm.set_weights([w["scale"], w["shift"], w["mean"], w["var"]])
    model.layers[-1].set_weights([w["w4"].T, w["b4"]])
    model(np.zeros((1, 32, 32, 3), np.float32))
    return model


def main(weights: str, folder: Path) -> None:
    model = built(np.load(weights))
    model.export(folder / "keras.onnx", format="onnx", verbose=False)
    model.export(folder / "saved", format="tf_saved_model", verbose=False)
    files = ["--saved-model", folder / "saved", "--output", folder / "tensorflow.onnx"]
    subprocess.run([sys.executable, "-m", "tf2onnx.convert", *files], check=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
