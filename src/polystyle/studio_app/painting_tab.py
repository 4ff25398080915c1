"""The tab to paint on: its controls, and what happens when one is used."""

import shlex
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import gradio as gr
import torch
from PIL import Image

from polystyle.files.terminal_text import sanitized
from polystyle.networks.model_file import PRETRAINED
from polystyle.studio_app.choices import (
    BLEND,
    CORNERS,
    MAX_BLEND,
    NUM_CORNERS,
    ONE,
    Choices,
    in_words,
)
from polystyle.studio_app.full_size import FullSizePainting
from polystyle.studio_app.networks import Network, Networks
from polystyle.studio_app.parts import (
    blend_pad,
    brush,
    data_url,
    photo_input,
    style_picker,
    thumbnails,
)
from polystyle.studio_app.regions import COLORS, brushed, read_drawing, region_masks
from polystyle.studio_app.sessions import (
    Photo,
    Session,
    Sessions,
    sample_files,
    sample_photo,
    uploaded_photo,
)
from polystyle.studio_app.setting import (
    LARGEST_SCALE,
    SMALLEST_SCALE,
    Setting,
    command_arguments,
    from_query,
    to_query,
    value_of_query,
)

PREVIEW_QUALITY = 90  # of JPEGs
THUMBNAIL_SIDE = 96  # pixels

# The styles that the page opens with, where the network has them: one style, the pad's corners, and
# the brush's colours. Else its first ones.
FIRST_STYLES = ("starry_night", "wave", "the_scream", "water_lilies")

# Events of one kind wait for each other: the machine paints one preview at a time, in the order in
# which the page asked for them.
PREVIEWS, PAINTINGS = "previews", "paintings"


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Errors of the block, or of the function that this decorates, as a line on the page."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise gr.Error(sanitized(error), print_exception=False) from error
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise gr.Error("out of memory", print_exception=False) from error


