"""The canonical squared distance, for the loops to share."""

cdef extern from "_distances.h" nogil:
    float winnow_squared_distance(const float *a, const float *b, Py_ssize_t width)
    float winnow_squared_distance_below(const float *a, const float *b, Py_ssize_t width, float limit)
