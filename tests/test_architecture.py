"""Imports point one way, as ARCHITECTURE.md says.

`python tests/test_architecture.py` prints its table.
"""

import ast
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src/polystyle"

# Each room imports from those on lower floors, and from itself.
FLOORS = (
    ("commands",),
    ("evaluation", "studio_app"),
    ("training", "painting"),
    ("data", "networks", "losses"),
    ("style_names",),
    ("files",),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(reversed(FLOORS)) for room in rooms}


def modules() -> dict[str, Path]:
    """The project's modules by dotted name."""
    return {
        ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts): path
        for path in sorted(SOURCE.rglob("*.py"))
        if path.name != "__init__.py"
    }


def imported_names(path: Path) -> Iterator[tuple[str, str]]:
    """What a file imports anywhere in it, as (module, name); the name of ``import x`` is empty."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports name their package"
            yield from ((node.module, alias.name) for alias in node.names)


def imported_modules(path: Path) -> set[str]:
    """The project's own modules that a file imports."""
    known = modules()
    pairs = list(imported_names(path))
    return {name for pair in pairs for name in (pair[0], ".".join(pair)) if name in known}


def room_of(module: str) -> str:
    """The package of a module; those at the front are commands, but for style_names."""
    parts = module.split(".")
    if len(parts) == 2:
        return "style_names" if parts[1] == "style_names" else "commands"
    return parts[1]


def import_table() -> str:
    """Which rooms each room imports from, with the number of imports, as a Markdown table."""
    counts: dict[str, dict[str, int]] = {room: {} for floor in FLOORS for room in floor}
    for module, path in modules().items():
        for imported in imported_modules(path):
            source, target = room_of(module), room_of(imported)
            if source != target:
                counts[source][target] = counts[source].get(target, 0) + 1
    lines = ["| imports from | " + " | ".join(counts) + " |", "| --- |" + " --- |" * len(counts)]
    for room, row in counts.items():
        lines.append(f"| **{room}** | " + " | ".join(str(row.get(t, "")) for t in counts) + " |")
    return "\n".join(lines)


@pytest.mark.parametrize("module", modules())
def test_imports_point_to_lower_floors(module: str) -> None:
    room = room_of(module)
    for imported in imported_modules(modules()[module]):
        target = room_of(imported)
        assert target == room or FLOOR_OF[target] < FLOOR_OF[room], f"{module} imports {imported}"


def test_no_two_modules_import_each_other() -> None:
    graph = {module: imported_modules(path) for module, path in modules().items()}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_only_training_knows_the_trainer_of_lightning() -> None:
    for module, path in modules().items():
        if room_of(module) != "training":
            names = {name for source, name in imported_names(path) if "lightning" in source}
            assert names <= {"LightningDataModule"}, module


def test_only_four_modules_know_hydra() -> None:
    knowing = {
        module
        for module, path in modules().items()
        if any(source.split(".")[0] == "hydra" for source, _ in imported_names(path))
    }
    # The command, what it hands the configuration to, and a callback of Hydra's.
    assert knowing == {
        "polystyle.train",
        "polystyle.training.build_run",
        "polystyle.training.config_check",
        "polystyle.training.unused_folder",
    }


def test_every_package_is_shipped() -> None:
    shipped = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    packages = {
        ".".join(path.parent.relative_to(SOURCE.parent).parts)
        for path in SOURCE.rglob("__init__.py")
    }
    assert set(shipped) == packages | {"polystyle.configs"}


def test_the_page_has_the_table() -> None:
    assert import_table() in (ROOT / "ARCHITECTURE.md").read_text()


if __name__ == "__main__":
    print(import_table())
