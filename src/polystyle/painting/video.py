"""Videos, painted frame by frame: their sound and timing kept, their statistics smoothed."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.Image import Transpose
from tqdm import tqdm

from polystyle.files.atomic_file import atomic_write

try:
    import av
    from av.codec.context import Flags
    from av.stream import Disposition
except ImportError:  # an extra, that only videos need
    av = None

# What can be written, by suffix: the container, the encoder, and a quality at which the eye sees no
# difference from the painted frames. With B-frames (bf), an .mp4 of variable frame rate would tell
# a wrong end.
H264 = ("libx264", {"crf": "18", "bf": "0"})
VP9 = ("libvpx-vp9", {"crf": "24", "b": "0", "cpu-used": "4", "row-mt": "1"})
FORMATS = {
    ".mp4": ("mp4", *H264),
    ".mov": ("mov", *H264),
    ".mkv": ("matroska", *H264),
    ".webm": ("webm", *VP9),
}

# As ITU-T H.273 numbers them: BT.709's primaries, transfer function and matrix are all 1.
BT709, LIMITED_RANGE, UNTOLD = 1, 1, 2

# Two frames show different scenes if, shrunk to CUT_SIDE x CUT_SIDE pixels, they differ by more
# than CUT levels of 255 on average.
CUT, CUT_SIDE = 30, 16


def stylize_video(
    source: Path,
    target: Path,
    paint: Callable[[Image.Image], Image.Image],
    on_cut: Callable[[], None] = lambda: None,
) -> int:
    """Paint every frame of a video, and copy its sound.

    The picture comes out upright, however the camera was held, as H.264 (in a .webm VP9), 8-bit
    4:2:0 in the colours of BT.709; that needs even sides, so odd ones lose a row or a column.
    Frames keep their times, counted from the beginning of the file, at a variable frame rate too.
    Every audio stream is copied packet by packet; subtitles are left out. What can't be decoded is
    passed over: the frame before it stands longer.

    Args:
        source: any video that FFmpeg reads.
        target: the file to write, with a suffix of `FORMATS`. It is there whole or not at all; an
            older one is replaced.
        paint: from an upright RGB frame to an RGB picture of the same size.
        on_cut: called before the first frame of each new scene is painted.

    Returns:
        How many frames were painted.

    Raises:
        ValueError: PyAV is not installed, the suffix is another one, or target's kind of file can't
            hold source's sound.
        OSError: source can't be read as a video, or target not be written. Also when target is
            complete, but frames of source were damaged or missing.
    """
    if av is None:
        raise ValueError("videos need PyAV: pip install 'polystyle[video]'")
    if target.suffix.lower() not in FORMATS:
        raise ValueError(f"{target}: a video can be written as {', '.join(FORMATS)}")
    with VideoReader(source) as reader:
        first = next((each for each in reader if isinstance(each, Frame)), None)
    if first is None:
        raise OSError(f"{source} can't be read as a video: none of its frames can be decoded")

    num_painted, small = 0, None
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
            for each in reader:
                if isinstance(each, av.Packet):
                    try:
                        writer.copy(each)
                    except av.FFmpegError as error:
                        if isinstance(error, OSError):  # a full disk, say
                            raise
                        reader.num_lost += 1  # damaged sound, that the format refuses
                    continue
                before, small = small, shrunk(each.image)
                if before is not None and np.abs(small - before).mean() > CUT:
                    on_cut()
                writer.write(paint(each.image), each)
                num_painted += 1
                progress.update()
            writer.finish()
    except av.FFmpegError as error:  # the reader lets none out
        raise OSError(f"{target} can't be written: {error.strerror}") from error
    if reader.damage:
        raise OSError(f"{source} is damaged: {reader.damage}. {target} holds the rest")
    return num_painted


def shrunk(picture: Image.Image) -> np.ndarray:
    small = picture.resize((CUT_SIDE, CUT_SIDE), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32)


@dataclass
class Frame:
    """A frame, RGB and upright.

    Attributes:
        image: the picture.
        pts, duration: when it is shown, and how long, in the time base of its stream.
        turned: whether its columns were rows in the file.
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
            # Titles and such are not always UTF-8.
            self.file = av.open(path.absolute(), metadata_errors="replace")
        except av.FFmpegError as error:
            raise OSError(f"{path} can't be read as a video: {error.strerror}") from error
        # A stream that FFmpeg has no decoder for has no context, and can't be copied either.
        # The cover of an album counts as a video stream.
        streams = [stream for stream in self.file.streams if stream.codec_context]
        self.sound = [stream for stream in streams if stream.type == "audio"]
        pictures = [
            stream
            for stream in streams
            if stream.type == "video" and not stream.disposition & Disposition.attached_pic
        ]
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
        """How many frames there should be, if the file says."""
        return self.pictures.frames or round(self.duration * self.rate) or None

    @property
    def damage(self) -> str:
        """What wasn't there, once all is read; empty if nothing."""
        missing = float(self.promised_end - self.end)
        lost = f"{self.num_lost} of its packets can't be decoded" if self.num_lost else ""
        # Where a file breaks off, most formats just end. No stream ends at the exact microsecond.
        cut = f"its last {missing:.1f} seconds are missing" if missing > 1 else ""
        return " and ".join(filter(None, (lost, cut)))

    def __iter__(self) -> "Iterator[Frame | av.Packet]":
        """The frames, and the packets of the sound, in the file's order; times start at 0."""
        last_pts, next_pts = -math.inf, 0
        packets = self.file.demux(self.pictures, *self.sound)
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError:
                return  # `damage` tells
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
                # A recording cut out of a longer one may begin with frames that need earlier ones.
                self.num_lost += last_pts >= 0
                continue
            for image, frame in frames:
                # Some files have no times, or some twice.
                pts = next_pts if frame.pts is None else frame.pts - shift
                pts = max(pts, last_pts + 1)
                duration = frame.duration or round(1 / (self.rate * time_base))
                last_pts, next_pts = pts, pts + duration
                yield Frame(image, pts, duration, is_turned(frame))


