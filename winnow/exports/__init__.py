"""An outcome as files: the ranked selection in each format, the removed, the quarantine, and copies of the pictures.

Map: `rows` one record a sample, `formats` the four spellings of the selection, `certificates` how good it is,
`embeddings` the vectors, `copies` the selected files themselves.
"""

from winnow.exports.certificates import certificate
from winnow.exports.copies import copy_selected
from winnow.exports.embeddings import VECTOR_FILES, VectorFile
from winnow.exports.formats import FORMATS, Format
from winnow.exports.rows import kept_rows, quarantine_rows, removed_rows

__all__ = [
    "FORMATS",
    "VECTOR_FILES",
    "Format",
    "VectorFile",
    "certificate",
    "copy_selected",
    "kept_rows",
    "quarantine_rows",
    "removed_rows",
]
