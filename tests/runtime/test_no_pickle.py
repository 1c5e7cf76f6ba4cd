"""A pickle runs whatever its author wrote: the packages never load one."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("runtime", "cells", "generators", "classifiers", "evaluation", "scripts", "benchmarks")
FORBIDDEN = {
    "pickle.load", "pickle.loads", "pickle.Unpickler", "joblib.load", "dill.load", "dill.loads",
    "cloudpickle.load", "cloudpickle.loads", "pandas.read_pickle", "pd.read_pickle", "torch.hub.load",
    "shelve.open", "marshal.load", "marshal.loads",
}  # fmt: skip


def _pickles(source: str) -> list[str]:
    """Calls that load a pickle, and imports that would hide one, with their lines."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [f"{node.lineno}: {name}" for name in names if name in {*FORBIDDEN, "torch.load"}]
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        said = {word.arg: ast.unparse(word.value) for word in node.keywords}
        unsafe = name == "torch.load" and said.get("weights_only") != "True"
        unsafe |= said.get("allow_pickle", "False") != "False"
        if name in FORBIDDEN or unsafe:
            found.append(f"{node.lineno}: {name}")
    return found


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_pickle_is_loaded(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    found = [f"{path}:{what}" for path in files for what in _pickles(path.read_text(encoding="utf-8"))]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle\npickle.load(file)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=asked)",
        "from joblib import load",
        "from torch import load",
        "np.load(path, allow_pickle=True)",
        "pd.read_pickle(path)",
    ],
)
def test_each_way_to_load_one_is_seen(source: str) -> None:
    assert len(_pickles(source)) == 1


def test_what_loads_plain_data_is_allowed() -> None:
    assert _pickles("torch.load(p, weights_only=True)\nnp.load(p, allow_pickle=False)\nnp.load(p)") == []
