"""The house stays as drawn: borders between packages, words at every door, no long function, no foggy room."""

import ast
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest

import kernels
from winnow import errors

ROOT = Path(__file__).parents[2]
PACKAGES = ("app", "worker", "winnow", "kernels", "migrations", "client")
MODULES = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py") if "build" not in path.parts]


def test_the_import_rules_hold():
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


def test_the_api_loads_nothing_heavy():
    heavy = ("torch", "matplotlib", "kernels", "faiss", "umap", "numba", "av", "fsspec", "s3fs", "httpcore")
    script = f"import sys, app.main; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_what_lives_there_and_keeps_its_functions_short(path):
    tree = ast.parse(path.read_text())
    if path.parent.name != "versions" or path.name != "__init__.py":
        assert ast.get_docstring(tree), "a module opens with one sentence"
    if "versions" in path.parts:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= 40, f"{node.name} has {length} lines"


def test_no_room_is_called_utils():
    foggy = {"utils", "util", "common", "core", "helpers", "misc"}
    assert not [path for path in MODULES if foggy & {path.stem, path.parent.name}]


def test_the_kernels_are_ours():
    assert Path(kernels.__file__).is_relative_to(ROOT)
    assert "kernels" not in {(found.metadata["Name"] or "").lower() for found in distributions()}


def test_operations_explain_every_error_code():
    text = (ROOT / "docs" / "operations.md").read_text()

    def codes(kind):
        yield kind.code
        for child in kind.__subclasses__():
            yield from codes(child)

    known = {*codes(errors.WinnowError), *errors.ITEM_CODES}
    assert not [code for code in sorted(known) if f"`{code}`" not in text]
