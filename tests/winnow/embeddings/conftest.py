"""A folder of pictures, and where real data may lie."""

import io
import os
from pathlib import Path

import pytest
from PIL import Image

from winnow.datasets import Limits
from winnow.datasets.folder import FolderReader


def _picture(number: int) -> bytes:
    seed = Image.linear_gradient("L").rotate(41 * number).resize((48, 36))
    out = io.BytesIO()
    Image.merge("RGB", [seed, seed.rotate(90).resize(seed.size), Image.new("L", seed.size, 11 * number % 256)]).save(
        out, "PNG"
    )
    return out.getvalue()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """12 pictures, two of them twice, and one that is none."""
    folder = tmp_path / "root"
    folder.mkdir()
    for number in range(12):
        (folder / f"p{number:02}.png").write_bytes(_picture(number))
    (folder / "copy of p00.png").write_bytes(_picture(0))
    (folder / "copy of p01.png").write_bytes(_picture(1))
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nthat was all")
    return folder


@pytest.fixture
def reader(root: Path) -> FolderReader:
    return FolderReader(root, Limits())


@pytest.fixture(scope="session")
def real_data() -> Path:
    place = Path(os.environ.get("WINNOW_TEST_DATA", Path(__file__).parents[4] / "shared" / "data"))
    if not place.is_dir():
        pytest.skip("real pictures are not here; set WINNOW_TEST_DATA to the folder that holds bursts.zip")
    return place
