"""Bars as the core reads them: a row of float64 per bar, columns by name."""

from typing import Final

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

COLUMNS: Final = ("open", "high", "low", "close", "volume")
"""Columns of a bar row, in order; prices in quote, volume in base."""

OPEN, HIGH, LOW, CLOSE, VOLUME = range(5)

BAR_DTYPE: Final = np.dtype([("open_ns", "i8"), *((name, "f8") for name in COLUMNS)])
"""A bar with its open time in UTC nanoseconds. Stored bars carry more fields; these are what steps see."""


def bar_matrix(bars: npt.NDArray[np.void]) -> FloatArray:
    """Columns of a structured array of bars as one (n, 5) float64 block, whatever else the rows carry."""
    block = np.empty((len(bars), len(COLUMNS)), dtype=np.float64)
    for index, name in enumerate(COLUMNS):
        block[:, index] = bars[name]
    return block
