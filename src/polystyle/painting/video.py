"""Videos, painted frame by frame, with their sound and timing."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.Image import Transpose
from tqdm import tqdm

from polystyle.data.images import HEIF_SUFFIXES, RAW_SUFFIXES, is_picture, to_rgb
from polystyle.data.picture_folder import VIDEO_SUFFIXES
from polystyle.files.atomic_file import atomic_write
from polystyle.painting import hdr

try:
    import av
    from av.codec.context import Flags
    from av.stream import Disposition
except ImportError:  # an optional dependency, which only videos need
    av = None

# What can be written, by suffix: the container, the encoder, and a quality at which no difference
# from the painted frames is visible. With B-frames (bf), an .mp4 of variable frame rate would
# declare a wrong duration.
H264 = ("libx264", {"crf": "18", "bf": "0"})
VP9 = ("libvpx-vp9", {"crf": "24", "b": "0", "cpu-used": "4", "row-mt": "1"})
FORMATS = {
    ".mp4": ("mp4", *H264),
    ".mov": ("mov", *H264),
    ".mkv": ("matroska", *H264),
    ".webm": ("webm", *VP9),
}

# What FFmpeg also takes for videos: pictures (and names that end in "_pipe"), text, and any content
# with the extension of raw frames.
NOT_VIDEOS = {
    *("adf", "apng", "bin", "gif", "ico", "idf", "image2", "jpegxl_anim", "rawvideo", "tty"),
    *("webp_anim", "xbin"),
}
# Pictures in the container of .mp4: the brands of HEIF, AVIF and Canon's raw files.
PICTURE_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"mif1", b"mif2", b"msf1", b"avif", b"crx "}
# Playlists are read, too. They may name files, but nothing in the network.
OPEN_OPTIONS = {"protocol_whitelist": "file"}

# Numbers of ITU-T H.273: BT.709's primaries, transfer function and matrix are all 1.
BT709, LIMITED_RANGE, UNSPECIFIED = 1, 1, 2

# Two frames show different scenes if they differ by more than CUT_LEVELS of 255 on average when
# shrunk to CUT_SIDE x CUT_SIDE pixels.
CUT_LEVELS, CUT_SIDE = 30, 16


def stylize_video(
    source: Path,
    target: Path,
    paint: Callable[[Image.Image], Image.Image],
    on_cut: Callable[[], None] = lambda: None,
) -> int:
    """Paint every frame of a video, and copy its sound.

    The painted video is upright, however the camera was held. It is H.264 (VP9 in a .webm), 8-bit
    4:2:0 in the colours of BT.709, which needs even sides: odd sides lose a row or a column. HDR
    is tone-mapped, and transparent areas become white.
    Frames keep their times, counted from the beginning of the file, also at a variable frame rate.
    Every audio stream is copied packet by packet; subtitles are left out. Frames that can't be
    decoded are skipped, and the frame before them is shown longer.

    Args:
        source: any video that FFmpeg reads.
        target: the file to write, with a suffix of `FORMATS`. It is written atomically, and
            replaces an older file.
        paint: takes an upright RGB frame and returns an RGB picture of the same size.
        on_cut: called before the first frame of each new scene is painted.

    Returns:
        The number of frames painted.

    Raises:
        ValueError: PyAV is not installed, target has another suffix, or its format can't hold
            source's sound.
        OSError: source can't be read as a video, or target can't be written. Also if frames of
            source were damaged or missing: then target holds all others.
    """
    check_av()
    if target.suffix.lower() not in FORMATS:
        raise ValueError(f"{target}: a video can be written as {', '.join(FORMATS)}")
    first = first_frame(source)
    num_painted = 0
    try:
        with (
            atomic_write(target) as unfinished,
            VideoReader(source) as reader,
            av.open(unfinished.absolute(), "w", format=FORMATS[target.suffix.lower()][0]) as file,
            tqdm(
                desc=source.name, total=reader.num_frames, unit="frame", disable=None, leave=False
            ) as progress,
        ):
            writer = VideoWriter(file, target, reader, first)
            cuts = CutDetector()
            for part in reader:
                if isinstance(part, av.Packet):
                    reader.num_lost += not writer.copy(part)
                    continue
                if cuts.is_cut(part.image):
                    on_cut()
                writer.write(paint(part.image), part)
                num_painted += 1
                progress.update()
            writer.finish()
    except av.FFmpegError as error:  # the writer's: the reader catches its own
        raise OSError(f"{target} can't be written: {error.strerror}") from error
    if reader.damage:
        raise OSError(f"{source} is damaged: {reader.damage}. {target} holds the rest")
    return num_painted


def check_av() -> None:
    """Raises ValueError if PyAV is not installed."""
    if av is None:
        raise ValueError("videos need PyAV: pip install 'polystyle[video]'")


def is_video(path: Path) -> bool:
    """Whether a file is a video: by its content, whatever its name, or else by its name, so that
    the reader of videos says what is wrong with a damaged one."""
    suffix = path.suffix.lower()
    if not path.is_file() or suffix in (*HEIF_SUFFIXES, *RAW_SUFFIXES) or is_picture(path):
        return False
    if suffix in VIDEO_SUFFIXES:
        return True
    if av is None or has_picture_brand(path):
        return False
    try:
        with av.open(path.absolute(), metadata_errors="replace", options=OPEN_OPTIONS) as file:
            name = file.format.name
            is_moving = not (name in NOT_VIDEOS or name.endswith("_pipe"))
            return is_moving and bool(moving_pictures(file.streams))
    except (av.FFmpegError, OSError):
        return False


def has_picture_brand(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(12)
    return head[4:8] == b"ftyp" and head[8:12] in PICTURE_BRANDS


def moving_pictures(streams: "Iterable[av.stream.Stream]") -> "list[av.VideoStream]":
    """The video streams that can be decoded. An album's cover is a video stream, too, which is left
    out."""
    return [
        stream
        for stream in streams
        if stream.type == "video"
        and stream.codec_context
        and not stream.disposition & Disposition.attached_pic
    ]


def has_transparency(source: Path) -> bool:
    """Whether the frames of a video declare an alpha channel.

    Raises:
        OSError: it can't be read as a video.
        ValueError: PyAV is not installed.
    """
    check_av()
    with VideoReader(source) as reader:
        pixels = reader.pictures.codec_context.format
        # FFmpeg decodes VP8 and VP9 without the alpha that this tag announces.
        is_tagged = reader.pictures.metadata.get("alpha_mode") == "1"
        return is_tagged or bool(pixels and any(part.is_alpha for part in pixels.components))


def first_frame(source: Path) -> "Frame":
    """The first frame of a video that can be decoded.

    Raises:
        OSError: there is none.
    """
    with VideoReader(source) as reader:
        frame = next((part for part in reader if isinstance(part, Frame)), None)
    if frame is None:
        raise OSError(f"{source} can't be read as a video: none of its frames can be decoded")
    return frame


class CutDetector:
    """Compares each frame with the one before it."""

    def __init__(self) -> None:
        self.before: np.ndarray | None = None

    def is_cut(self, image: Image.Image) -> bool:
        """Whether a frame shows another scene than the frame of the last call."""
        before, self.before = self.before, shrunk(image)
        return before is not None and bool(np.abs(self.before - before).mean() > CUT_LEVELS)


def shrunk(picture: Image.Image) -> np.ndarray:
    """A small copy of a picture, in float32 levels of 255."""
    small = picture.resize((CUT_SIDE, CUT_SIDE), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32)


@dataclass
class Frame:
    """A frame, RGB and upright.

    Attributes:
        image: the picture.
        pts, duration: when it is shown, and for how long, in the time base of its stream.
        turned: whether its columns are rows in the file.
    """

    image: Image.Image
    pts: int
    duration: int
    turned: bool


class VideoReader:
    """A video file, read once from its beginning to its end.

    Raises:
        OSError: it can't be read as a video.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise FileNotFoundError(f"there is no file {path}")
        try:
            # Titles and other metadata are not always UTF-8.
            self.file = av.open(path.absolute(), metadata_errors="replace", options=OPEN_OPTIONS)
        except av.FFmpegError as error:
            raise OSError(f"{path} can't be read as a video: {error.strerror}") from error
        # A stream for which FFmpeg has no decoder has no context, and can't be copied either.
        streams = [stream for stream in self.file.streams if stream.codec_context]
        self.sound = [stream for stream in streams if stream.type == "audio"]
        pictures = moving_pictures(streams)
        if not pictures:
            self.file.close()
            raise OSError(f"{path} is no video: there are no pictures in it")
        self.pictures = pictures[0]
        self.pictures.thread_type = "AUTO"
        self.rate = self.pictures.average_rate or Fraction(25)
        self.start = Fraction(max(self.file.start_time or 0, 0), av.time_base)
        self.duration = Fraction(self.file.duration or 0, av.time_base)
        ends = [
            (stream.start_time + stream.duration) * stream.time_base
            for stream in (self.pictures, *self.sound)
            if stream.duration and stream.start_time is not None
        ]
        self.promised_end = max(ends, default=self.start + self.duration)
        self.end = Fraction(0)
        self.num_lost = 0

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()

    @property
    def num_frames(self) -> int | None:
        """The number of frames that the file declares; None if it declares none."""
        return self.pictures.frames or round(self.duration * self.rate) or None

    @property
    def damage(self) -> str:
        """What could not be read, after the last frame; empty if nothing."""
        missing = float(self.promised_end - self.end)
        lost = f"{self.num_lost} of its packets can't be decoded" if self.num_lost else ""
        # Most formats report no error where a file is cut short. Streams may end up to a second
        # before the declared end.
        cut = f"its last {missing:.1f} seconds are missing" if missing > 1 else ""
        return " and ".join(filter(None, (lost, cut)))

    def __iter__(self) -> "Iterator[Frame | av.Packet[Any]]":
        """The frames, and the packets of the sound, in the file's order. Times start at 0."""
        last_pts, next_pts = -math.inf, 0
        packets = self.file.demux(self.pictures, *self.sound)
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError:
                return  # `damage` reports it
            if packet is None:
                return
            time_base = packet.time_base
            shift = round(self.start / time_base)
            if packet.pts is not None:
                self.end = max(self.end, (packet.pts + (packet.duration or 0)) * time_base)
            if packet.stream is not self.pictures:
                if None not in (packet.pts, packet.dts):
                    packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                    yield packet
                continue
            try:
                frames = [(upright(frame), frame) for frame in packet.decode()]
            except av.FFmpegError:
                # A recording cut out of a longer one may begin with frames that need earlier
                # frames: those are no damage.
                self.num_lost += last_pts >= 0
                continue
            for image, frame in frames:
                # Some files have no times, or have a time twice.
                pts = next_pts if frame.pts is None else frame.pts - shift
                pts = max(pts, last_pts + 1)
                duration = frame.duration or round(1 / (self.rate * time_base))
                last_pts, next_pts = pts, pts + duration
                yield Frame(image, pts, duration, is_turned(frame))


