"""Strategies that several tests draw from."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp


def matrices(min_rows=1, max_rows=40, max_width=70):
    """Small grids full of ties and duplicates, and wide ranges with cancellation and denormals."""
    shapes = st.tuples(st.integers(min_rows, max_rows), st.integers(1, max_width))
    grid = st.integers(-2, 2).map(float)
    wild = (
        st.floats(-(2.0**50), 2.0**50, width=32)
        | st.floats(-(2.0**-130), 2.0**-130, width=32)
        | st.sampled_from([1e8, 1e8 + 8])
    )
    return shapes.flatmap(
        lambda shape: st.one_of(
            hnp.arrays(np.float32, shape, elements=grid), hnp.arrays(np.float32, shape, elements=wild)
        )
    )
