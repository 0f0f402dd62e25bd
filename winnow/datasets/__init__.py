"""Sources become items: listed in canonical order, read one by one, decoded where nothing can be harmed.

Map: `base` the contract, `sources` opens one, `allowed` says which may be opened, `folder`, `archive`, `objects`,
`urls`, `video`, `vectors` the kinds; `beneath` how files are opened, `stores` how object stores are spoken to,
`addresses` and `fetch` how URLs are judged and fetched, `blobs` pictures kept by their hash; `ahead` overlaps reads,
`snapshot` a listing on disk, `pages` one under way, `labels` what is said of samples; `decode` bytes to pixels,
`decoders` the guarded processes that do it, `video_decoder` and `video_protocol` how another one is asked for frames,
`video_process` and `video_frames` how it answers; `atomic` files that appear whole or not at all.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from winnow.datasets.allowed import check_source
    from winnow.datasets.base import Limits, Reader
    from winnow.datasets.sources import open_source

__all__ = ["Limits", "Reader", "check_source", "open_source"]

_HOMES: Final = {"Limits": "base", "Reader": "base", "check_source": "allowed", "open_source": "sources"}


def __getattr__(name: str) -> Any:
    """Found when first asked for: a decoder process imports this package too, and must not load what it never uses."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
