"""Videos: only the picture changes, and the statistics are averaged over frames."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import measure_flicker
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from polystyle.networks.conditional_instance_norm import ConditionalInstanceNorm2d
from polystyle.networks.transformer_net import TransformerNet
from polystyle.painting import video
from polystyle.painting.smoothing import RunningStatistics, smoothed_statistics
from polystyle.painting.video import VideoReader, stylize_video

av = pytest.importorskip("av")
Flags = av.codec.context.Flags

GREYS = range(30, 230, 25)  # the levels of eight frames


def grey(level: int, size: tuple[int, int] = (48, 40)) -> Image.Image:
    return Image.new("RGB", size, (level, level, level))


def level(picture: Image.Image) -> int:
    return round(np.asarray(picture).mean())


def write_clip(
    path: Path,
    pictures: Sequence[Image.Image] | None = None,
    times: Sequence[int] | None = None,  # in 1/600 s
    last_duration: int = 25,
    sounds: Sequence[str] = ("aac",),
    encoder: str = "libx264",
    pix_fmt: str = "yuv420p",
    rotation: float = 0,
    mirrored: bool = False,
    pixel_shape: Fraction | None = None,
) -> Path:
    """A clip at 24 frames a second, whose sound is a sine wave."""
    pictures = pictures or [grey(level) for level in GREYS]
    times = times or range(0, 25 * len(pictures), 25)
    with av.open(path, "w") as file:
        stream = file.add_stream(encoder, rate=24, pix_fmt=pix_fmt)
        stream.width, stream.height = pictures[0].size
        stream.codec_context.time_base = Fraction(1, 600)
        stream.codec_context.flags |= Flags.frame_duration
        stream.gop_size = 4
        if pixel_shape:
            stream.codec_context.sample_aspect_ratio = pixel_shape
        if rotation or mirrored:
            if not hasattr(stream, "set_display_rotation"):
                pytest.skip("PyAV writes no rotation before version 18")
            stream.set_display_rotation(rotation, hflip=mirrored)
        tracks = [file.add_stream(codec, rate=48000) for codec in sounds]
        for track, language in zip(tracks, ("eng", "fra"), strict=False):
            track.metadata["language"] = language
        for number, track in enumerate(tracks):
            rate = np.arange(48000 * (times[-1] + 25) // 600) / 48000
            wave = np.sin(2 * np.pi * 440 * (number + 1) * rate).astype(np.float32)
            for start in range(0, len(wave) - 960, 960):
                packed = np.tile(wave[start : start + 960, None], 2).reshape(1, -1)
                frame = av.AudioFrame.from_ndarray(packed, format="flt", layout="stereo")
                frame.sample_rate, frame.pts = 48000, start
                file.mux(track.encode(frame))
            file.mux(track.encode(None))
        durations = [*(b - a for a, b in pairwise(times)), last_duration]
        for picture, time, duration in zip(pictures, times, durations, strict=True):
            frame = av.VideoFrame.from_image(picture)
            frame.pts, frame.time_base, frame.duration = time, Fraction(1, 600), duration
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def read_frames(path: Path) -> list["av.VideoFrame"]:
    with av.open(path) as file:
        return list(file.decode(video=0))


def read_sounds(path: Path) -> list[list[tuple[Fraction, bytes]]]:
    """Time and content of every packet of every audio stream."""
    with av.open(path) as file:
        tracks = {stream: [] for stream in file.streams.audio}
        for packet in file.demux(*tracks):
            if packet.size:
                tracks[packet.stream].append((packet.pts * packet.time_base, bytes(packet)))
        return list(tracks.values())


def negative(picture: Image.Image) -> Image.Image:
    return picture.point(lambda value: 255 - value)


def left_behind(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Smoothed statistics


@pytest.fixture
def net() -> TransformerNet:
    return TransformerNet(num_styles=3, width=0.125).eval()


def smoothed_by_hand(frames: Tensor, momentum: float, eps: float) -> np.ndarray:
    """Frames ``[T, C, H, W]``, normalized with running averages by numpy."""
    normalized, average = [], None
    for frame in frames.numpy():
        own = np.stack([frame.mean((1, 2)), frame.var((1, 2))])
        average = own if average is None else momentum * average + (1 - momentum) * own
        mean, variance = average[:, :, None, None]
        normalized.append((frame - mean) / np.sqrt(variance + eps))
    return np.stack(normalized)


@pytest.mark.parametrize("momentum", [0.0, 0.3, 0.9])
def test_a_layer_normalizes_with_the_running_averages(momentum: float) -> None:
    layer = ConditionalInstanceNorm2d(3, 1).double()
    frames = torch.randn(6, 3, 5, 4, dtype=torch.float64) * torch.rand(6, 1, 1, 1) + torch.rand(
        6, 3, 1, 1
    )
    painted = []
    net = nn.ModuleList([ConditionalInstanceNorm2d(3, 1), layer])
    with smoothed_statistics(net, momentum) as running, torch.inference_mode():
        for frame in frames:
            running.next_frame()
            painted.append(layer(frame[None], torch.tensor([0])))
    expected = smoothed_by_hand(frames, momentum, layer.eps)
    np.testing.assert_allclose(torch.cat(painted).numpy(), expected, rtol=1e-9, atol=1e-9)


def paint_all(
    net: TransformerNet, frames: Sequence[Tensor], running: RunningStatistics | None = None
) -> list[Tensor]:
    painted = []
    for frame in frames:
        if running:
            running.next_frame()
        with torch.inference_mode():
            painted.append(net(frame, torch.arange(len(frame)) % 3))
    return painted


def test_no_momentum_changes_no_bit_and_afterwards_the_network_is_its_own(
    net: TransformerNet,
) -> None:
    frames = torch.rand(3, 1, 3, 32, 32)
    plain = paint_all(net, frames)
    with smoothed_statistics(net, 0) as running:
        assert all(map(torch.equal, paint_all(net, frames, running), plain))
    with pytest.raises(KeyboardInterrupt), smoothed_statistics(net, 0.9) as running:
        smoothed = paint_all(net, frames, running)
        raise KeyboardInterrupt
    assert torch.equal(smoothed[0], plain[0])
    assert not torch.allclose(smoothed[1], plain[1], atol=1e-4)
    assert all(map(torch.equal, paint_all(net, frames), plain))
    assert not any("statistics" in vars(layer) for layer in net.modules())


def test_a_change_of_exposure_is_cancelled_at_once(net: TransformerNet) -> None:
    photo = torch.rand(1, 3, 32, 32) * 0.5
    with smoothed_statistics(net, 0.9) as running:
        dark, bright = paint_all(net, [photo, 2 * photo], running)
    torch.testing.assert_close(bright, dark, atol=5e-3, rtol=0)


def test_after_a_reset_a_frame_is_painted_as_if_it_were_the_first(net: TransformerNet) -> None:
    frames = torch.rand(2, 1, 3, 32, 32)
    with smoothed_statistics(net, 0.9) as running:
        paint_all(net, frames[:1], running)
        running.reset()
        [after_reset] = paint_all(net, frames[1:], running)
    assert torch.equal(after_reset, paint_all(net, frames[1:])[0])


@pytest.mark.parametrize("shape", [(1, 3, 32, 36), (2, 3, 32, 32)], ids=["size", "number"])
def test_images_of_another_size_or_number_start_anew(
    net: TransformerNet, shape: tuple[int, ...]
) -> None:
    frame = torch.rand(shape)
    with smoothed_statistics(net, 0.9) as running:
        paint_all(net, [torch.rand(1, 3, 32, 32)], running)
        [painted] = paint_all(net, [frame], running)
    assert torch.equal(painted, paint_all(net, [frame])[0])


def test_a_batch_of_styles_is_smoothed_style_by_style(net: TransformerNet) -> None:
    frames = torch.rand(3, 1, 3, 32, 32).expand(-1, 3, -1, -1, -1)
    with smoothed_statistics(net, 0.8) as running:
        together = paint_all(net, frames, running)[-1]
    for style in range(3):
        with smoothed_statistics(net, 0.8) as running, torch.inference_mode():
            for frame in frames:
                running.next_frame()
                alone = net(frame[:1], torch.tensor([style]))
        torch.testing.assert_close(alone[0], together[style])


def test_each_pass_of_a_frame_is_averaged_with_its_like(net: TransformerNet) -> None:
    sizes = (32, 48, 32)  # the third pass has the first one's size, not its statistics
    passes = [torch.rand(4, 1, 3, side, side) for side in sizes]
    alone = []
    for frames in passes:
        with smoothed_statistics(net, 0.8) as running:
            alone.append(paint_all(net, frames, running))
    with smoothed_statistics(net, 0.8) as running:
        for number, frame in enumerate(zip(*passes, strict=True)):
            running.next_frame()
            for painted, expected in zip(paint_all(net, frame), alone, strict=True):
                assert torch.equal(painted, expected[number])


@pytest.mark.parametrize("momentum", [-0.1, 1.0, float("nan")])
def test_a_momentum_out_of_range_is_refused(net: TransformerNet, momentum: float) -> None:
    with (
        pytest.raises(ValueError, match=f"under 1, not {momentum}"),
        smoothed_statistics(net, momentum),
    ):
        pass


# What is kept


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm", ".MP4"])
def test_every_frame_is_painted_and_all_else_is_kept(tmp_path: Path, suffix: str) -> None:
    sounds = ["libopus"] if suffix == ".webm" else ["aac", "aac"]
    source = write_clip(tmp_path / "clip.mkv", sounds=sounds)
    target = tmp_path / f"painted{suffix}"
    assert stylize_video(source, target, negative) == len(GREYS)

    frames, originals = read_frames(target), read_frames(source)
    assert [level(frame.to_image()) for frame in frames] == pytest.approx(
        [255 - level for level in GREYS], abs=3
    )
    assert [frame.time for frame in frames] == pytest.approx(
        [frame.time for frame in originals], abs=0.001
    )
    assert (frames[0].width, frames[0].height) == (48, 40)
    for copied, original in zip(read_sounds(target), read_sounds(source), strict=True):
        assert [data for _, data in copied] == [data for _, data in original]
        assert [float(time) for time, _ in copied] == pytest.approx(
            [float(time) for time, _ in original], abs=0.001
        )
    with av.open(target) as file:
        assert [stream.language for stream in file.streams.audio] == ["eng", "fra"][: len(sounds)]
        assert file.streams.video[0].codec_context.name == ("vp9" if suffix == ".webm" else "h264")
    assert left_behind(tmp_path) == sorted(["clip.mkv", target.name])


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_variable_frame_rate_stays_as_it_was(tmp_path: Path, suffix: str) -> None:
    times = [0, 10, 100, 101, 350, 351, 600, 1000]
    source = write_clip(tmp_path / "clip.mkv", times=times, last_duration=300, sounds=[])
    target = tmp_path / f"painted{suffix}"
    stylize_video(source, target, negative)
    shown = [frame.time for frame in read_frames(target)]
    assert shown == pytest.approx([time / 600 for time in times], abs=0.001)
    with av.open(target) as file:
        end = file.duration / av.time_base
    assert end == pytest.approx(1300 / 600, abs=0.002)


def test_times_are_counted_from_the_beginning(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "clip.ts")
    assert read_frames(source)[0].time > 0.05
    stylize_video(source, tmp_path / "painted.mp4", negative)
    times = [frame.time for frame in read_frames(tmp_path / "painted.mp4")]
    with av.open(source) as file:
        begin = file.start_time / av.time_base
    expected = [frame.time - begin for frame in read_frames(source)]
    assert times == pytest.approx(expected, abs=0.001)


def test_a_video_without_sound_or_times_is_painted(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "clip.h264", sounds=[])
    assert read_frames(source)[0].pts is None
    stylize_video(source, tmp_path / "painted.mp4", negative)
    frames = read_frames(tmp_path / "painted.mp4")
    assert len(frames) == len(GREYS)
    assert len({round(b.time - a.time, 4) for a, b in pairwise(frames)}) == 1


def test_frames_of_the_same_time_are_all_kept(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "whole.mkv", sounds=[], encoder="mjpeg", pix_fmt="yuvj420p")
    source = tmp_path / "clip.mkv"
    with av.open(whole) as reader, av.open(source, "w") as writer:
        copy = writer.add_stream_from_template(reader.streams.video[0], opaque=True)
        for packet in reader.demux():
            if packet.size:
                packet.stream = copy
                packet.pts = packet.dts = max(packet.pts, 100)
                writer.mux(packet)
    stylize_video(source, tmp_path / "painted.mp4", negative)
    times = [frame.time for frame in read_frames(tmp_path / "painted.mp4")]
    assert len(set(times)) == len(GREYS)
    assert times[-1] == pytest.approx(7 / 24 - 0.1, abs=0.001)


def test_colours_are_those_of_the_painting(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "clip.mp4")
    for colour in ((200, 60, 30), (20, 180, 90), (0, 0, 255)):
        stylize_video(
            source,
            tmp_path / "painted.mp4",
            lambda image, c=colour: Image.new("RGB", image.size, c),
        )
        frame = read_frames(tmp_path / "painted.mp4")[4]
        assert np.abs(frame.to_ndarray(format="rgb24").astype(int) - colour).max() <= 4
        # The file declares BT.709 and limited range.
        told = frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range
        assert told == (1, 1, 1, 1)


def test_high_resolution_that_tells_no_matrix_is_read_as_bt709() -> None:
    colour = np.full((720, 720, 3), (200, 60, 30), np.uint8)
    hd = av.VideoFrame.from_ndarray(colour).reformat(format="yuv420p", dst_colorspace="ITU709")
    hd.colorspace = video.UNSPECIFIED
    np.testing.assert_allclose(np.asarray(video.upright(hd))[9, 9], (200, 60, 30), atol=3)
    sd = av.VideoFrame.from_ndarray(colour[:480]).reformat(
        format="yuv420p", dst_colorspace="ITU601"
    )
    sd.colorspace = video.UNSPECIFIED
    np.testing.assert_allclose(np.asarray(video.upright(sd))[9, 9], (200, 60, 30), atol=3)


def corners() -> Image.Image:
    """Four quarters of different greys."""
    picture = grey(40)
    for number, box in enumerate([(24, 0, 48, 20), (0, 20, 24, 40), (24, 20, 48, 40)], start=2):
        picture.paste(grey(40 * number, (24, 20)), box)
    return picture


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
def test_the_picture_comes_out_upright(tmp_path: Path, rotation: int, mirrored: bool) -> None:
    source = write_clip(
        tmp_path / "clip.mp4", [corners()] * 3, rotation=rotation, mirrored=mirrored
    )
    seen = []

    def paint(image: Image.Image) -> Image.Image:
        seen.append(np.asarray(image.convert("L")))
        return image

    stylize_video(source, tmp_path / "painted.mp4", paint)
    frame = read_frames(tmp_path / "painted.mp4")[0]
    assert video.display_matrix(frame) == [[1, 0], [0, 1]]
    # FFmpeg first turns anticlockwise, then mirrors.
    expected = np.rot90(np.asarray(corners().convert("L")), rotation // 90)
    expected = expected[:, ::-1] if mirrored else expected
    for shown in (seen[0], np.asarray(frame.to_image().convert("L"))):
        assert shown.shape == expected.shape
        assert np.abs(shown.astype(int) - expected).mean() < 4


@pytest.mark.parametrize(("rotation", "expected"), [(0, Fraction(4, 3)), (90, Fraction(3, 4))])
def test_pixels_that_are_not_square_keep_their_shape(
    tmp_path: Path, rotation: int, expected: Fraction
) -> None:
    source = write_clip(tmp_path / "clip.mp4", rotation=rotation, pixel_shape=Fraction(4, 3))
    stylize_video(source, tmp_path / "painted.mp4", negative)
    with av.open(tmp_path / "painted.mp4") as file:
        assert file.streams.video[0].sample_aspect_ratio == expected


def test_odd_sides_lose_one_row_and_column(tmp_path: Path) -> None:
    pictures = [grey(level, (47, 39)) for level in GREYS]
    source = write_clip(tmp_path / "clip.mkv", pictures, encoder="ffv1", pix_fmt="yuv444p")
    sizes = set()

    def paint(image: Image.Image) -> Image.Image:
        sizes.add(image.size)
        return image

    stylize_video(source, tmp_path / "painted.mp4", paint)
    frame = read_frames(tmp_path / "painted.mp4")[0]
    assert (sizes, frame.width, frame.height) == ({(47, 39)}, 46, 38)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_progress_knows_how_many_frames_will_come(tmp_path: Path, suffix: str) -> None:
    with VideoReader(write_clip(tmp_path / f"clip{suffix}", sounds=[])) as reader:
        assert reader.num_frames == len(GREYS)


# Scenes


def test_a_new_scene_is_announced_before_its_first_frame(tmp_path: Path) -> None:
    # The light changes, and then the scene.
    pictures = [*map(grey, range(60, 160, 20)), *[corners()] * 3]
    source = write_clip(tmp_path / "clip.mp4", pictures)
    events = []

    def paint(image: Image.Image) -> Image.Image:
        events.append("frame")
        return image

    stylize_video(source, tmp_path / "painted.mp4", paint, lambda: events.append("cut"))
    assert events == ["frame"] * 5 + ["cut"] + ["frame"] * 3


# What goes wrong


def refuse(image: Image.Image) -> Image.Image:
    raise AssertionError("nothing is to be painted")


def damaged_files(folder: Path) -> Iterator[tuple[Path, str]]:
    text = folder / "text.mp4"
    text.write_text("no video\n" * 100)
    yield text, "can't be read as a video"
    truncated = write_clip(folder / "truncated.mp4")
    truncated.write_bytes(truncated.read_bytes()[:-2000])
    yield truncated, "can't be read as a video"
    yield folder / "absent.mp4", "there is no file"
    (folder / "folder.mp4").mkdir()
    yield folder / "folder.mp4", "there is no file"
    with av.open(folder / "sound.mp3", "w") as file:
        track = file.add_stream("mp3", rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 1152), np.float32), "fltp", "stereo")
        frame.sample_rate = 48000
        file.mux([*track.encode(frame), *track.encode(None)])
    yield folder / "sound.mp3", "there are no pictures in it"


def test_a_file_that_is_no_video_is_refused_in_one_line_that_names_it(tmp_path: Path) -> None:
    for source, reason in damaged_files(tmp_path):
        before = left_behind(tmp_path)
        with pytest.raises(OSError, match=reason) as error:
            stylize_video(source, tmp_path / "painted.mp4", refuse)
        assert str(source) in str(error.value)
        assert "\n" not in str(error.value)
        assert left_behind(tmp_path) == before


def test_a_cover_is_no_picture_of_a_video(tmp_path: Path) -> None:
    """Made by hand: an MP3 with a PNG in its ID3 tag."""
    *_, (sound, _) = damaged_files(tmp_path)
    Image.new("RGB", (20, 20)).save(tmp_path / "cover.png")
    png = (tmp_path / "cover.png").read_bytes()
    picture = b"\0image/png\0\3\0" + png
    size = len(picture) + 10

    def seven_bits(number: int) -> bytes:
        return bytes(number >> shift & 127 for shift in (21, 14, 7, 0))

    tag = b"ID3\3\0\0" + seven_bits(size) + b"APIC" + len(picture).to_bytes(4) + b"\0\0" + picture
    sound.write_bytes(tag + sound.read_bytes())
    with av.open(sound) as file:
        assert file.streams.video
    with pytest.raises(OSError, match="no pictures"):
        stylize_video(sound, tmp_path / "painted.mp4", refuse)


def test_a_frame_that_cannot_be_decoded_is_passed_over_and_reported(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "clip.mp4", sounds=[])
    with av.open(source) as file:
        packets = [(packet.pos, packet.size) for packet in file.demux(video=0) if packet.size]
    data = bytearray(source.read_bytes())
    position, size = packets[5]
    data[position : position + size] = b"\xff" * size
    source.write_bytes(data)
    target = tmp_path / "painted.mp4"
    with pytest.raises(OSError, match=r"clip.mp4 is damaged: 1 of its packets") as error:
        stylize_video(source, target, negative)
    assert str(target) in str(error.value)
    assert len(read_frames(target)) == len(GREYS) - 1
    assert left_behind(tmp_path) == ["clip.mp4", "painted.mp4"]


def test_damaged_sound_is_passed_over_and_reported(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "clip.ts")
    data = source.read_bytes()
    # The length in an AAC frame's header is made shorter than the header itself.
    header = data.index(b"\xff\xf1", len(data) // 2)
    source.write_bytes(data[: header + 3] + b"\x80\x00\x00" + data[header + 6 :])
    target = tmp_path / "painted.mp4"
    with pytest.raises(OSError, match=r"clip.ts is damaged: \d of its packets") as error:
        stylize_video(source, target, negative)
    assert str(target) in str(error.value)
    assert len(read_frames(target)) == len(GREYS)


def test_a_title_in_another_encoding_is_no_obstacle(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "clip.mkv")
    data = source.read_bytes()
    source.write_bytes(data.replace(b"fra", b"f\xe9a").replace(b"eng", b"\xe9ng"))
    with pytest.raises(UnicodeDecodeError):
        av.open(source)
    stylize_video(source, tmp_path / "painted.mp4", negative)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_a_video_that_breaks_off_is_painted_as_far_as_it_goes(tmp_path: Path, suffix: str) -> None:
    noise = Image.effect_noise((48, 40), 80).convert("RGB")
    pictures = [noise.rotate(number) for number in range(96)]
    whole = write_clip(tmp_path / "whole.mkv", pictures)
    # An .mp4 has its index before its frames only if faststart asks for it.
    source = tmp_path / f"clip{suffix}"
    with (
        av.open(whole) as reader,
        av.open(
            source, "w", options={"movflags": "faststart"} if suffix == ".mp4" else {}
        ) as writer,
    ):
        copies = {stream: writer.add_stream_from_template(stream) for stream in reader.streams}
        for packet in reader.demux():
            if packet.size:
                packet.stream = copies[packet.stream]
                writer.mux(packet)
    data = source.read_bytes()
    source.write_bytes(data[: len(data) // 2])
    target = tmp_path / "painted.mp4"
    with pytest.raises(OSError, match=r"its last [12]\.\d seconds are missing"):
        stylize_video(source, target, negative)
    assert 30 < len(read_frames(target)) < 66


def test_one_that_was_stopped_leaves_nothing_and_spares_what_was_there(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "clip.mp4")
    target = tmp_path / "painted.mp4"
    target.write_bytes(b"mine")
    painted = []

    def paint(image: Image.Image) -> Image.Image:
        painted.append(image)
        if len(painted) == 5:
            raise KeyboardInterrupt
        return image

    with pytest.raises(KeyboardInterrupt):
        stylize_video(source, target, paint)
    assert target.read_bytes() == b"mine"
    assert left_behind(tmp_path) == ["clip.mp4", "painted.mp4"]


@pytest.mark.parametrize(("suffix", "sound"), [(".webm", "aac"), (".mov", "libopus")])
def test_sound_that_does_not_fit_the_format_is_refused_before_painting(
    tmp_path: Path, suffix: str, sound: str
) -> None:
    source = write_clip(tmp_path / "clip.mkv", sounds=[sound])
    codec = sound.removeprefix("lib")
    with pytest.raises(ValueError, match=rf"painted{suffix} can't hold the sound of .*\({codec}\)"):
        stylize_video(source, tmp_path / f"painted{suffix}", refuse)
    assert left_behind(tmp_path) == ["clip.mkv"]


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "clip.mkv")
    target = tmp_path / "absent" / "painted.mp4"
    with pytest.raises(OSError, match=r"painted.mp4 can't be written: No such file") as error:
        stylize_video(source, target, refuse)
    assert "\n" not in str(error.value)


def test_another_suffix_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.mp4, \.mov, \.mkv, \.webm"):
        stylize_video(write_clip(tmp_path / "clip.mp4"), tmp_path / "painted.avi", refuse)


def test_without_pyav_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video, "av", None)
    with pytest.raises(ValueError, match=r"pip install 'polystyle\[video\]'"):
        stylize_video(tmp_path / "clip.mp4", tmp_path / "painted.mp4", refuse)


# scripts/measure_flicker.py


def test_known_motion_is_undone_before_flicker_is_measured() -> None:
    photo = torch.rand(3, 200, 220)
    for name, scene in measure_flicker.SCENES.items():
        clip = scene(photo, torch.Generator().manual_seed(0))
        frames = torch.stack([frame for frame, _ in clip])
        offsets = [offset for _, offset in clip]
        first = measure_flicker.BEYOND_LAMP if name == "lamp" else measure_flicker.MARGIN
        measured = measure_flicker.flicker(frames, offsets, first)
        assert (measured > 0) == (name in ("noise", "exposure")), name
        if name not in ("noise", "exposure", "lamp"):
            assert measure_flicker.flicker(frames, [0] * len(frames), first) > 0.1, name
