"""Samples become vectors: one table of encoders, a cache of finished shards, and the loop that fills it."""

from typing import Final

from winnow.embeddings.base import Encoder
from winnow.embeddings.descriptor import Descriptor64
from winnow.embeddings.given import Given

__all__ = ["ENCODERS", "Encoder", "get_encoder"]

ENCODERS: Final[dict[str, Encoder]] = {"descriptor-64": Descriptor64(), "given": Given()}


def get_encoder(name: str) -> Encoder:
    return ENCODERS[name]