def upright(frame: "av.VideoFrame") -> Image.Image:
    """A frame as RGB, turned and mirrored as its display matrix says."""
    image = hdr.to_srgb(frame) if hdr.needs_conversion(frame) else as_rgb(frame)
    (a, b), (c, d) = display_matrix(frame)
    if is_turned(frame):
        image = image.transpose(Transpose.TRANSPOSE)
        a, d = c, b
    if a < 0:
        image = image.transpose(Transpose.FLIP_LEFT_RIGHT)
    if d < 0:
        image = image.transpose(Transpose.FLIP_TOP_BOTTOM)
    return image


def as_rgb(frame: "av.VideoFrame") -> Image.Image:
    """A frame in the colours of BT.709 as RGB; transparent areas become white."""
    # High-resolution video that specifies no colour matrix is taken for BT.709, where FFmpeg would
    # take it for BT.601.
    is_hd = frame.colorspace == UNSPECIFIED and min(frame.width, frame.height) > 576
    matrix = "ITU709" if is_hd else None
    if any(part.is_alpha for part in frame.format.components):
        return to_rgb(Image.fromarray(frame.to_ndarray(format="rgba", src_colorspace=matrix)))
    return frame.to_image(src_colorspace=matrix)


def is_turned(frame: "av.VideoFrame") -> bool:
    (a, b), _ = display_matrix(frame)
    return abs(b) > abs(a)


