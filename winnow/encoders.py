"""The table of encoders: plain facts that both processes read; `winnow.embeddings` alone loads what computes.

A row's facts are its publisher's. A test holds them against torchvision and timm where those are installed.
"""

from dataclasses import dataclass
from typing import Final, Literal

OUT: Final = 64  # numbers a picture ends in where nobody asks for another count

Resample = Literal["box", "bilinear", "bicubic"]
Colour = tuple[float, float, float]

_HUB: Final = "https://huggingface.co"
_IMAGENET: Final[tuple[Colour, Colour]] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_CLIP: Final[tuple[Colour, Colour]] = (
    (0.48145466, 0.4578275, 0.40821073),
    (0.26862954, 0.26130258, 0.27577711),
)
_HALF: Final[tuple[Colour, Colour]] = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@dataclass(frozen=True)
class Weights:
    """What others publish. `sha256` may be its first digits alone, where a file's name says no more; None: unknown."""

    url: str
    sha256: str | None = None


@dataclass(frozen=True)
class Entry:
    """One encoder: where its code is, what it wants to see, what it gives."""

    name: str
    code: str  # module:class, loaded when it is first asked for
    version: str  # rises with any change of bits; of a backbone, the publisher's name for the weights
    width: int  # numbers it gives a picture; 0: whatever the dataset brings
    licence: str  # of the weights
    summary: str
    gmacs: float = 0.0  # thousand million multiplications a picture; 0: too few to matter
    size: int = 0  # pixels a side of the square it looks at
    shorter: int = 0  # the shorter side is brought to this, and the square cut from the middle; 0: squeezed whole
    resample: Resample = "box"
    mean: Colour = (0.0, 0.0, 0.0)
    std: Colour = (1.0, 1.0, 1.0)
    needs: tuple[str, ...] = ()  # modules
    extra: str = ""  # of this package, that brings them
    weights: Weights | None = None  # None: it has none, or they ship with the package
    given_size: bool = False  # the network must be told the size of its pictures
    projected: bool = False  # ends in the publisher's own projection, not in the layer before it

    @property
    def dimension(self) -> int:
        """Numbers a picture ends in by default; 0: as many as the dataset brings."""
        return min(self.width, OUT)


def _resnet(depth: int, digits: str, width: int, gmacs: float) -> Entry:
    return Entry(
        name=f"torchvision/resnet{depth}",
        code="winnow.embeddings.backbone:Backbone",
        version="IMAGENET1K_V1",
        width=width,
        gmacs=gmacs,
        licence="BSD-3-Clause",
        summary=f"ResNet-{depth}, trained on ImageNet with labels.",
        size=224,
        shorter=256,
        resample="bilinear",
        mean=_IMAGENET[0],
        std=_IMAGENET[1],
        needs=("torch", "torchvision", "safetensors"),
        extra="torch",
        weights=Weights(f"https://download.pytorch.org/models/resnet{depth}-{digits}.pth", digits),
    )


def _timm(
    model: str,
    width: int,
    gmacs: float,
    summary: str,
    *,
    licence: str = "Apache-2.0",
    size: int = 224,
    shorter: int = 256,
    colours: tuple[Colour, Colour] = _IMAGENET,
    given_size: bool = False,
    projected: bool = False,
) -> Entry:
    return Entry(
        name=f"timm/{model}",
        code="winnow.embeddings.backbone:Backbone",
        version=model.partition(".")[2],
        width=width,
        gmacs=gmacs,
        licence=licence,
        summary=summary,
        size=size,
        shorter=shorter,
        resample="bicubic",
        mean=colours[0],
        std=colours[1],
        needs=("torch", "torchvision", "timm", "safetensors"),
        extra="timm",
        # The hub has one file for both of timm's spellings of CLIP; this one has the activation it was trained with.
        weights=Weights(f"{_HUB}/timm/{model.replace('_quickgelu', '')}/resolve/main/model.safetensors"),
        given_size=given_size,
        projected=projected,
    )


