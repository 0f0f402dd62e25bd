"""Samples become vectors: one table of encoders, a cache that knows every sample, and the loop that fills it.

Map: `base` what an encoder is, `descriptor`, `given` and `winnow_64` the encoders, `student` the network of the last,
`cache` finished rows on disk, `extract` the loop, `training` where the shipped weights come from.
"""

from functools import cache
from importlib import import_module
from typing import Final

from winnow.datasets.base import Kind
from winnow.embeddings.base import Encoder
from winnow.errors import WeightsMissing

__all__ = ["ENCODERS", "Encoder", "encoder_for", "get_encoder"]

# Where each is; a module is loaded when its encoder is first asked for, since one may bring a whole framework.
ENCODERS: Final[dict[str, str]] = {
    "winnow-64": "winnow.embeddings.winnow_64:Winnow64",
    "descriptor-64": "winnow.embeddings.descriptor:Descriptor64",
    "given": "winnow.embeddings.given:Given",
}


@cache
def get_encoder(name: str) -> Encoder:
    module, kind = ENCODERS[name].split(":")
    try:
        encoder: Encoder = getattr(import_module(module), kind)()
    except ModuleNotFoundError as error:
        raise WeightsMissing(f"{name} needs {error.name}; install winnow[torch], or ask for descriptor-64") from error
    return encoder


def encoder_for(kind: Kind, name: str) -> Encoder:
    """The encoder a dataset is really read with: one of vectors brings its own, whatever the job names."""
    return get_encoder("given" if kind == "vectors" else name)
