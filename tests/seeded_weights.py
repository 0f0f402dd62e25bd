"""Real weights of no worth: seeded, and written as `winnow encoders fetch` writes them."""

import hashlib
from pathlib import Path

from winnow import weights
from winnow.encoders import Entry


def seeded(entry: Entry, seed: int = 0):
    """Every tensor of the network, statistics included, and a classifier that the network does not want."""
    import torch

    from winnow.embeddings import backbone

    torch.manual_seed(seed)
    network = backbone._built(entry)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    left_away = "fc.weight" if entry.name.startswith("torchvision/") else "head.fc.weight"
    return network.state_dict() | {left_away: torch.ones(10, entry.width)}


def write(folder: Path, entry: Entry, seed: int = 0) -> Path:
    import safetensors.torch

    file = weights.file_in(folder, entry)
    file.parent.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(seeded(entry, seed), file)
    note = f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n"
    file.with_name(f"{file.name}.sha256").write_text(note)
    return file
