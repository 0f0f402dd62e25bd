"""Samples become vectors: one table of encoders, a cache of finished shards, and the loop that fills it.

Map: `base` what an encoder is, `descriptor` and `given` the encoders, `cache` finished
shards on disk, `extract` the loop.
"""

from typing import Final

from winnow.datasets.base import Kind
from winnow.embeddings.base import Encoder
from winnow.embeddings.descriptor import Descriptor64
from winnow.embeddings.given import Given

__all__ = ["ENCODERS", "Encoder", "encoder_for", "get_encoder"]

ENCODERS: Final[dict[str, Encoder]] = {"descriptor-64": Descriptor64(), "given": Given()}


def get_encoder(name: str) -> Encoder:
    return ENCODERS[name]


def encoder_for(kind: Kind, name: str) -> Encoder:
    """The encoder a dataset is really read with: one of vectors brings its own, whatever the job names."""
    return ENCODERS["given" if kind == "vectors" else name]
