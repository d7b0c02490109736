"""A picture of the gradient features: UMAP in two dimensions."""

import numpy as np
from numpy.typing import NDArray

MIN_ROWS = 5
SEED = 42


def umap_embed(features: NDArray[np.floating], neighbors: int = 15, seed: int = SEED) -> NDArray[np.float32]:
    """Embed unit-length gradient features in the plane with UMAP (cosine distance, fixed seed).

    Parameters
    ----------
    features : ndarray, [n, f]
        At least `MIN_ROWS` rows.
    neighbors : int
        UMAP's n_neighbors, cut to n - 1.
    seed : int
        Same seed and features, same picture.

    Returns
    -------
    ndarray, [n, 2]
        Coordinates; only nearness means anything, axes and directions do not.
    """
    # Compiles numba code for tens of seconds: never import it at the top of a module that the app loads.
    import umap

    n = len(features)
    if n < MIN_ROWS:
        raise ValueError(f"UMAP needs at least {MIN_ROWS} rows, got {n}")
    reducer = umap.UMAP(
        n_neighbors=min(neighbors, n - 1),
        metric="cosine",
        random_state=seed,
        n_jobs=1,
        # The spectral start fails on a handful of points; random starts do not.
        init="spectral" if n > 3 * MIN_ROWS else "random",
    )
    return np.asarray(reducer.fit_transform(features.astype(np.float32)), dtype=np.float32)
