"""Pictures and archives made on the spot."""

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

MakePicture = Callable[..., bytes]


@pytest.fixture(scope="session")
def picture() -> MakePicture:
    def make(
        number: int = 0, *, size: tuple[int, int] = (40, 30), mode: str = "RGB", kind: str = "PNG", **options
    ) -> bytes:
        seed = Image.linear_gradient("L").rotate(37 * number).resize(size)
        image = Image.merge("RGB", [seed, seed.rotate(90).resize(size), Image.new("L", size, 13 * number % 256)])
        out = io.BytesIO()
        image.convert(mode).save(out, kind, **options)
        return out.getvalue()

    return make


@pytest.fixture
def zipped(tmp_path: Path) -> Callable[..., Path]:
    def make(*entries: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
        path = tmp_path / "upload.zip"
        with zipfile.ZipFile(path, "w", method) as archive:
            for name, content in entries:
                archive.writestr(name, content)
        return path

    return make


@pytest.fixture
def tarred(tmp_path: Path) -> Callable[..., Path]:
    def make(*entries: tuple[str, bytes], mode: str = "w") -> Path:
        path = tmp_path / "upload.tar"
        with tarfile.open(path, mode) as archive:
            for name, content in entries:
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        return path

    return make
