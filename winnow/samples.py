"""Renders a folder of real-looking street scenes with bursts of near-duplicates, for the demo; no download needed."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

_WIDTH, _HEIGHT = 320, 240
_CAMERAS: Final = 4
_SKIES: Final = (
    ((96, 150, 214), (214, 230, 240)),  # noon
    ((250, 160, 104), (252, 214, 150)),  # dusk
    ((24, 30, 58), (58, 62, 92)),  # night
    ((150, 160, 170), (206, 210, 212)),  # overcast
)
_WALLS: Final = ((172, 92, 74), (196, 176, 142), (120, 130, 140), (212, 204, 190), (96, 108, 96), (150, 120, 160))
_CARS: Final = ((190, 40, 40), (40, 70, 160), (230, 230, 230), (30, 30, 34), (220, 180, 50), (60, 130, 80))


@dataclass(frozen=True)
class _Scene:
    """What stays the same within a burst."""

    seed: int
    sky: tuple[tuple[int, int, int], tuple[int, int, int]]
    night: bool
    horizon: int
    houses: int
    trees: int
    hills: float


def render_sample_dataset(folder: Path, *, scenes: int = 40, seed: int = 0) -> int:
    """Write the pictures below `folder`; the same seed writes the same bytes. Returns how many files there are."""
    rng = np.random.default_rng(seed)
    written = 0
    first: Path | None = None
    for number in range(scenes):
        scene = _scene(int(rng.integers(1 << 30)))
        for frame in range(int(rng.integers(5, 16))):
            path = folder / f"camera-{number % _CAMERAS + 1}" / f"{number:03d}-{frame:02d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            _render(scene, frame).save(path, "JPEG", quality=88)
            first = first or path
            written += 1
    return written + _flaws(folder, first)


def _flaws(folder: Path, first: Path | None) -> int:
    """What real folders also hold: copies under other names, and files that only look like pictures."""
    if first is None:
        return 0
    content = first.read_bytes()
    found = {
        "import/copy.jpg": content,
        "import/copy (1).jpg": content,
        "import/half-sent.jpg": content[: len(content) // 3],
        "import/readme.jpg": b"This is not a picture.\n",
        "import/nothing.jpg": b"",
    }
    for name, body in found.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    return len(found)


def _scene(seed: int) -> _Scene:
    rng = np.random.default_rng(seed)
    kind = int(rng.integers(len(_SKIES)))
    return _Scene(
        seed=seed,
        sky=_SKIES[kind],
        night=kind == 2,
        horizon=int(rng.integers(90, 150)),
        houses=int(rng.integers(0, 7)),
        trees=int(rng.integers(0, 8)),
        hills=float(rng.uniform(0, 40)),
    )


def _render(scene: _Scene, frame: int) -> Image.Image:
    """One frame: the camera sways a little, the light changes a little, the traffic moves on."""
    still = np.random.default_rng(scene.seed)  # the same for every frame of the burst
    moving = np.random.default_rng((scene.seed, frame))
    image = _sky(scene)
    draw = ImageDraw.Draw(image)
    _hills(draw, scene, still)
    _ground(draw, scene)
    for _ in range(scene.houses):
        _house(draw, scene, still)
    for _ in range(scene.trees):
        _tree(draw, scene, still)
    for _ in range(int(still.integers(0, 4))):
        _car(draw, scene, still, frame)
    return _photographed(image, moving)


def _sky(scene: _Scene) -> Image.Image:
    top, bottom = (np.array(colour, np.float64) for colour in scene.sky)
    down = np.linspace(0, 1, _HEIGHT)[:, None, None]
    rows = top * (1 - down) + bottom * down
    return Image.fromarray(np.broadcast_to(rows, (_HEIGHT, _WIDTH, 3)).astype(np.uint8).copy())


def _hills(draw: ImageDraw.ImageDraw, scene: _Scene, rng: np.random.Generator) -> None:
    phases = rng.uniform(0, 6.28, 3)
    colour = _lit((104, 128, 108), scene)
    line = [
        (
            x,
            scene.horizon
            - scene.hills * (0.6 + 0.4 * sum(math.sin(x / 40 * (k + 1) + phases[k]) / (k + 1) for k in range(3))),
        )
        for x in range(0, _WIDTH + 8, 8)
    ]
    draw.polygon([(0, _HEIGHT), *line, (_WIDTH, _HEIGHT)], fill=colour)


def _ground(draw: ImageDraw.ImageDraw, scene: _Scene) -> None:
    draw.rectangle((0, scene.horizon, _WIDTH, _HEIGHT), fill=_lit((110, 132, 84), scene))
    road = _lit((92, 94, 98), scene)
    draw.polygon([(130, scene.horizon), (190, scene.horizon), (300, _HEIGHT), (20, _HEIGHT)], fill=road)
    for step in range(6):
        y = scene.horizon + (step + 0.3) ** 1.7 * 7
        draw.rectangle((158, y, 162, y + 2 + 2 * step), fill=_lit((228, 224, 200), scene))


def _house(draw: ImageDraw.ImageDraw, scene: _Scene, rng: np.random.Generator) -> None:
    width, height = int(rng.integers(28, 66)), int(rng.integers(36, 110))
    side = rng.random() < 0.5
    left = int(rng.integers(-10, 100)) if side else int(rng.integers(200, 300))
    base = scene.horizon + int(rng.integers(2, 24))
    wall = _WALLS[int(rng.integers(len(_WALLS)))]
    draw.rectangle((left, base - height, left + width, base), fill=_lit(wall, scene))
    roof = [(left - 3, base - height), (left + width / 2, base - height - 16), (left + width + 3, base - height)]
    draw.polygon(roof, fill=_lit((110, 62, 54), scene))
    for x in range(left + 6, left + width - 8, 12):
        for y in range(base - height + 8, base - 12, 16):
            glowing = scene.night and rng.random() < 0.5
            draw.rectangle((x, y, x + 6, y + 8), fill=(250, 224, 130) if glowing else _lit((186, 210, 226), scene))


def _tree(draw: ImageDraw.ImageDraw, scene: _Scene, rng: np.random.Generator) -> None:
    x = int(rng.integers(0, 110)) if rng.random() < 0.5 else int(rng.integers(210, _WIDTH))
    base, size = scene.horizon + int(rng.integers(4, 60)), int(rng.integers(12, 30))
    draw.rectangle((x - 2, base - size, x + 2, base), fill=_lit((92, 70, 50), scene))
    green = (60 + int(rng.integers(40)), 110 + int(rng.integers(40)), 60)
    for dx, dy in ((0, -size), (-size // 2, -size // 2 - 6), (size // 2, -size // 2 - 6)):
        box = (x + dx - size // 2, base + dy - size, x + dx + size // 2, base + dy)
        draw.ellipse(box, fill=_lit(green, scene))


def _car(draw: ImageDraw.ImageDraw, scene: _Scene, rng: np.random.Generator, frame: int) -> None:
    along = (rng.random() + 0.02 * frame) % 1
    y = scene.horizon + 14 + along**1.5 * (_HEIGHT - scene.horizon - 40)
    scale = 0.4 + 1.2 * along
    x = 160 + (rng.random() - 0.5) * 120 * along - 20 * scale
    colour = _lit(_CARS[int(rng.integers(len(_CARS)))], scene)
    draw.rounded_rectangle((x, y, x + 44 * scale, y + 16 * scale), 4 * scale, fill=colour)
    draw.rounded_rectangle((x + 8 * scale, y - 9 * scale, x + 34 * scale, y + 3 * scale), 4 * scale, fill=colour)
    draw.rectangle((x + 11 * scale, y - 7 * scale, x + 31 * scale, y), fill=_lit((170, 196, 214), scene))
    for wheel in (10, 34):
        draw.ellipse(
            (x + (wheel - 5) * scale, y + 11 * scale, x + (wheel + 5) * scale, y + 21 * scale), fill=(20, 20, 22)
        )


def _photographed(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """What a camera does: sway, exposure, blur, grain, darker corners."""
    sway = (float(rng.normal(0, 1.5)), float(rng.normal(0, 1.0)))
    swayed = image.transform(
        image.size, Image.Transform.AFFINE, (1, 0, sway[0], 0, 1, sway[1]), Image.Resampling.BILINEAR
    )
    pixels = np.asarray(swayed.filter(ImageFilter.GaussianBlur(0.6)), np.float64)
    pixels = pixels * rng.uniform(0.94, 1.06) + rng.normal(0, 3.0, pixels.shape)
    across, down = np.linspace(-1, 1, _WIDTH)[None, :], np.linspace(-1, 1, _HEIGHT)[:, None]
    pixels *= (1 - 0.18 * (across**2 + down**2))[..., None]
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _lit(colour: tuple[int, int, int], scene: _Scene) -> tuple[int, int, int]:
    if not scene.night:
        return colour
    red, green, blue = colour
    return int(red * 0.28), int(green * 0.3), int(blue * 0.42)
