"""The tab for training runs, and the one that compares two networks on a photo."""

import shutil
from pathlib import Path
from typing import Any

import gradio as gr

from polystyle.files.path_text import shell_path
from polystyle.studio_app.choices import in_words
from polystyle.studio_app.networks import RUNS_FOLDER, Networks
from polystyle.studio_app.painting_tab import first_styles, one_line_errors, photo_of, written_pair
from polystyle.studio_app.runs import Run, find_runs, read_losses, read_run
from polystyle.studio_app.sessions import Sessions

PRIVATE = {"api_visibility": "private"}
HOW_TO_START = (
    f"There are no runs in {RUNS_FOLDER}/ yet. "
    "`polystyle-train data.content_dir=PHOTOS data.style_dir=PAINTINGS` starts one."
)


class RunsTab:
    """Pictures over time, losses by style, what is finished, how to resume.

    Built inside a `gr.Blocks`; call `bind` when all tabs are built.

    Args:
        sessions: the open pages, which get copies of the pictures.
    """

    def __init__(self, sessions: Sessions) -> None:
        self.sessions = sessions
        with gr.Row():
            self.run = gr.Dropdown(label="Run", scale=4, filterable=False, elem_id="run")
            self.refresh = gr.Button("Look again", scale=1, min_width=120, elem_id="refresh")
        self.summary = gr.Markdown(HOW_TO_START, elem_id="summary")
        self.step = gr.Slider(1, 2, 1, step=1, label="Picture", visible=False, elem_id="step")
        self.picture = gr.Image(
            label="Painted",
            interactive=False,
            type="filepath",
            buttons=["fullscreen", "download"],
            visible=False,
            elem_id="grid",
        )
        self.losses = gr.Dataframe(
            label="Losses of the last validation",
            interactive=False,
            visible=False,
            elem_id="losses",
        )

    def bind(self, tab: gr.Tab) -> None:
        """Say what happens when the tab is opened, and when a control is used."""
        shown = [self.summary, self.step, self.picture, self.losses]
        for event in (tab.select, self.refresh.click):
            event(self.list_runs, self.run, self.run, **PRIVATE).success(
                self.show, self.run, shown, **PRIVATE
            )
        self.run.input(self.show, self.run, shown, **PRIVATE)
        self.step.input(
            self.show_picture,
            [self.run, self.step],
            self.picture,
            trigger_mode="always_last",
            show_progress="hidden",
            **PRIVATE,
        )

    def list_runs(self, chosen: str | None) -> gr.Dropdown:
        """The runs there are now."""
        names = [str(folder) for folder in find_runs(RUNS_FOLDER)]
        value = chosen if chosen in names else next(iter(names), None)
        return gr.Dropdown(names, value=value)

    @one_line_errors()
    def show(self, request: gr.Request, name: str | None) -> list[Any]:
        """A run: its summary, the slider of its pictures, the last one, its losses."""
        if name is None:
            return [HOW_TO_START, *(gr.skip(),) * 3]
        run = read_run(known_run(name))
        columns, rows = read_losses(run.folder)
        last = len(run.pictures)
        return [
            summary(run),
            gr.Slider(
                maximum=max(2, last), value=last, label=f"Picture, of {last}", visible=last > 1
            ),
            self.picture_of(request, run, last),
            gr.Dataframe(rows, headers=columns, visible=bool(rows)),
        ]

    @one_line_errors()
    def show_picture(self, request: gr.Request, name: str, number: int) -> gr.Image:
        """The picture that a run painted at a step."""
        return self.picture_of(request, read_run(known_run(name)), number)

    def picture_of(self, request: gr.Request, run: Run, number: int) -> gr.Image:
        """One of a run's pictures, counted from 1."""
        if not run.pictures:
            return gr.Image(visible=False)
        steps = list(run.pictures)
        step = steps[min(number, len(steps)) - 1]
        copy = self.sessions.get(request.session_hash).new_folder() / run.pictures[step].name
        shutil.copyfile(run.pictures[step], copy)
        return gr.Image(str(copy), label=f"Step {step:,}", visible=True)


