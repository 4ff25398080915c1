"""Commands as people type them, flags in any order; and what the commands print to be typed next:
it runs when pasted, whatever the folders are called."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import fork_server
import pytest
from attacks.ground import make_model
from omegaconf import OmegaConf
from training import ONE_THREAD, TINY, load_checkpoint, make_folders

from polystyle.networks.model_file import load_model, save_model

BIN = Path(sys.executable).parent
SMALL = [text for text in TINY if "=" in text] + ["data.num_workers=0", "init=scratch"]
STEPS = ["trainer.max_steps=2", "trainer.val_check_interval=1"]


def shell(line: str, cwd: Path) -> subprocess.CompletedProcess:
    """A line as it is typed in a terminal: bash divides it into arguments."""
    in_bash = ["/bin/bash", "-c", f"printf '%s\\0' {line}"]
    divided = subprocess.run(in_bash, cwd=cwd, capture_output=True, text=True, check=True).stdout
    command, *arguments = divided.split("\0")[:-1]
    if command.startswith("polystyle-"):
        module = command.replace("-", ".")
        return fork_server.run([sys.executable, "-m", module, *arguments], cwd)
    return subprocess.run(
        [command, *arguments], cwd=cwd, capture_output=True, text=True, timeout=300
    )


def succeeded(line: str, cwd: Path) -> str:
    result = shell(line, cwd)
    assert result.returncode == 0, f"{line}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def printed(output: str, label: str) -> str:
    """The command that stands after a label."""
    [line] = re.findall(rf"^{label}: +(.*)$", output, re.MULTILINE)
    return line


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Photos, paintings and configurations in folders that need quotes everywhere."""
    make_folders(tmp_path)
    (tmp_path / "photos").rename(tmp_path / "Ann's photos (2), é=1 #3")
    (tmp_path / "paintings").rename(tmp_path / "2024")
    for old, new in (("dots", "it's"), ("haze", "null"), ("rust", "1")):
        (tmp_path / f"2024/{old}.png").rename(tmp_path / f"2024/{new}.png")
    (tmp_path / "my conf/experiment").mkdir(parents=True)
    (tmp_path / "my conf/experiment/mine.yaml").write_text(
        "# @package _global_\nmodel:\n  learning_rate: 0.002\n"
    )
    return tmp_path


