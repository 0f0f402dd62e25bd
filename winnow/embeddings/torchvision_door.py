"""Makes torchvision, and timm which needs it, importable beside a torch built for the processor alone.

torchvision's native half cannot be loaded there, and its Python half stops at two operators that only detectors call.
"""

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import torch

_DETECTORS_ONLY: Final = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


@cache
def open_door() -> torch.library.Library | None:
    """To be called before the first import. Declares the two where the native half does not bring them.

    What is declared lasts as long as the library that is kept here.
    """
    if _native_half_loads():
        return None
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for schema in _DETECTORS_ONLY:
        library.define(schema)  # type: ignore[no-untyped-call]
    return library


def _native_half_loads() -> bool:
    spec = find_spec("torchvision")
    folders = (spec.submodule_search_locations if spec else None) or []
    for file in (file for folder in folders for file in Path(folder).glob("_C.*")):
        try:
            torch.ops.load_library(file)  # type: ignore[no-untyped-call]
        except OSError:
            return False
    return hasattr(torch.ops.torchvision, "nms")
