"""Networks that others have trained: built by torchvision or timm, with weights that are at hand and nothing else."""

import hashlib
import sys
from collections.abc import Sequence
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import nn

from winnow import weights
from winnow.embeddings import fetch
from winnow.embeddings.base import OfTheTable
from winnow.embeddings.device import chosen_device, chosen_dtype
from winnow.embeddings.forward import Forward, fused, in_colours
from winnow.embeddings.torchvision_door import open_door
from winnow.encoders import Entry
from winnow.errors import WeightsMissing
from winnow.results import Vectors

_BATCH: Final = {"cpu": 8, "cuda": 64}  # on a processor more do not fit into its caches

Tensors = dict[str, torch.Tensor]


class Backbone(OfTheTable):
    """Loaded when its version is first asked for: which weights these are is part of it."""

    @property
    def version(self) -> str:
        """The weights by name and content, and what else changes bits: the kind of device, and its arithmetic."""
        device, dtype = self._where
        return f"{self.entry.version}-{self._loaded[1]}-{device.type}-{str(dtype).removeprefix('torch.')}"

    def embed(self, pictures: Sequence[NDArray[np.uint8]]) -> Vectors:
        return self._forward(pictures)

    @cached_property
    def _where(self) -> tuple[torch.device, torch.dtype]:
        device = chosen_device(self.runtime.device)
        return device, chosen_dtype(self.runtime, device)

    @cached_property
    def _loaded(self) -> tuple[nn.Module, str]:
        tensors = _tensors(self.entry, _at_hand(self.entry, self.runtime.weights_dir, self.runtime.allow_downloads))
        return _with(self.entry, _built(self.entry), tensors), _digest(self.entry, tensors)

    @cached_property
    def _forward(self) -> Forward:
        device, dtype = self._where
        colours = in_colours(self.entry.mean, self.entry.std)
        batch = _BATCH[device.type]
        return Forward(fused(self._loaded[0]), colours, self.size, self.dimension, device, dtype, batch)


def _at_hand(entry: Entry, folder: Path | None, may_download: bool) -> weights.Found:
    found = weights.find(entry, folder)
    if found is None and may_download and folder is not None:
        fetch.fetch(entry, folder)
        found = weights.find(entry, folder)
    if found is None:
        raise WeightsMissing(f"the weights of {entry.name} are not here: {weights.how_to_bring(entry, folder)}")
    return found


def _tensors(entry: Entry, found: weights.Found) -> Tensors:
    """What the file holds; a pickle is only ever read as weights."""
    content = found.content()
    try:
        if found.path.suffix == ".safetensors":
            return dict(safetensors.torch.load(content))
        return fetch.unpickled(content)
    except MemoryError:
        raise
    except Exception as error:  # each library has its own word for a file it cannot read
        raise WeightsMissing(
            f"{found.path.name} holds no weights that can be read: bring {entry.name} again"
        ) from error


def _built(entry: Entry) -> nn.Module:
    """The architecture, its last layer left away unless it is the publisher's projection."""
    open_door()
    library, _, model = entry.name.partition("/")
    if library == "torchvision":
        network: nn.Module = import_module("torchvision.models").get_model(model, weights=None)
        network.fc = nn.Identity()
        return network.eval()
    asked: dict[str, Any] = {"img_size": entry.size} if entry.given_size else {}
    asked |= {} if entry.projected else {"num_classes": 0}
    made: nn.Module = import_module("timm").create_model(model, pretrained=False, **asked)
    return made.eval()


def _with(entry: Entry, network: nn.Module, tensors: Tensors) -> nn.Module:
    """Every weight of the network from the file: one that is missing would be a random number."""
    try:
        fitted = _as_timm_has_it(network, tensors) if entry.name.startswith("timm/") else tensors
        network.load_state_dict(_without_classifier(network, fitted))  # strict; into the network's own float32
    except MemoryError:
        raise
    except Exception as error:  # the conversions, too, fail in many ways on a file that is another's
        said = " ".join(str(error).split())[:400]
        raise WeightsMissing(f"these are not the weights of {entry.name}: {said}") from error
    return network


def _without_classifier(network: nn.Module, tensors: Tensors) -> Tensors:
    wanted = network.state_dict()
    return {
        name: held
        for name, held in tensors.items()
        if name in wanted or not name.startswith(("fc.", "head.", "classifier."))
    }


def _as_timm_has_it(network: nn.Module, tensors: Tensors) -> Tensors:
    """timm's own conversion of published files, where the family has one: names, and positions for other sizes."""
    convert = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    return dict(convert(dict(tensors), network)) if convert else tensors


def _digest(entry: Entry, tensors: Tensors) -> str:
    """Of the weights themselves, however they are packed, and of what a picture goes through before them."""
    digest = hashlib.sha256(repr((entry.size, entry.shorter, entry.resample, entry.mean, entry.std)).encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:12]
