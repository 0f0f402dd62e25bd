"""Samples become vectors: the encoders of the table, a cache that knows every sample, and the loop that fills it.

Map: `base` what an encoder is; `descriptor`, `given`, `winnow_64` (its network: `student`) and `backbone` the encoders;
`device` and `forward` where and how networks run; `fetch` brings weights; `torchvision_door` lets torchvision in beside
a CPU torch; `cache` finished rows on disk, `extract` the loop, `head` fewer numbers fitted on a dataset; `report`
and `evaluate` what vectors are worth; `training` where the shipped weights come from.
"""

import functools
from importlib import import_module

from winnow.datasets.base import Kind
from winnow.embeddings.base import Encoder, Runtime
from winnow.encoders import ENCODERS
from winnow.errors import WeightsMissing
from winnow.weights import missing_modules

__all__ = ["ENCODERS", "Encoder", "Runtime", "encoder_for", "get_encoder"]

_ANYWHERE = Runtime()


@functools.cache
def get_encoder(name: str, runtime: Runtime = _ANYWHERE) -> Encoder:
    """A module is loaded when its encoder is first asked for, since one may bring a whole framework."""
    entry = ENCODERS[name]
    if missing := missing_modules(entry):
        wanted = f"{name} needs {', '.join(missing)}; install winnow[{entry.extra}], or ask for descriptor-64"
        raise WeightsMissing(wanted)
    module, kind = entry.code.split(":")
    encoder: Encoder = getattr(import_module(module), kind)(entry, runtime)
    return encoder


def encoder_for(kind: Kind, name: str, runtime: Runtime = _ANYWHERE) -> Encoder:
    """The encoder a dataset is really read with: one of vectors brings its own, whatever the job names."""
    return get_encoder("given" if kind == "vectors" else name, runtime)
