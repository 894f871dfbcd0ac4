"""What a layer sees, taken apart into a few concepts: factors of its values that are nowhere below zero.

Fel et al. 2023, "CRAFT: Concept Recursive Activation FacTorization": the values A (n, K) of a layer are about
U W, with U (n, r) how much of each concept there is, and W (r, K) what channels a concept is made of.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import BadRequest, Unavailable

ROUNDS = 300  # of the factorisation; scikit-learn warns where a tolerance is not reached
SEED = 0


def factors(values: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """U (n, count) and W (count, K) float32 with U W as near as can be to values (n, K), none below zero.

    Each row of W has the length 1, so that U can be compared. Lee & Seung 1999; scikit-learn's coordinate
    descent from its deterministic start (NNDSVD with means for zeros).

    Raises BadRequest for values below zero, and for more concepts than there are values or channels;
    Unavailable without scikit-learn.
    """
    _check(values)
    if not 1 <= count <= min(values.shape):
        raise BadRequest(
            f"{count} concepts of {values.shape[0]} patches and {values.shape[1]} channels: say at most "
            f"{min(values.shape)}"
        )
    model = _nmf()(count, init="nndsvda", max_iter=ROUNDS, tol=0, random_state=SEED)
    amounts = model.fit_transform(values.astype(np.float64))
    lengths = np.linalg.norm(model.components_, axis=1)
    lengths[lengths == 0] = 1  # a concept of which there is nothing
    return (amounts * lengths).astype(np.float32), (model.components_ / lengths[:, None]).astype(np.float32)


def amounts(values: np.ndarray, concepts: np.ndarray) -> np.ndarray:
    """How much of each of the concepts W (r, K) there is in values (n, K): U (n, r), none below zero.

    The least squares of each row by itself, by scikit-learn's coordinate descent. Raises as `factors` does.
    """
    _check(values)
    from sklearn.decomposition import non_negative_factorization  # pyright: ignore[reportMissingImports]

    given = np.ascontiguousarray(concepts, np.float64)
    found, *_ = non_negative_factorization(
        values.astype(np.float64),
        H=given,
        n_components=len(given),  # pyright: ignore[reportArgumentType]
        init="custom",
        update_H=False,
        max_iter=ROUNDS,
        tol=0,
    )
    return found.astype(np.float32)


def _check(values: np.ndarray) -> None:
    if not np.isfinite(values).all() or (values < 0).any():
        raise BadRequest(
            "concepts are parts that add up, and this layer has values below zero, or none that are numbers: "
            "name a layer behind a rectifier"
        )


def _nmf() -> Any:
    try:
        from sklearn.decomposition import NMF  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise Unavailable("concepts need scikit-learn: pip install 'onnxlens[cluster]'") from None
    return NMF
