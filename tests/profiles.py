"""Colour profiles to test with, built byte by byte: Pillow makes only sRGB's and Lab's."""

import struct

import numpy as np

D50 = (0.9642, 1.0, 0.8249)
# Red, green and blue of Display P3 and of ProPhoto as XYZ under D50: columns add up to D50.
DISPLAY_P3 = ((0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841))
PROPHOTO = ((0.7977, 0.2880, 0.0), (0.1352, 0.7119, 0.0), (0.0313, 0.0001, 0.8249))
SRGB = ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))


def profile(space: bytes, tags: dict[bytes, bytes], pcs: bytes = b"XYZ ") -> bytes:
    """An ICC profile of version 2.

    Args:
        space: the pixels' colour space: ``b"RGB "``, ``b"GRAY"`` or ``b"CMYK"``.
        tags: the content of each tag.
        pcs: what the tags convert to: XYZ or Lab.
    """
    tags = {b"wtpt": xyz(D50), b"desc": description(), b"cprt": b"text\0\0\0\0\0", **tags}
    table, content, offset = b"", b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        data += bytes(-len(data) % 4)
        table += struct.pack(">4sII", name, offset + len(content), len(data))
        content += data
    kind = b"prtr" if space == b"CMYK" else b"mntr"
    header = struct.pack(
        ">I4sI4s4s4s12s4s24sI12s48x",
        *(offset + len(content), b"lcms", 0x02400000, kind, space, pcs),
        *(struct.pack(">6H", 2000, 1, 1, 0, 0, 0), b"acsp", bytes(24), 0),
        struct.pack(">3i", *(round(value * 65536) for value in D50)),
    )
    return header + struct.pack(">I", len(tags)) + table + content


def xyz(values: tuple[float, float, float]) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))


def description() -> bytes:
    return b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(78)


def gamma(exponent: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(exponent * 256))


def srgb_curve() -> bytes:
    """sRGB's transfer function in 1024 entries, as in the profile that most cameras embed."""
    level = np.linspace(0, 1, 1024)
    light = np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)
    entries = (light * 65535).round().astype(">u2")
    return b"curv\0\0\0\0" + struct.pack(">I", 1024) + entries.tobytes()


def rgb_profile(primaries: tuple, curve: bytes) -> bytes:
    """A profile of RGB with the primaries' XYZ and the transfer function of all channels."""
    colorants = zip((b"rXYZ", b"gXYZ", b"bXYZ"), map(xyz, primaries), strict=True)
    return profile(b"RGB ", dict(colorants) | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve))


def grey_profile(exponent: float) -> bytes:
    return profile(b"GRAY", {b"kTRC": gamma(exponent)})


def cmyk_profile() -> bytes:
    """A profile in which cyan, magenta and yellow do nothing, and K goes from white to black."""
    identity = bytes(range(256))
    colors = [bytes((255 * (1 - k), 128, 128)) for *_, k in np.ndindex(2, 2, 2, 2)]  # in Lab
    matrix = struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
    table = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + matrix
    table += identity * 4 + b"".join(colors) + identity * 3
    return profile(b"CMYK", dict.fromkeys((b"A2B0", b"A2B1"), table), pcs=b"Lab ")
