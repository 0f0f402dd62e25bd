"""An outcome as files: the ranked selection in each format, the removed, the quarantine, and copies of the pictures.

Map: `rows` one record a sample, `formats` the four spellings of the selection, `certificates` how good it is,
`copies` the selected files themselves.
"""

from winnow.exports.certificates import certificate
from winnow.exports.copies import copy_selected
from winnow.exports.formats import FORMATS, Format
from winnow.exports.rows import kept_rows, quarantine_rows, removed_rows

__all__ = ["FORMATS", "Format", "certificate", "copy_selected", "kept_rows", "quarantine_rows", "removed_rows"]