class PaintingTab:
    """Built inside a `gr.Blocks`; call `bind` when all tabs are built.

    Args:
        networks: what it paints with.
        sessions: the open pages.
    """

    def __init__(self, networks: Networks, sessions: Sessions) -> None:
        self.networks = networks
        self.sessions = sessions
        with gr.Row():
            with gr.Column(scale=3, min_width=320, elem_id="results"):
                self.build_results()
            with gr.Column(scale=2, min_width=320, elem_id="controls"):
                self.build_controls()

    def build_results(self) -> None:
        self.compare = gr.ImageSlider(
            label="Photo | painting",
            type="filepath",
            interactive=False,
            buttons=["fullscreen"],
            max_height=620,
            elem_id="compare",
        )
        self.status = gr.Markdown("Loading …", elem_id="status")
        with gr.Row():
            self.paint = gr.Button("Paint at full size", variant="primary", elem_id="paint")
            self.stop = gr.Button("Stop", visible=False, elem_id="stop", min_width=80)
            self.download = gr.DownloadButton("Download", visible=False, elem_id="download")
        self.masks = gr.Files(
            label="The masks of the command line", visible=False, interactive=False, elem_id="masks"
        )
        self.command = gr.Textbox(
            label="The command line that paints the same",
            buttons=["copy"],
            interactive=False,
            lines=2,
            elem_id="command",
        )
        self.link = gr.Textbox(
            label="A link that opens this setting",
            info="Of the photos, only the samples are in a link, and no brushed regions.",
            buttons=["copy"],
            interactive=False,
            elem_id="link",
        )

    def build_controls(self) -> None:
        self.upload = photo_input(
            label="Photo",
            sources=["upload", "webcam", "clipboard"],
            height=170,
            elem_id="upload",
        )
        self.samples = style_picker("Sample photos", "samples")
        self.model = gr.Dropdown(label="Network", elem_id="model", filterable=False)
        self.mode, self.style, self.blend = gr.State(ONE), gr.State(""), gr.State([])
        self.place = gr.State((0.5, 0.5))
        with gr.Tabs(elem_id="modes") as self.modes:
            with gr.Tab("One style", id=ONE) as self.one_tab:
                self.picker = style_picker("Styles", "styles")
            with gr.Tab("Blend", id=BLEND) as self.blend_tab:
                self.blend_picker = style_picker("Styles of the blend", "blend-styles")
                self.weights = [
                    gr.Slider(0, 1, 1, step=0.05, visible=False, elem_id=f"weight-{number}")
                    for number in range(MAX_BLEND)
                ]
            with gr.Tab("Four corners", id=CORNERS) as self.corners_tab:
                self.build_corners()
        self.strength = gr.Slider(0, 1, 1, step=0.05, label="Strength", elem_id="strength")
        self.scale = gr.Slider(
            SMALLEST_SCALE, LARGEST_SCALE, 1, step=0.05, label="Stroke size", elem_id="scale"
        )
        self.keep_colors = gr.Checkbox(label="Keep the photo's colours", elem_id="keep-colors")
        with gr.Accordion("Brush regions in another style", open=False, elem_id="brush-panel"):
            self.canvas = brush()
            with gr.Row():
                self.region_styles = [
                    gr.Dropdown(
                        label=f"{color.capitalize()} is", min_width=140, elem_id=f"region-{color}"
                    )
                    for color in COLORS
                ]
            self.softness = gr.Slider(
                0, 10, 2, step=0.5, label="Soft edges", info="Hundredths of the longer side"
            )

    def build_corners(self) -> None:
        self.corners: list[gr.Dropdown] = []
        for row in (("top left", "top right"), ("bottom left", "bottom right")):
            if self.corners:
                self.pad = blend_pad()
            with gr.Row():
                self.corners += [
                    gr.Dropdown(
                        label=name, min_width=120, elem_id=f"corner-{name.replace(' ', '-')}"
                    )
                    for name in row
                ]

    def bind(self, page: gr.Blocks) -> None:
        """Say what happens when a control is used."""
        values = [
            *(self.model, self.mode, self.style, self.blend, self.place),
            *(self.strength, self.scale, self.keep_colors, self.softness),
            *(*self.corners, *self.region_styles, *self.weights),
        ]
        private = {"api_visibility": "private"}
        preview = {
            **private,
            "fn": self.preview,
            "inputs": values,
            "outputs": [
                *(self.compare, self.status, self.command, self.link),
                *(self.download, self.masks),
            ],
            "concurrency_id": PREVIEWS,
            "concurrency_limit": 1,
            "show_progress": "minimal",
            "show_progress_on": self.status,
            "trigger_mode": "always_last",
        }
        shown = self.of_network()
        sliders = (self.strength, self.scale, self.softness, *self.weights)
        others = (self.keep_colors, *self.corners, *self.region_styles)
        gr.on([control.input for control in (*sliders, *others)], **preview)
        outputs = [*shown, self.samples, self.canvas, self.strength, self.scale, self.keep_colors]
        page.load(self.open, None, [*outputs, self.modes, self.mode], **private).then(**preview)
        for event, handler, inputs, outputs in (
            (self.upload.input, self.take_photo, self.upload, [self.upload, self.canvas]),
            (self.samples.pick, self.take_sample, None, self.canvas),
            (self.canvas.brushed, self.take_drawing, None, None),
            (self.model.input, self.show_network, values, shown),
            (self.picker.pick, self.pick, None, [self.style, self.picker]),
            (
                self.blend_picker.pick,
                self.pick_for_blend,
                self.blend,
                [self.blend, self.blend_picker, *self.weights],
            ),
            (self.pad.moved, self.move, None, self.place),
            (self.one_tab.select, lambda: ONE, None, self.mode),
            (self.blend_tab.select, lambda: BLEND, None, self.mode),
            (self.corners_tab.select, lambda: CORNERS, None, self.mode),
        ):
            # "multiple": the other modes drop the data of events that come while one is handled.
            event(
                handler,
                inputs,
                outputs,
                show_progress="hidden",
                trigger_mode="multiple",
                **private,
            ).success(**preview)
        self.paint.click(
            self.paint_full_size,
            values,
            [self.status, self.paint, self.stop, self.download, self.masks],
            concurrency_id=PAINTINGS,
            concurrency_limit=1,
            show_progress="hidden",
            **private,
        )
        self.stop.click(self.stop_painting, queue=False, **private)
        page.unload(self.close)

    def of_network(self) -> list[Any]:
        """The controls that depend on the network's styles."""
        return [
            *(self.model, self.style, self.picker, self.blend, self.blend_picker),
            *(*self.weights, *self.corners, *self.region_styles),
        ]

    def session(self, request: gr.Request) -> Session:
        return self.sessions.get(request.session_hash)

    @one_line_errors()
    def open(self, request: gr.Request) -> list[Any]:
        """The controls as the page's link asks for."""
        query, session = request.request.url.query, self.session(request)
        samples = sample_files()
        sample = value_of_query(query, "photo") or next(iter(samples), None)
        canvas = gr.skip()
        if sample:
            canvas = self.with_photo(session, sample_photo(sample))
        name = value_of_query(query, "model") or self.networks.asked[0]
        network = session.shown = self.networks.get(name)
        default = Setting(name, {first_styles(network.names)[0]: 1.0})
        try:
            setting = from_query(query, network.names, default)
        except ValueError as error:
            gr.Warning(sanitized(error))
            setting = default
        mode = ONE if len(setting.weights) == 1 else BLEND
        return [
            *self.controls(network, setting),
            gr.HTML(styles=sample_thumbnails(samples)),
            canvas,
            *(setting.strength, setting.scale, setting.keep_colors),
            *(gr.Tabs(selected=mode), mode),
        ]

    def controls(self, network: Network, setting: Setting) -> list[Any]:
        """The controls `of_network`."""
        styles = thumbnails(network.names, network.thumbnails)
        first = first_styles(network.names)
        options = [(in_words(name), name) for name in network.names]
        names, weights = list(setting.weights), list(setting.weights.values())
        return [
            gr.Dropdown(self.networks.choices(), value=setting.model),
            names[0],
            gr.HTML(styles=styles, chosen=names[:1]),
            names,
            gr.HTML(styles=styles, chosen=names),
            *blend_sliders(names, weights),
            *(gr.Dropdown(options, value=name) for name in first),
            *(gr.Dropdown(options, value=name) for name in first[1:]),
        ]

    @one_line_errors()
    def show_network(self, request: gr.Request, *values: Any) -> list[Any]:
        """The controls for another network; styles that it has, too, stay."""
        choices = Choices.of(values)
        network = self.session(request).shown = self.networks.get(choices.model)
        kept = {name: 1.0 for name in choices.styles() if name in network.names}
        weights = kept or {first_styles(network.names)[0]: 1.0}
        return self.controls(network, Setting(choices.model, weights))

    @one_line_errors()
    def take_photo(self, request: gr.Request, upload: tuple[Path, str] | None) -> list[Any]:
        """Take an uploaded photo; the upload is empty then, for the next one."""
        if upload is None:
            return [None, gr.skip()]
        session = self.session(request)
        return [None, self.with_photo(session, uploaded_photo(session, *upload))]

    @one_line_errors()
    def take_sample(self, request: gr.Request, event: gr.EventData) -> gr.HTML:
        return self.with_photo(self.session(request), sample_photo(event.name))

    def with_photo(self, session: Session, photo: Photo) -> gr.HTML:
        """Have a session paint a photo, with nothing brushed over it yet; the photo to brush on."""
        session.photo, session.drawing = photo, None
        return gr.HTML(photo=data_url(jpeg(photo.preview)))

    @one_line_errors()
    def take_drawing(self, request: gr.Request, event: gr.EventData) -> None:
        """Take what is brushed over the photo."""
        self.session(request).drawing = read_drawing(event.drawing)

    def pick(self, event: gr.EventData) -> list[Any]:
        """Choose one style."""
        return [event.name, gr.HTML(chosen=[event.name])]

    @one_line_errors()
    def pick_for_blend(self, blend: list[str], event: gr.EventData) -> list[Any]:
        """Add a style to the blend, or take it out."""
        if event.name in blend:
            blend = [name for name in blend if name != event.name]
        elif len(blend) == MAX_BLEND:
            raise ValueError(f"a blend has at most {MAX_BLEND} styles: take one out first")
        else:
            blend = [*blend, event.name]
        return [blend, gr.HTML(chosen=blend), *blend_sliders(blend)]

    def move(self, event: gr.EventData) -> tuple[float, float]:
        """Move the dot of the pad."""
        return float(event.across), float(event.down)

    @one_line_errors()
    def preview(self, request: gr.Request, *values: Any) -> list[Any]:
        """Paint the small copy of the photo."""
        session, choices = self.session(request), Choices.of(values)
        if choices.model is None:  # the page's tabs say that they are chosen before it is loaded
            return [gr.skip()] * 6
        photo, network = photo_of(session), self.networks.get(choices.model)
        if session.shown is not None and session.shown.stamp != network.stamp:
            gr.Info(f"{sanitized(choices.model)} was replaced on the disk: it is loaded again")
        session.shown = network
        setting = choices.setting(network)
        start = time.perf_counter()
        painted = network.painter(
            photo.preview,
            setting.style,
            strength=setting.strength,
            by_pixels=setting.by_pixels,
            scale=setting.scale,
            keep_colors=setting.keep_colors,
            masks=[
                (mask, choices.style_of_region(color))
                for color, mask in masks_of(session, choices, photo.preview.size).items()
            ],
        )
        line = (
            f"Preview, painted in {time.perf_counter() - start:.1f} s at "
            f"{painted.width} x {painted.height} of {photo.size[0]} x {photo.size[1]} pixels"
        )
        command = self.shown_command(session, choices, setting)
        # The download stays as long as it is what the page shows.
        is_painted = session.full_size_of == (command, choices.softness, session.drawing)
        return [
            written_pair(session, photo.preview, painted),
            line,
            command,
            f"{request.request.base_url}?{to_query(setting, photo.sample)}",
            gr.skip() if is_painted else gr.DownloadButton(visible=False),
            gr.skip() if is_painted else gr.Files(visible=False),
        ]

    def shown_command(self, session: Session, choices: Choices, setting: Setting) -> str:
        """The command line, with the photo's own name and the masks beside it."""
        photo = photo_of(session)
        colors = brushed(session.drawing) if session.drawing else {}
        masks = [(mask_name(photo, color), choices.style_of_region(color)) for color in colors]
        arguments = command_arguments(setting, photo.typed, masks, self.networks.device)
        return shlex.join(["polystyle-stylize", *arguments])

    def paint_full_size(self, request: gr.Request, *values: Any) -> Iterator[list[Any]]:
        """Run the command line that the page shows, with the paths of the files here."""
        with one_line_errors():
            session, choices = self.session(request), Choices.of(values)
            photo, network = photo_of(session), self.networks.get(choices.model)
            setting = choices.setting(network)
            command = self.shown_command(session, choices, setting)
            session.full_size_of = (command, choices.softness, session.drawing)
            if setting.model != PRETRAINED:
                setting = replace(setting, model=str(Path(setting.model).absolute()))
            session.stop()
            folder = session.new_folder()
            masks = []
            for color, mask in masks_of(session, choices, photo.size).items():
                masks.append((folder / mask_name(photo, color), choices.style_of_region(color)))
                mask.save(masks[-1][0])
            output = folder / "painted"
            output.mkdir()
            arguments = command_arguments(setting, photo.path, masks, self.networks.device)
            session.painting = FullSizePainting(arguments, output)
            yield from self.watch(session, session.painting, [str(path) for path, _ in masks])

    def watch(
        self, session: Session, painting: FullSizePainting, masks: list[str]
    ) -> Iterator[list[Any]]:
        """Show the progress of a painting, and then its download, or why there is none."""
        start = time.perf_counter()
        ready = [gr.Button(visible=True), gr.Button(visible=False)]
        busy = [gr.Button(visible=False), gr.Button(visible=True)]
        nothing = [gr.skip(), gr.skip()]
        try:
            if session.closed.is_set():
                return
            for done in painting.progress():
                share = f"{done[0]:.1f} of {done[1]:.1f} megapixels, " if done else ""
                line = f"Painting at full size: {share}{time.perf_counter() - start:.0f} s"
                yield [line, *busy, *nothing]
            path = painting.result()
        except ValueError as error:
            if not painting.is_stopped:
                gr.Warning(sanitized(error))
            yield ["Stopped" if painting.is_stopped else sanitized(error), *ready, *nothing]
            return
        finally:
            painting.close()
        for message in painting.messages():
            gr.Info(sanitized(message))
        yield [
            f"Painted {path.name} in {time.perf_counter() - start:.0f} s",
            *ready,
            gr.DownloadButton(f"Download {path.name}", value=str(path), visible=True),
            gr.Files(masks, visible=bool(masks)),
        ]

    def stop_painting(self, request: gr.Request) -> None:
        """End the painting at full size that the page asked for."""
        self.session(request).stop()

    def close(self, request: gr.Request) -> None:
        """The tab was closed."""
        self.sessions.close(request.session_hash)