def display_matrix(frame: "av.VideoFrame") -> list[list[int]]:
    """``[[a, b], [c, d]]``: the pixel at (x, y) is shown at (a x + c y, b x + d y)."""
    for data in frame.side_data:
        if data.type.name == "DISPLAYMATRIX":
            return np.frombuffer(data, dtype=np.int32).reshape(3, 3)[:2, :2].tolist()
    return [[1, 0], [0, 1]]


class VideoWriter:
    """Writes painted frames and copied sound.

    Args:
        file: opened for writing.
        target: the file's name in error messages; its suffix chooses the encoder.
        reader: the reader of the video that is painted.
        first: its first frame.

    Raises:
        ValueError: this format can't hold the sound.
    """

    def __init__(
        self,
        file: "av.container.OutputContainer",
        target: Path,
        reader: VideoReader,
        first: Frame,
    ) -> None:
        self.file = file
        self.time_base = reader.pictures.time_base
        self.width, self.height = (side - side % 2 for side in first.image.size)
        _, encoder, options = FORMATS[target.suffix.lower()]
        self.pictures = file.add_stream(encoder, rate=reader.rate, options=options)
        context = self.pictures.codec_context
        context.width, context.height, context.pix_fmt = self.width, self.height, "yuv420p"
        context.color_primaries = context.color_trc = context.colorspace = BT709
        context.color_range = LIMITED_RANGE
        context.time_base = self.pictures.time_base = self.time_base
        context.flags |= Flags.frame_duration  # else all frames last equally long
        pixel_shape = reader.pictures.sample_aspect_ratio
        if pixel_shape:
            context.sample_aspect_ratio = 1 / pixel_shape if first.turned else pixel_shape
        try:
            self.sound = {stream: file.add_stream_from_template(stream) for stream in reader.sound}
            for stream, copied in self.sound.items():
                copied.metadata.update(stream.metadata)  # its language
            file.start_encoding()
        except ValueError as error:
            if not reader.sound:
                raise
            codecs = ", ".join(stream.codec_context.name for stream in reader.sound)
            raise ValueError(
                f"{target} can't hold the sound of {reader.path} ({codecs}): write a .mkv instead "
                "(--format mkv)"
            ) from error

    def write(self, image: Image.Image, frame: Frame) -> None:
        """Encode a picture with the frame's time and duration."""
        even = image.crop((0, 0, self.width, self.height))
        encoded = av.VideoFrame.from_image(even).reformat(
            format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG"
        )
        encoded.pts, encoded.duration, encoded.time_base = frame.pts, frame.duration, self.time_base
        self.file.mux(self.pictures.encode(encoded))

    def copy(self, packet: "av.Packet[Any]") -> bool:
        """Write a packet of the sound as it is.

        Returns:
            Whether the format took it: some refuse damaged packets.

        Raises:
            OSError: the file can't be written.
        """
        packet.stream = self.sound[packet.stream]
        try:
            self.file.mux(packet)
        except av.FFmpegError as error:
            if isinstance(error, OSError):  # such as a full disk
                raise
            return False
        return True

    def finish(self) -> None:
        """Write the frames that the encoder still holds."""
        self.file.mux(self.pictures.encode(None))