class ModelsTab:
    """Two networks side by side on the photo of the tab to paint on.

    Args:
        networks: which there are.
        sessions: the open pages, with their photos.
    """

    def __init__(self, networks: Networks, sessions: Sessions) -> None:
        self.networks = networks
        self.sessions = sessions
        with gr.Row():
            self.left = gr.Dropdown(label="Left", filterable=False, elem_id="left-model")
            self.right = gr.Dropdown(label="Right", filterable=False, elem_id="right-model")
        with gr.Row():
            self.left_style = gr.Dropdown(label="Left style", elem_id="left-style")
            self.right_style = gr.Dropdown(label="Right style", elem_id="right-style")
        self.compare = gr.Button("Paint both", variant="primary", elem_id="compare-models")
        self.pair = gr.ImageSlider(
            label="Left | right", type="filepath", interactive=False, elem_id="pair"
        )

    def bind(self, tab: gr.Tab) -> None:
        """Say what happens when the tab is opened, and when a control is used."""
        models = [self.left, self.right]
        styles = [self.left_style, self.right_style]
        tab.select(self.list_models, models, models, **PRIVATE).success(
            self.list_styles, [*models, *styles], styles, **PRIVATE
        )
        for model in models:
            model.input(self.list_styles, [*models, *styles], styles, **PRIVATE)
        self.compare.click(
            self.paint, [*models, *styles], self.pair, concurrency_id="previews", **PRIVATE
        )

    def list_models(self, *chosen: str | None) -> list[gr.Dropdown]:
        """The networks there are now."""
        names = self.networks.choices()
        first = [names[0], names[min(1, len(names) - 1)]]
        return [
            gr.Dropdown(names, value=name if name in names else default)
            for name, default in zip(chosen, first, strict=True)
        ]

    @one_line_errors()
    def list_styles(self, left: str, right: str, *chosen: str | None) -> list[gr.Dropdown]:
        """The styles of both networks."""
        dropdowns, value = [], None
        for model, style in zip((left, right), chosen, strict=True):
            names = self.networks.get(model).names
            # On the right, the style of the left side if there is nothing better.
            value = next(name for name in (style, value, *first_styles(names)) if name in names)
            dropdowns.append(gr.Dropdown([(in_words(n), n) for n in names], value=value))
        return dropdowns

    @one_line_errors()
    def paint(self, request: gr.Request, left: str, right: str, *styles: str) -> tuple[str, ...]:
        """Paint the small copy of the photo with both networks."""
        session = self.sessions.get(request.session_hash)
        photo = photo_of(session)
        return written_pair(
            session,
            *(
                self.networks.get(model).painter(photo.preview, style)
                for model, style in zip((left, right), styles, strict=True)
            ),
        )


def known_run(name: str) -> Path:
    """Raises ValueError for what is no run under `RUNS_FOLDER`."""
    if Path(name) not in find_runs(RUNS_FOLDER):
        raise ValueError(f"there is no run {name} any more")
    return Path(name)


def summary(run: Run) -> str:
    """A run in a few lines of Markdown."""
    name = shell_path(run.folder)
    lines = [f"**{run.folder}**: {run.state}, written {in_words_ago(run.seconds_ago)} ago."]
    is_finished = run.max_steps is not None and run.step >= run.max_steps
    if run.resume_command and not is_finished:
        lines.append(f"Resume, where it was started:\n```\n{run.resume_command}\n```")
    if run.has_model:
        lines.append(f"Paint:\n```\npolystyle-stylize PHOTO --model {name} --style all\n```")
    lines.append(
        f"Curves: `tensorboard --logdir {RUNS_FOLDER}`, then "
        "[localhost:6006](http://localhost:6006/)"
    )
    return "\n\n".join(lines)


def in_words_ago(seconds: float) -> str:
    """A time in its largest unit."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