def first_styles(names: Sequence[str]) -> list[str]:
    """A style for each corner of the pad."""
    names = [*(name for name in FIRST_STYLES if name in names), *names]
    return [names[index % len(names)] for index in range(NUM_CORNERS)]


def sample_thumbnails(samples: dict[str, Path]) -> list[dict[str, str]]:
    """The sample photos as `style_picker` takes them."""
    pictures = {}
    for name, path in samples.items():
        with Image.open(path) as photo:
            photo.thumbnail((2 * THUMBNAIL_SIDE, 2 * THUMBNAIL_SIDE))
            pictures[name] = jpeg(photo)
    return thumbnails(list(samples), pictures)


def blend_sliders(blend: Sequence[str], weights: Sequence[float] = ()) -> list[gr.Slider]:
    """The sliders of a blend; those that it has no style for are hidden."""
    sliders = []
    for index in range(MAX_BLEND):
        value = {"value": weights[index]} if index < len(weights) else {}
        label = in_words(blend[index]) if index < len(blend) else ""
        sliders.append(gr.Slider(label=label, visible=bool(label), **value))
    return sliders


def photo_of(session: Session) -> Photo:
    """Raises ValueError if the page has no photo."""
    if session.photo is None:
        raise ValueError("choose a photo first")
    return session.photo


def masks_of(session: Session, choices: Choices, size: tuple[int, int]) -> dict[str, Image.Image]:
    """The masks of what is brushed, by colour."""
    return region_masks(session.drawing, size, choices.softness) if session.drawing else {}


def mask_name(photo: Photo, color: str) -> str:
    """The file of a mask, beside the photo's."""
    return f"{Path(photo.typed).stem}-mask-{color}.png"


def written_pair(session: Session, *pictures: Image.Image) -> tuple[str, ...]:
    """Photo and painting as files that the browser can fetch."""
    folder = session.new_folder()
    paths = [folder / "photo.jpg", folder / "painting.jpg"]
    for path, picture in zip(paths, pictures, strict=True):
        path.write_bytes(jpeg(picture))
    if session.closed.is_set():  # while this was painted
        shutil.rmtree(session.folder, ignore_errors=True)
    return tuple(map(str, paths))


def jpeg(picture: Image.Image) -> bytes:
    file = BytesIO()
    picture.convert("RGB").save(file, "JPEG", quality=PREVIEW_QUALITY)
    return file.getvalue()
