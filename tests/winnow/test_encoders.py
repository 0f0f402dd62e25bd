"""The table says what the publishers say."""

import hashlib
import math
from importlib.util import find_spec

import pytest

from winnow.encoders import ENCODERS
from winnow.pipeline import canonical_json
from winnow.spec import EncoderSpec, JobSpec

TORCHVISION = [name for name in ENCODERS if name.startswith("torchvision/")]
TIMM = [name for name in ENCODERS if name.startswith("timm/")]


def test_every_row_is_named_by_its_key_and_says_all_there_is_to_say():
    for name, entry in ENCODERS.items():
        assert entry.name == name
        assert entry.version
        assert entry.licence
        assert entry.summary.endswith(".")
        assert (entry.weights is None) == ("/" not in name)
        assert entry.extra or not entry.needs
    assert {"resnet18", "resnet34", "resnet50", "resnet101"} <= {name.split("/")[1] for name in TORCHVISION}
    for family in ("dinov2", "dinov3", "convnext", "clip", "siglip"):
        assert any(family in name for name in TIMM)


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision_says_the_same(name):
    pytest.importorskip("torch", reason="torch is not installed (the extra `torch`)")
    from winnow.embeddings.torchvision_door import open_door

    open_door()
    from torchvision import models

    entry = ENCODERS[name]
    theirs = models.get_model_weights(name.split("/")[1])[entry.version]
    how = theirs.transforms()
    assert entry.weights.url == theirs.url
    assert entry.weights.url.endswith(f"-{entry.weights.sha256}.pth")
    assert ([entry.size], [entry.shorter], entry.resample) == (how.crop_size, how.resize_size, how.interpolation.value)
    assert ([*entry.mean], [*entry.std]) == (how.mean, how.std)


@pytest.mark.parametrize("name", TIMM)
def test_timm_says_the_same_and_builds_a_network_of_that_width(name):
    if find_spec("timm") is None:
        pytest.skip("timm is not installed (the extra `timm`)")
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from winnow.embeddings import backbone

    entry = ENCODERS[name]
    with torch.device("meta"), FlopCounterMode(display=False) as counted:
        assert backbone._built(entry)(torch.zeros(1, 3, entry.size, entry.size)).shape == (1, entry.width)
    assert entry.gmacs == round(counted.get_total_flops() / 2e9, 1)
    import timm

    theirs = timm.models.get_pretrained_cfg(name.removeprefix("timm/"))
    assert entry.weights.url == f"https://huggingface.co/{theirs.hf_hub_id}/resolve/main/model.safetensors"
    assert theirs.hf_hub_filename is None
    assert (entry.mean, entry.std, entry.resample) == (theirs.mean, theirs.std, theirs.interpolation)
    assert entry.licence.lower().replace(" ", "-") == theirs.license
    if "dinov2." not in name:  # which is told to look at smaller pictures
        assert entry.size == theirs.input_size[-1]
        assert entry.shorter == math.floor(entry.size / theirs.crop_pct)


def test_a_request_may_ask_for_fewer_numbers_and_never_for_more():
    assert EncoderSpec(name="torchvision/resnet50").wanted(2048) == ("pca", 64)
    assert EncoderSpec(name="torchvision/resnet50", head="pca-whitening").wanted(2048) == ("pca-whitening", 64)
    assert EncoderSpec(name="torchvision/resnet50", dimension=2048).wanted(2048) == ("none", 2048)
    assert EncoderSpec(name="winnow-64").wanted(64) == ("none", 64)
    assert EncoderSpec(name="winnow-64", dimension=16).wanted(64) == ("pca", 16)
    assert EncoderSpec(name="given").wanted(300) == ("none", 300)
    assert EncoderSpec(name="given", dimension=32).wanted(300) == ("pca", 32)
    assert EncoderSpec(name="given", head="pca").wanted(40) == ("pca", 40)
    for wrong in (
        {"name": "winnow-64", "dimension": 65},
        {"name": "torchvision/resnet18", "dimension": 513},
        {"name": "torchvision/resnet18", "dimension": 64, "head": "none"},
        {"name": "torchvision/resnet18", "dimension": 7},
        {"name": "resnet18"},
    ):
        with pytest.raises(ValueError, match=r"dimension|head|no such encoder"):
            EncoderSpec(**wrong)


def test_equal_requests_are_said_alike_and_old_ones_as_before():
    def said(**asked):
        return EncoderSpec(**asked).answer_fields()

    assert said() == said(dimension=64) == said(head="none") == said(head="auto") == {"name": "winnow-64"}
    assert said(name="given") == said(name="given", head="none") == {"name": "given"}
    backbone = said(name="torchvision/resnet50")
    assert backbone == said(name="torchvision/resnet50", head="pca", dimension=64) == {"name": "torchvision/resnet50"}
    different = [
        backbone,
        said(name="torchvision/resnet50", dimension=32),
        said(name="torchvision/resnet50", head="pca-whitening"),
        said(name="torchvision/resnet50", head="none"),
        said(name="torchvision/resnet50", normalize=True),
        said(name="given", dimension=32),
        said(dimension=32),
        said(head="pca"),
    ]
    assert all(different.count(one) == 1 for one in different)


@pytest.mark.parametrize(
    ("name", "digest"),
    [("winnow-64", "a1700d1eb2a5d23b"), ("descriptor-64", "3d3809c6cbdf15d0"), ("given", "b889d82541573008")],
)
def test_what_a_digest_covers_is_what_it_covered_before_there_were_heads(name, digest):
    asked = {
        "dataset_id": "ds_" + "0" * 32,
        "encoder": {"name": name},
        "selection": {"method": "coreset", "target": {"fraction": 0.1}},
    }
    said = canonical_json(JobSpec.model_validate(asked).answer_fields())
    assert hashlib.sha256(said).hexdigest().startswith(digest)