def upright(frame: "av.VideoFrame") -> Image.Image:
    """A frame as RGB, turned and mirrored as its display matrix says."""
    # High resolution of an untold colour matrix has that of its kind, not that of television.
    hd = frame.colorspace == UNTOLD and min(frame.width, frame.height) > 576
    image = frame.to_image(src_colorspace="ITU709" if hd else None)
    (a, b), (c, d) = display_matrix(frame)
    if is_turned(frame):
        image = image.transpose(Transpose.TRANSPOSE)
        a, d = c, b
    if a < 0:
        image = image.transpose(Transpose.FLIP_LEFT_RIGHT)
    if d < 0:
        image = image.transpose(Transpose.FLIP_TOP_BOTTOM)
    return image


def is_turned(frame: "av.VideoFrame") -> bool:
    (a, b), _ = display_matrix(frame)
    return abs(b) > abs(a)


def display_matrix(frame: "av.VideoFrame") -> list[list[int]]:
    """``[[a, b], [c, d]]``: the pixel at (x, y) is to be shown at (a x + c y, b x + d y)."""
    for data in frame.side_data:
        if data.type.name == "DISPLAYMATRIX":
            return np.frombuffer(data, dtype=np.int32).reshape(3, 3)[:2, :2].tolist()
    return [[1, 0], [0, 1]]


class VideoWriter:
    """Painted frames and copied sound, written as they come.

    Args:
        file: opened for writing.
        target: what to call it in errors; its suffix chooses the encoder.
        reader: of the video that is painted.
        first: its first frame.

    Raises:
        ValueError: this kind of file can't hold the sound.
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
        context.flags |= Flags.frame_duration  # else each is shown as long as the others
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
                f"{target} can't hold the sound of {reader.path} ({codecs}): write a .mkv instead"
            ) from error

    def write(self, image: Image.Image, frame: Frame) -> None:
        """Encode a picture, to be shown when the frame was."""
        even = image.crop((0, 0, self.width, self.height))
        encoded = av.VideoFrame.from_image(even).reformat(
            format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG"
        )
        encoded.pts, encoded.duration, encoded.time_base = frame.pts, frame.duration, self.time_base
        self.file.mux(self.pictures.encode(encoded))

    def copy(self, packet: "av.Packet") -> None:
        """Write a packet of the sound as it is."""
        packet.stream = self.sound[packet.stream]
        self.file.mux(packet)

    def finish(self) -> None:
        """Write the frames that the encoder has held back."""
        self.file.mux(self.pictures.encode(None))