_V3: Final = "DINOv3 License"
_ROWS: Final = (
    Entry(
        name="winnow-64",
        code="winnow.embeddings.winnow_64:Winnow64",
        version="1",
        width=64,
        licence="Apache-2.0",
        summary="A small network that knows what pictures show; its weights ship with the package.",
        size=112,
        needs=("torch", "safetensors"),
        extra="torch",
    ),
    Entry(
        name="descriptor-64",
        code="winnow.embeddings.descriptor:Descriptor64",
        version="1",
        width=64,
        licence="Apache-2.0",
        summary="Colour layout and edge directions; no weights, no download; finds bursts and near-duplicates.",
        size=64,
    ),
    Entry(
        name="given",
        code="winnow.embeddings.given:Given",
        version="1",
        width=0,
        licence="that of the dataset",
        summary="The vectors of the dataset, as they are.",
    ),
    _resnet(18, "f37072fd", 512, 1.8),
    _resnet(34, "b627a593", 512, 3.7),
    _resnet(50, "0676ba61", 2048, 4.1),
    _resnet(101, "63fe2227", 2048, 7.8),
    # DINOv2 was trained at 518 pixels; at 224 its own evaluation brings the shorter side to 256 first.
    _timm("vit_small_patch14_dinov2.lvd142m", 384, 6.1, "DINOv2, small: no labels, good neighbours.", given_size=True),
    _timm("vit_base_patch14_dinov2.lvd142m", 768, 23.2, "DINOv2, base.", given_size=True),
    _timm("vit_large_patch14_dinov2.lvd142m", 1024, 81.0, "DINOv2, large.", given_size=True),
    _timm("vit_small_patch16_dinov3.lvd1689m", 384, 6.2, "DINOv3, small.", licence=_V3, size=256),
    _timm("vit_base_patch16_dinov3.lvd1689m", 768, 23.6, "DINOv3, base.", licence=_V3, size=256),
    _timm("vit_large_patch16_dinov3.lvd1689m", 1024, 82.4, "DINOv3, large.", licence=_V3, size=256),
    _timm("convnext_tiny.dinov3_lvd1689m", 768, 4.5, "ConvNeXt taught by DINOv3, tiny.", licence=_V3, shorter=224),
    _timm("convnext_base.dinov3_lvd1689m", 1024, 15.4, "ConvNeXt taught by DINOv3, base.", licence=_V3, shorter=224),
    _timm("convnext_tiny.fb_in22k", 768, 4.5, "ConvNeXt, tiny, trained on 22,000 classes of ImageNet."),
    _timm("convnext_base.fb_in22k", 1024, 15.4, "ConvNeXt, base, trained on 22,000 classes of ImageNet."),
    _timm(
        "vit_base_patch32_clip_quickgelu_224.openai",
        512,
        4.4,
        "CLIP's image tower, B/32.",
        shorter=248,
        colours=_CLIP,
        projected=True,
    ),
    _timm(
        "vit_base_patch16_clip_quickgelu_224.openai",
        512,
        17.6,
        "CLIP's image tower, B/16.",
        shorter=248,
        colours=_CLIP,
        projected=True,
    ),
    _timm(
        "vit_large_patch14_clip_quickgelu_224.openai",
        768,
        81.0,
        "CLIP's image tower, L/14.",
        shorter=224,
        colours=_CLIP,
        projected=True,
    ),
    _timm(
        "vit_base_patch16_siglip_224.v2_webli", 768, 17.7, "SigLIP 2's image tower, B/16.", shorter=248, colours=_HALF
    ),
    _timm(
        "vit_so400m_patch14_siglip_224.v2_webli",
        1152,
        110.2,
        "SigLIP 2's image tower, So400m.",
        shorter=248,
        colours=_HALF,
    ),
)

ENCODERS: Final[dict[str, Entry]] = {row.name: row for row in _ROWS}
