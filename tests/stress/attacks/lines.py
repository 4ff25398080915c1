"""Command lines of all six commands: folders with odd names, flags in any order."""

import os
import random
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from omegaconf import OmegaConf

from attacks.commands import Outcome, Tally, attempt, fault, record
from attacks.ground import train_arguments

CHARACTERS = " ()[]{}=,#'\"$\\&;|<>~!@%^+-*?:éß绘🎨\u00a0ab01._"
NAMES = (
    "null",
    "true",
    "2024",
    "1e5",
    "007",
    "-x",
    "~",
    "~x",
    "'a'",
    "{a:1}",
    "choice(a,b)",
    "a,b",
)


def odd_name(rng: random.Random) -> str:
    """The name of a folder. Without ``${``, which `check_dollars` refuses."""
    if rng.random() < 0.3:
        return rng.choice(NAMES)
    name = "".join(rng.choices(CHARACTERS, k=rng.randint(1, 8))).replace("${", "$")
    return name if name.strip(" .\u00a0") else odd_name(rng)


def typed(path: str) -> str:
    """As a person types it who knows that - begins a flag and ~ the home folder."""
    return f"./{path}" if path.startswith(("-", "~")) else path


def in_any_order(rng: random.Random, *groups: Sequence[str]) -> list[str]:
    """The groups' arguments; those of one group stay together."""
    return [argument for group in rng.sample(groups, len(groups)) for argument in group]


def try_prepare(folder: Path, rng: random.Random) -> tuple[list[str], Outcome, str | None]:
    photos, output = odd_folder(folder, "photos", rng), new_name(folder, rng)
    arguments = in_any_order(rng, [typed(photos)], [f"--output={typed(output)}"], ["--size", "16"])
    outcome = attempt("prepare", arguments, folder)
    wrong = None if (folder / output / "prepared.json").exists() else "made nothing"
    return arguments, outcome, wrong


def try_train(folder: Path, rng: random.Random) -> tuple[list[str], Outcome, str | None]:
    """Up to the configuration, which it prints: the rest takes seconds."""
    photos, paintings = odd_folder(folder, "photos", rng), odd_folder(folder, "paintings", rng)
    overrides = [
        text for text in train_arguments() if not text.startswith(("data.content", "data.style_d"))
    ]
    conf = odd_folder(folder, "conf", rng)
    arguments = in_any_order(
        rng,
        [f"data.content_dir={typed(photos)}"],
        [f"data.style_dir={typed(paintings)}"],
        *([text] for text in overrides),
        rng.choice((["--cfg", "job"], ["-c", "job"], ["--cfg=job"])),
        rng.choice((["--config-dir", typed(conf)], [f"-cd={typed(conf)}"])),
        ["experiment=mine"],
    )
    outcome = attempt("train", arguments, folder)
    wrong = None
    if outcome.status == 0:
        data = OmegaConf.create(outcome.output).data
        read = (os.path.normpath(data.content_dir), os.path.normpath(data.style_dir))
        wrong = None if read == (photos, paintings) else f"read {read}"
    return arguments, outcome, wrong


def try_stylize(folder: Path, rng: random.Random) -> tuple[list[str], Outcome, str | None]:
    photos, model = odd_folder(folder, "photos", rng), odd_folder(folder, "run", rng)
    output = new_name(folder, rng)
    arguments = in_any_order(
        rng,
        [typed(photos)],
        ["./wide.png"],
        ["--style", "x"],
        [f"--model={typed(model)}"],
        ["--output", typed(output)],
    )
    outcome = attempt("stylize", arguments, folder)
    painted = list((folder / output).glob("*-x.png")) if (folder / output).is_dir() else []
    wrong = None if len(painted) == 4 else f"painted {len(painted)} of 4"
    return arguments, outcome, wrong


def try_styles(folder: Path, rng: random.Random) -> tuple[list[str], Outcome, str | None]:
    model, output = odd_folder(folder, "run", rng), new_name(folder, rng)
    arguments = in_any_order(
        rng, ["extract", typed(model), "x"], [f"--output={typed(output)}"], ["--overwrite"], ["y"]
    )
    arguments.remove("y")  # a style, which stands after the network
    arguments.insert(rng.randint(arguments.index("x"), len(arguments)), "y")
    outcome = attempt("styles", arguments, folder)
    packs = sorted(path.stem for path in (folder / output).glob("*.safetensors"))
    wrong = None if packs == ["x", "y"] else f"extracted {packs}"
    return arguments, outcome, wrong


def try_evaluate(folder: Path, rng: random.Random) -> tuple[list[str], Outcome, str | None]:
    """Up to the folder of paintings, which has no painting: the rest takes a minute."""
    models = odd_folder(folder, "run", rng), odd_folder(folder, "other", rng)
    photos, paintings = odd_folder(folder, "photos", rng), odd_folder(folder, "conf", rng)
    arguments = in_any_order(
        rng,
        [typed(models[0])],
        [typed(models[1])],
        ["--content-dir", typed(photos)],
        [f"--style-dir={typed(paintings)}"],
        ["--gatys-steps", "0"],
    )
    outcome = attempt("evaluate", arguments, folder)
    is_understood = outcome.status == 1 and paintings in outcome.errors
    wrong = None if is_understood else "is not about the folder of paintings"
    return arguments, outcome, wrong


def try_export(folder: Path, rng: random.Random) -> tuple[list[str], Outcome, str | None]:
    """Up to the output, which exists: the rest takes ten seconds."""
    model, output = odd_folder(folder, "run", rng), f"{odd_name(rng)}.onnx"
    (folder / output).touch()
    arguments = in_any_order(
        rng, [typed(model)], [f"--output={typed(output)}"], ["--precision", "float16"]
    )
    outcome = attempt("export", arguments, folder)
    wrong = None if "exists already: --overwrite" in outcome.errors else "is not about the output"
    return arguments, outcome, wrong


def odd_folder(folder: Path, name: str, rng: random.Random) -> str:
    """A copy of a folder under an odd name."""
    odd = new_name(folder, rng)
    shutil.copytree(folder / name, folder / odd)
    return odd


def new_name(folder: Path, rng: random.Random) -> str:
    """An odd name that nothing in a folder has."""
    while os.path.lexists(folder / (name := odd_name(rng))):
        pass
    return name


COMMANDS: dict[str, Callable] = {
    "prepare": try_prepare,
    "train": try_train,
    "stylize": try_stylize,
    "styles": try_styles,
    "evaluate": try_evaluate,
    "export": try_export,
}


def try_lines(ground: Path, tally: Tally, count: int, rng: random.Random) -> Iterator[str]:
    """`count` command lines, of each of the six commands in turn."""
    for number in range(count):
        command = list(COMMANDS)[number % len(COMMANDS)]
        with tempfile.TemporaryDirectory(dir=ground) as scratch:
            folder = Path(scratch) / "here"
            shutil.copytree(ground / "sound", folder)
            (folder / "conf/experiment").mkdir(parents=True)
            (folder / "conf/experiment/mine.yaml").write_text("# @package _global_\nseed: 7\n")
            for name in ("run", "other"):
                (folder / name).mkdir()
                shutil.copy(folder / "model.safetensors", folder / name)
            arguments, outcome, wrong = COMMANDS[command](folder, rng)
            wrong = fault(command, outcome) or wrong
            did = "done" if outcome.status == 0 else "refused"
            line = f"polystyle-{command} {shlex.join(arguments)}"
            yield record(tally, line, wrong, did, outcome)