@pytest.mark.slow
def test_what_training_prints_runs_when_pasted(root: Path) -> None:
    run_dir = "runs/-my 'best' {run}, 100%"
    typed = shlex.join(
        [
            *("polystyle-train", "data.content_dir=Ann's photos (2), é=1 #3", *SMALL),
            *("--config-dir", "my conf", "experiment=mine", "data.style_dir=2024"),
            *("trainer.val_check_interval=1", "loss.style_coefficients={1:2,null:3,it's:4}"),
            *(f"hydra.run.dir={run_dir}", "ckpt_path=last"),
        ]
    )
    # Stopped, it says how to go on.
    process = subprocess.Popen(
        ["/bin/bash", "-c", f"exec {typed} trainer.max_steps=100000"],
        cwd=root,
        env={**ONE_THREAD, "PATH": f"{BIN}:{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        deadline = time.monotonic() + 200
        while not (root / run_dir / "checkpoints/last.ckpt").exists():
            assert time.monotonic() < deadline and process.poll() is None, process.stdout.read()
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=120)
    finally:
        process.kill()
    go_on = printed(output, "Go on")
    assert "--config-dir 'my conf'" in go_on
    reached = load_checkpoint(root / run_dir / "checkpoints/last.ckpt")["global_step"]
    # A user raises the number of steps, or here, takes fewer.
    output = succeeded(go_on.replace("max_steps=100000", f"max_steps={reached + 1}"), root)
    assert f"Going on from {run_dir}/checkpoints/" in output
    assert f"step {reached}" in output
    configuration = OmegaConf.load(root / run_dir / ".hydra/config.yaml")
    assert configuration.data.content_dir == "Ann's photos (2), é=1 #3"
    assert configuration.data.style_dir == "2024"
    assert configuration.loss.style_coefficients == {"1": 2, "null": 3, "it's": 4}
    assert configuration.model.learning_rate == 0.002

    paint = printed(output, "Paint")
    photo = shlex.quote("Ann's photos (2), é=1 #3/photo1.png")
    assert "Painted 4 pictures" in succeeded(paint.replace("PHOTO", photo), root)
    curves = printed(output, "Curves")
    tensorboard = f"{sys.executable} -m tensorboard.main"
    inspected = succeeded(curves.replace("tensorboard", tensorboard, 1) + " --inspect", root)
    assert "train/loss" in inspected
    # The run's configuration leads the others to its folders.
    quoted = shlex.quote(run_dir)
    succeeded(f"polystyle-evaluate --gatys-steps 0 {quoted} --photos 1", root)


@pytest.mark.slow
def test_a_sweep_takes_its_flag_anywhere_and_each_run_goes_on_alone(root: Path) -> None:
    (root / "a, b").mkdir()
    (root / "2024").rename(root / "a, b/1")
    (root / "2024").mkdir()
    (root / "2024/x.png").write_bytes((root / "a, b/1/1.png").read_bytes())
    typed = shlex.join(
        [
            *("polystyle-train", "data.content_dir=Ann's photos (2), é=1 #3", "-m"),
            *("data.style_dir=2024,a, b/1", *SMALL, *STEPS, "hydra.sweep.dir=my sweep"),
        ]
    )
    output = succeeded(typed, root)
    styles = [load_model(root / f"my sweep/{n}/model.safetensors").style_names for n in (0, 1)]
    assert styles == [["x"], ["1", "it's", "null"]]
    commands = re.findall(r"^Paint: +(.*)$", output, re.MULTILINE)
    assert len(commands) == 2
    assert "--model 'my sweep/1'" in commands[1]
    # To go on with one of them takes no -m.
    overrides = OmegaConf.load(root / "my sweep/1/.hydra/overrides.yaml")
    assert "data.style_dir='a, b/1'" in overrides


@pytest.mark.slow
def test_what_the_other_commands_print_runs_when_pasted(root: Path) -> None:
    home = root / "home"
    (home / "-net, (1)").mkdir(parents=True)
    save_model(home / "-net, (1)/model.safetensors", make_model(["x", "y", "z"]))
    (home / "p").symlink_to(root / "Ann's photos (2), é=1 #3")
    output = succeeded("polystyle-styles list './-net, (1)'", home)
    paint = printed(output, "Paint").replace("PHOTO", "p/photo1.png")
    assert "Painted 4 pictures" in succeeded(paint, home)
    output = succeeded(printed(output, "Share"), home)
    merge = printed(output, "Merge")
    network = "'./-net, (1)/model.safetensors'"
    succeeded(f"polystyle-styles remove --output=small {network} z", home)
    merge = merge.replace("MODEL", "small")
    output = succeeded(merge, home)
    assert "has 3 styles" in output
    succeeded(printed(output, "Look"), home)
    paint = printed(output, "Paint").replace("PHOTO", "p/photo2.png")
    succeeded(paint, home)
    for name in ("-prepared", "null", "2024", "a, b"):
        output = succeeded(f"polystyle-prepare --size 32 p '--output={name}'", home)
        train = printed(output, "Train").replace("PAINTINGS", "../2024")
        small = shlex.join([*SMALL, "trainer.fast_dev_run=true"])
        assert "All is well" in succeeded(f"{train} {small}", home)


INTERMIXED = {
    "stylize": "a.png --style x --model m b.png --output out",
    "styles extract": "extract m x --output packs y",
    "styles flags first": "--output packs extract m x y",
    "styles remove": "remove m --output new x y",
    "styles merge": "merge m --output new packs/x.safetensors packs/y.safetensors",
    "prepare": "--size 32 photos --output out",
    "evaluate": "m --gatys-steps 0 m --content-dir photos --style-dir paintings",
    "export": "--precision float16 m --output m.onnx",
}


@pytest.mark.parametrize("line", INTERMIXED.values(), ids=INTERMIXED)
def test_flags_stand_anywhere(
    line: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parsers alone: the same arguments in another order give the same values."""
    command = request.node.callspec.id.split()[0]
    parsed = parse(command, line.split(), monkeypatch)
    assert "m" in map(str, parsed.values()) or command == "prepare"
    expected = {
        "stylize": {"photos": ["a.png", "b.png"]},
        "prepare": {"photos": Path("photos"), "size": 32},
        "evaluate": {"model": Path("m"), "model_b": Path("m")},
        "export": {"model": Path("m"), "precision": "float16"},
    }.get(command, {})
    assert expected.items() <= parsed.items()
    if "extract" in line or "remove" in line:
        assert parsed["styles"] == ["x", "y"]


def parse(command: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> dict:
    """What a command makes of its arguments, without doing it."""
    found: dict = {}

    def stop(*values: object, **named: object) -> None:
        names = {
            "prepare": ("photos", "output", "size"),
            "export": ("model", "output", "precision", "overwrite"),
        }.get(command, ())
        found.update(zip(names, values, strict=False))
        found.update(vars(values[0]) if command == "stylize" else named)
        raise SystemExit

    import polystyle.evaluation.evaluate
    import polystyle.export
    import polystyle.networks.style_commands as style_commands
    import polystyle.painting.paint_job
    import polystyle.prepare

    monkeypatch.setattr(polystyle.painting.paint_job, "paint_files", stop)
    monkeypatch.setattr(polystyle.evaluation.evaluate, "evaluate", stop)
    monkeypatch.setattr(polystyle.prepare, "prepare", stop)
    monkeypatch.setattr(polystyle.export, "export", stop)
    for name in ("extract", "remove", "merge"):
        monkeypatch.setattr(style_commands, name, stop)
    monkeypatch.setattr(sys, "argv", [f"polystyle-{command}", *arguments])
    module = __import__(f"polystyle.{command}", fromlist=["main"])
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit):
            module.main()
    finally:
        signal.signal(signal.SIGTERM, before)
    return found


EMPTY = {
    "stylize": (
        '"" --style x',
        'a.png "" --style x',
        'a.png --style x --model ""',
        'a.png --style x --output=""',
        'a.png --mask ""',
    ),
    "styles": (
        'list ""',
        'extract "" x --output o',
        'extract m x --output ""',
        'merge m "" --output o',
    ),
    "evaluate": ('""', 'm ""', 'm --content-dir ""', 'm --style-dir ""', 'm --output ""'),
    "export": ('""', 'm --output ""'),
    "prepare": ('"" --output o', 'p --output ""'),
}


@pytest.mark.parametrize(
    ("command", "line"), [(command, line) for command, lines in EMPTY.items() for line in lines]
)
def test_an_empty_path_is_refused_by_name(
    command: str,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [f"polystyle-{command}", *shlex.split(line)])
    module = __import__(f"polystyle.{command}", fromlist=["main"])
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as leaving:
            module.main()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert leaving.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    flags = re.findall(r"--[a-z-]+(?=[ =]\"\")", line)
    assert re.search(r"error: argument .*: the path is empty", last), last
    assert all(flag in last for flag in flags)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("data.content_dir=$UNSET", "data.content_dir is empty"),
        ("hydra.run.dir=", "hydra.run.dir is empty"),
        ("--epochs 3", "there is no flag --epochs: say trainer.max_steps=4000"),
        ("experiment=Fast", "there is no experiment=Fast: did you mean experiment=fast?"),
        ("trainer=dpp", "there is no trainer=dpp: did you mean trainer=ddp?"),
        ("experiment=", "experiment is empty: choose one of add_styles"),
        ("network=johnson", "there is no network=johnson: choose one of transformer_net"),
        ("scheduler=one_cycle", "did you mean model/scheduler=one_cycle?"),
        ("lr=0.1", "there is no lr in the configuration: did you mean model.learning_rate="),
        ("batch_size=4", "did you mean data.batch_size=4?"),
        ("gpus=2", "did you mean trainer=ddp for all GPUs, or trainer.devices=2?"),
        ("trainer.epochs=3", "there is no trainer.epochs in the configuration"),
        ("'data={batchsize:4}'", "there is no data.batchsize in the configuration: did you mean"),
        ("'loss={vgg:{wights:x}}'", "did you mean loss.vgg.weights"),
        ("loss.style_coefficients.x=2", "did you mean loss.style_coefficients={x:NUMBER}?"),
        ("loss.style_weight=2,5", "loss.style_weight=2,5 names several values: add -m"),
        ("hydra.job.name=é", "hydra.job.name=é can't be read: a value with special characters"),
        ("'seed=a:b('", "seed=a:b( can't be read"),
    ],
)
def test_what_is_typed_wrongly_gets_one_line(line: str, complaint: str, tmp_path: Path) -> None:
    result = shell(f"polystyle-train {line} trainer.max_steps=1", tmp_path)
    assert result.returncode == 1
    assert result.stderr.startswith("polystyle-train: ")
    assert result.stderr.count("\n") == 1, result.stderr
    assert complaint in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_somebodys_unfinished_download_stays(folders: Path, tmp_path: Path) -> None:
    downloads = tmp_path / "downloads"
    (downloads / "x.1.part").mkdir(parents=True)
    (downloads / "film.1080p.mkv.part").touch()
    overrides = [f"data.content_dir={folders}/photos", f"data.style_dir={folders}/paintings"]
    line = shlex.join(["polystyle-train", *overrides, *SMALL, *STEPS, f"hydra.run.dir={downloads}"])
    succeeded(line, tmp_path)
    assert (downloads / "x.1.part").is_dir()
    assert (downloads / "film.1080p.mkv.part").exists()


@pytest.mark.slow
def test_new_styles_need_a_network(folders: Path, tmp_path: Path) -> None:
    overrides = [f"data.content_dir={folders}/photos", f"data.style_dir={folders}/paintings"]
    arguments = [*overrides, *SMALL, *STEPS, "experiment=add_styles", "model_file=null"]
    result = shell(shlex.join(["polystyle-train", *arguments]), tmp_path)
    assert result.returncode == 1
    assert result.stderr.startswith(
        "polystyle-train: model_file is null, and experiment=add_styles"
    )
    assert result.stderr.count("\n") == 1
