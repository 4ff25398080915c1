"""The pages: links lead somewhere, and what a page tells people to type exists.

Commands are read from code blocks and from text in backticks, as a reader copies them.
"""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from test_configs import compose
from torch import Tensor, nn

from polystyle.training.command_line import SWITCHES, VALUED, for_hydra

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    (
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        ROOT / "data/README.md",
        ROOT / "src/polystyle/networks/pretrained/README.md",
    )
)
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))

FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"^    .+$", re.MULTILINE)
IN_BACKTICKS = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
COMMAND = re.compile(r"(?:\.venv/bin/)?(polystyle-[a-z]+)")
MAKE = re.compile(r"(?:\w+=\S+ )*make ([a-z][a-z-]*)")
FLAG = re.compile(r"--?[a-z][a-z-]*")
OVERRIDE = re.compile(r"[+~]*[a-z_]\w*(?:[./]\w+)*=\S.*")
REPOSITORY_FILE = re.compile(r"(?:scripts|tests|configs|src|docs|data)/[\w/.-]+\.\w+")

# What the pages have people write.
EXAMPLES = (
    *("configs/experiment/night.yaml", "experiment=night", "experiment=mine"),
    *("configs/objective/keep_photo.yaml", "objective=keep_photo", "tests/test_keep_photo.py"),
)
# Other programs' flags, in lines that also name one of ours or stand alone in backticks.
FLAGS_OF_OTHERS = {"--me"}


def python_blocks(page: Path) -> list[str]:
    return [code for language, code in FENCED.findall(page.read_text()) if language == "python"]


def prose(page: Path) -> str:
    """A page without its fenced blocks, which are no lines for a shell."""
    return FENCED.sub("", page.read_text())


def code_lines(page: Path) -> Iterator[list[str]]:
    """Each line of an indented block, and each text in backticks, split as a shell splits it."""
    text = prose(page).replace("\\\n", " ")
    for code in (*INDENTED.findall(text), *IN_BACKTICKS.findall(text)):
        try:
            yield shlex.split(code, comments=True)
        except ValueError:  # an apostrophe in an example of output
            yield code.split()


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_page
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in LINK.findall(prose(page)):
        if link.startswith(("https://", "http://")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name) if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@cache
def flags_of(command: str) -> frozenset[str]:
    """The flags of a command and of its subcommands, as its help shows them."""
    if command == "polystyle-train":
        return frozenset(flag for names in (*SWITCHES, *VALUED) for flag in names.split())
    subcommands = {
        "polystyle-styles": ["list", "extract", "merge", "remove", "rename", "reorder"]
    }.get(command, [])
    program = Path(sys.executable).with_name(command)
    helps = [
        subprocess.run([program, *words, "--help"], capture_output=True, text=True, check=True)
        for words in ([], *([name] for name in subcommands))
    ]
    found = (re.findall(r"(?<!\w)--?[a-z-]+", shown.stdout) for shown in helps)
    return frozenset(flag for flags in found for flag in flags)


@cache
def commands() -> frozenset[str]:
    scripts = entry_points(group="console_scripts")
    return frozenset(script.name for script in scripts if script.value.startswith("polystyle."))


@every_page
def test_every_command_and_flag_exists(page: Path) -> None:
    for words in code_lines(page):
        command = None
        for word in words:
            if named := COMMAND.fullmatch(word):
                command = named[1]
                assert command in commands(), words
            elif command and FLAG.fullmatch(word.partition("=")[0]):
                assert word.partition("=")[0] in flags_of(command) | FLAGS_OF_OTHERS, words
        if words and FLAG.fullmatch(words[0]):  # a flag alone in backticks
            known = frozenset().union(*map(flags_of, commands())) | FLAGS_OF_OTHERS
            assert words[0] in known, words


@every_page
def test_every_target_of_make_exists(page: Path) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for words in code_lines(page):
        if named := MAKE.match(" ".join(words)):
            assert named[1] in targets, words


@every_page
def test_every_file_of_the_repository_exists(page: Path) -> None:
    for words in code_lines(page):
        for place, word in enumerate(words):
            is_example = word.startswith("data/") or word in EXAMPLES
            if not REPOSITORY_FILE.fullmatch(word) or is_example:
                continue
            assert (ROOT / word).is_file(), words
            if word.startswith("scripts/"):
                source = (ROOT / word).read_text()
                for flag in filter(FLAG.fullmatch, words[place:]):
                    assert f'"{flag}"' in source, words


def overrides_of(page: Path) -> set[tuple[str, ...]]:
    """The overrides of each command line of polystyle-train, and those that stand alone."""
    found = set()
    for words in code_lines(page):
        command = next((COMMAND.fullmatch(word) for word in words if COMMAND.fullmatch(word)), None)
        if command and command[1] != "polystyle-train":
            continue
        typed = tuple(word for word in words if word == "-m" or OVERRIDE.fullmatch(word))
        if command or len(typed) == len(words):  # else it is Python
            found.add(typed)
    return found


@every_page
def test_every_override_composes(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if page.name == "CHANGELOG.md":  # names what earlier versions had, too
        return
    monkeypatch.chdir(tmp_path)
    for typed in sorted(overrides_of(page)):
        check_composes(typed)


@cache
def check_composes(typed: tuple[str, ...]) -> None:
    """Composes overrides, once for all pages."""
    if "hydra/launcher=slurm" in typed and not find_spec("hydra_plugins"):
        return
    words = for_hydra([word for word in typed if word not in EXAMPLES])
    if "--multirun" in words:  # Hydra composes each value of a sweep by itself
        words = [word.partition(",")[0] for word in words if word != "--multirun"]
    compose(*words)


@every_page
def test_every_block_of_python_can_be_parsed(page: Path) -> None:
    for code in python_blocks(page):
        compile(code, str(page), "exec")


@pytest.mark.slow
def test_the_readme_paints_in_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (64, 48), "teal").save("photo.jpg")
    [code, *own_parts] = python_blocks(ROOT / "README.md")
    assert len(own_parts) == 2  # test_own_parts.py trains these
    names: dict[str, object] = {}
    exec(code, names)
    for name in ("stylized", "blended"):
        picture = names[name]
        assert isinstance(picture, Image.Image) and picture.size == (64, 48)


def test_the_loss_of_the_contributing_page_is_what_it_says() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    [code] = python_blocks(ROOT / "CONTRIBUTING.md")
    [config] = [text for language, text in FENCED.findall(page) if language == "yaml"]
    arguments = yaml.safe_load(config)
    assert arguments.pop("_target_") == "polystyle.losses.keep_photo.KeepPhoto"
    names: dict[str, type] = {}
    exec(code, names)

    class Brighter(nn.Module):
        def forward(self, content: Tensor, style: Tensor) -> Tensor:
            return content + 0.25

    batch: Mapping[str, Tensor] = {"content": torch.zeros(2, 3, 4, 4), "style": torch.zeros(2)}
    loss = names["KeepPhoto"](**arguments)(Brighter(), batch)["loss"]
    assert loss.tolist() == [0.25, 0.25]


def test_the_readme_is_short() -> None:
    assert (ROOT / "README.md").stat().st_size <= 9000


def test_every_page_has_the_same_version() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    [version] = re.findall(r'^version = "(.+)"$', project, re.MULTILINE)
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    newest = re.search(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest and newest[1] == version
