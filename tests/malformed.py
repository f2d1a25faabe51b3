"""Image files as the world has them: odd but right, hopeless, and damaged by chance; the same ones for every seed.

The name of each file begins with what is to become of it: "good" is read, "bad" is refused, "any"
may be either.
"""

import io
import itertools
import struct
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

File = tuple[str, bytes]  # name, content
HUGE = (15_000, 15_000)  # 225 megapixels, over the limit
LARGE = (9_000, 9_000)  # 81 megapixels, under the limit
SIDE = 48
_PNG = b"\x89PNG\r\n\x1a\n"


def malformed(count: int, seed: int = 0) -> list[File]:
    """Return `count` files: every odd one, every hopeless one, and copies of good ones damaged in all ways by turns."""
    fixed = [*(("good-" + name, content) for name, content in odd()), *hopeless()]
    files = [(f"{place:04}-{name}", content) for place, (name, content) in enumerate(fixed)]
    damage = (
        (f"{place:04}-{name}", content)
        for place, (name, content) in enumerate(damaged(seed), len(fixed))
    )
    files += itertools.islice(damage, max(0, count - len(files)))
    return [
        (f"{name[5:].split('-')[0]}-{name[:4]}-{name[5:].partition('-')[2]}", content)
        for name, content in files
    ]


def picture(size: tuple[int, int] = (SIDE, SIDE + 8)) -> Image.Image:
    """Return an RGB picture of (width, height) that is smooth and nowhere flat."""
    x, y = np.meshgrid(np.linspace(0, 255, size[0]), np.linspace(0, 255, size[1]))
    return Image.fromarray(np.stack([x, y, (x + y) / 2], axis=2).astype(np.uint8))


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    """Return the content of a file of `kind`."""
    memory = io.BytesIO()
    image.save(memory, kind, **options)
    return memory.getvalue()


# -- PNG by hand -----------------------------------------------------------------------------------


def chunk(
    kind: bytes, body: bytes, length: int | None = None, checksum: int | None = None
) -> bytes:
    """Return a chunk of a PNG; `length` and `checksum` may lie."""
    right = zlib.crc32(kind + body)
    return (
        struct.pack(">I", len(body) if length is None else length)
        + kind
        + body
        + struct.pack(">I", checksum or right)
    )


def png(
    size: tuple[int, int],
    depth: int = 8,
    color: int = 2,
    data: bytes | None = None,
    extra: bytes = b"",
) -> bytes:
    """Return a PNG: of noise, or with `data` (uncompressed) for its pixels; `extra` chunks stand before them."""
    values = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(color, 1)
    if data is None:
        row = (size[0] * values * depth + 7) // 8
        noise = np.random.default_rng(0).integers(0, 256, (size[1], row + 1), np.uint8)
        noise[:, 0] = 0  # no filter
        data = noise.tobytes()
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, color, 0, 0, 0))
    return _PNG + head + extra + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def bomb(size: tuple[int, int] = HUGE) -> bytes:
    """Return a black PNG of one bit a pixel that is complete: of 225 megapixels in 27 KB."""
    return png(size, 1, 0, bytes((size[0] // 8 + 1) * size[1]))


# -- TIFF, BMP, JPEG, WebP by hand -----------------------------------------------------------------

Tag = tuple[int, int, int, int]  # tag, type (3: 16 bits, 4: 32 bits), count, value or offset


def tiff_tags(size: tuple[int, int], compression: int = 1, length: int | None = None) -> list[Tag]:
    """Return the tags of a gray 8-bit TIFF whose pixels lie at byte 8."""
    width, height = size
    tags = [
        (256, width),
        (257, height),
        (258, 8),
        (259, compression),
        (262, 1),
        (273, 8),
        (277, 1),
        (278, height),
    ]
    return [
        (tag, 4, 1, value)
        for tag, value in [*tags, (279, width * height if length is None else length)]
    ]


def tiff(tags: list[Tag], data: bytes = bytes(64), following: int = 0) -> bytes:
    """Return a little-endian TIFF: header, data, then one directory, which names the offset of a `following` one."""
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    start = 8 + len(data)
    return (
        b"II*\0"
        + struct.pack("<I", start)
        + data
        + struct.pack("<H", len(tags))
        + entries
        + struct.pack("<I", following)
    )


def sixteen_tiff(size: tuple[int, int], extra: Sequence[Tag] = ()) -> bytes:
    """Return a 16-bit RGB TIFF of noise."""
    data = np.random.default_rng(0).integers(0, 256, size[0] * size[1] * 6, np.uint8).tobytes()
    tags = [tag for tag in tiff_tags(size, 1, len(data)) if tag[0] not in (258, 262, 273, 277)]
    tags += [(258, 3, 3, 8), (262, 4, 1, 2), (273, 4, 1, 16), (277, 4, 1, 3), *extra]
    return tiff(sorted(tags), struct.pack("<4H", 16, 16, 16, 0) + data)


def bmp(
    size: tuple[int, int],
    bits: int = 24,
    compression: int = 0,
    data: bytes = bytes(64),
    offset: int = 54,
) -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, *size, 1, bits, compression, len(data), 2835, 2835, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(data), 0, 0, offset) + head + data


def segment(marker: int, body: bytes, length: int | None = None) -> bytes:
    return (
        bytes([0xFF, marker])
        + struct.pack(">H", len(body) + 2 if length is None else length)
        + body
    )


def with_size(jpeg: bytes, size: tuple[int, int]) -> bytes:
    """Return a JPEG whose header claims another (width, height)."""
    place = next(jpeg.find(mark) for mark in (b"\xff\xc0", b"\xff\xc2") if jpeg.find(mark) > 0)
    return jpeg[: place + 5] + struct.pack(">HH", *size[::-1]) + jpeg[place + 9 :]


def riff(*chunks: tuple[bytes, bytes], size: int | None = None) -> bytes:
    body = b"".join(
        name + struct.pack("<I", len(part)) + part + b"\0" * (len(part) % 2)
        for name, part in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body) + 4 if size is None else size) + b"WEBP" + body


def canvas(size: tuple[int, int], flags: int = 0) -> tuple[bytes, bytes]:
    sides = b"".join((side - 1).to_bytes(3, "little") for side in size)
    return b"VP8X", bytes([flags, 0, 0, 0]) + sides


def vp8l(size: tuple[int, int], data: bytes = bytes(64)) -> tuple[bytes, bytes]:
    return b"VP8L", b"/" + struct.pack("<I", (size[0] - 1) | (size[1] - 1) << 14) + data


def vp8(size: tuple[int, int], data: bytes = bytes(64)) -> tuple[bytes, bytes]:
    return b"VP8 ", b"\x10\x02\x00\x9d\x01\x2a" + struct.pack("<HH", *size) + data


def overlapping_tags(entries: int, length: int) -> bytes:
    """Return EXIF, a TIFF without a picture, whose tags all claim the same `length` bytes."""
    tags = [(1000 + number, 7, length, 8) for number in range(entries)]
    return tiff(tags, bytes(length))


# -- right, if odd ---------------------------------------------------------------------------------


def odd() -> Iterator[File]:
    """Yield files that must be read."""
    rgb = picture()
    gray, alpha, palette = rgb.convert("L"), rgb.copy(), rgb.quantize(16)
    alpha.putalpha(gray)
    gray_alpha = Image.merge("LA", (gray, gray))
    cmyk, bit = rgb.convert("CMYK"), gray.convert("1")
    wide = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)
    other = rgb.rotate(180)
    for name, image in (
        ("rgb", rgb),
        ("gray", gray),
        ("rgba", alpha),
        ("la", gray_alpha),
        ("bit", bit),
        ("wide", wide),
    ):
        yield f"{name}.png", saved(image, "PNG")
        yield f"{name}.tif", saved(image, "TIFF", compression="tiff_lzw")
    yield "palette.png", saved(palette, "PNG")
    yield "palette-one-clear.png", saved(palette, "PNG", transparency=3)
    yield "palette-many-clear.png", saved(palette, "PNG", transparency=bytes(range(0, 256, 16)))
    yield "color-clear.png", saved(rgb, "PNG", transparency=(0, 0, 0))
    for color in (0, 2, 4, 6):
        yield f"sixteen-{color}.png", png((SIDE, SIDE), 16, color)
    yield "low-bits.png", png((SIDE, SIDE), 2, 0)
    yield (
        "text.png",
        png((SIDE, SIDE), extra=chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"words " * 99))),
    )
    yield "unknown-chunk.png", png((SIDE, SIDE), extra=chunk(b"abCd", bytes(9)))
    yield "animated.png", saved(rgb, "PNG", save_all=True, append_images=[other, rgb])
    for name, image in (("rgb", rgb), ("gray", gray), ("cmyk", cmyk)):
        yield f"{name}.jpg", saved(image, "JPEG")
        yield f"{name}-progressive.jpg", saved(image, "JPEG", progressive=True)
    yield "film-behind.jpg", saved(rgb, "JPEG") + b"ftypisom" * 99
    yield "profile.jpg", saved(rgb, "JPEG", icc_profile=bytes(200_000))
    for name, image in (("rgb", rgb), ("rgba", alpha)):
        yield f"{name}.webp", saved(image, "WEBP", quality=80)
        yield f"{name}-lossless.webp", saved(image, "WEBP", lossless=True)
    yield "animated.webp", saved(rgb, "WEBP", save_all=True, append_images=[other, rgb])
    for compression in ("raw", "packbits", "tiff_deflate", "jpeg"):
        yield f"{compression}.tif", saved(rgb, "TIFF", compression=compression)
    yield "sixteen-unknown-tag.tif", sixteen_tiff((SIDE, SIDE), [(60_000, 4, 1, 1)])
    yield "fax.tif", saved(bit, "TIFF", compression="group4")
    yield "cmyk.tif", saved(cmyk, "TIFF")
    yield "palette.tif", saved(palette, "TIFF")
    for name, image in (("rgb", rgb), ("gray", gray), ("palette", palette), ("bit", bit)):
        yield f"{name}.bmp", saved(image, "BMP")
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        yield f"exif-{orientation}.png", saved(rgb, "PNG", exif=exif)
        yield f"exif-{orientation}.jpg", saved(rgb, "JPEG", exif=exif)
        yield f"exif-{orientation}.webp", saved(rgb, "WEBP", exif=exif)
        yield f"exif-{orientation}.tif", saved(rgb, "TIFF", tiffinfo={274: orientation})
    yield "thin.png", saved(picture((20_000, 1)), "PNG")
    yield "png-named.jpg", saved(rgb, "PNG")
    yield "jpeg-named.png", saved(rgb, "JPEG")
    yield "webp-named.tif", saved(rgb, "WEBP")
    yield "tiff-named.bmp", saved(rgb, "TIFF")
    yield "bmp-named.webp", saved(rgb, "BMP")


# -- hopeless --------------------------------------------------------------------------------------


def hopeless() -> Iterator[File]:
    """Yield files that must be refused, and some that only must do no harm."""
    for maker in (_no_images, _huge, _hollow, _bad_png, _bad_jpeg, _bad_tiff, _bad_bmp, _bad_webp):
        yield from maker()


def _no_images() -> Iterator[File]:
    yield "bad-empty.png", b""
    yield "bad-empty.jpg", b""
    yield "bad-byte.tif", b"I"
    yield "bad-zeros.png", bytes(4096)
    yield "bad-text.jpg", b"<html><body>404 Not Found</body></html>"
    yield "bad-noise.webp", np.random.default_rng(1).integers(0, 256, 4096, np.uint8).tobytes()
    yield (
        "good-gif-named.png",
        saved(picture(), "GIF", save_all=True, append_images=[picture().rotate(90)]),
    )
    for magic, suffix in (
        (_PNG, "png"),
        (b"\xff\xd8\xff", "jpg"),
        (b"II*\0", "tif"),
        (b"BM", "bmp"),
    ):
        yield f"bad-magic-only.{suffix}", magic
    yield "bad-magic-only.webp", b"RIFF\0\0\0\0WEBP"


def _headers(size: tuple[int, int]) -> Iterator[File]:
    """Yield files of all formats that claim `size` and hold nothing like it."""
    jpeg = saved(picture(), "JPEG")
    some = bytes(2000)
    for color, depth in ((0, 1), (2, 8), (2, 16), (3, 8), (6, 16)):
        yield (
            f"color-{color}-{depth}.png",
            png(size, depth, color, some, chunk(b"PLTE", bytes(768))),
        )
    yield "baseline.jpg", with_size(jpeg, size)
    yield "progressive.jpg", with_size(saved(picture(), "JPEG", progressive=True), size)
    yield "cmyk.jpg", with_size(saved(picture().convert("CMYK"), "JPEG"), size)
    for compression in (1, 5, 8, 32773, 7):
        data = zlib.compress(some) if compression == 8 else some
        yield f"compression-{compression}.tif", tiff(tiff_tags(size, compression, len(data)), data)
        yield f"lying-{compression}.tif", tiff(tiff_tags(size, compression), data)
    yield "rows.tif", tiff([(*tag[:3], 1) if tag[0] == 278 else tag for tag in tiff_tags(size)])
    for bits in (1, 8, 24, 32):
        yield f"bits-{bits}.bmp", bmp(size, bits)
        yield f"down-{bits}.bmp", bmp((size[0], -size[1]), bits)


def _huge() -> Iterator[File]:
    yield from ((f"bad-huge-{name}", content) for name, content in _headers(HUGE))
    yield "bad-bomb.png", bomb()
    for sides in ((2**31 - 1, 2**31 - 1), (2**32 - 1, 1), (1, 2**31 - 1)):
        yield f"bad-sides-{sides[0]}.png", png(sides, data=bytes(99))
    yield "bad-sides.jpg", with_size(saved(picture(), "JPEG"), (65_500, 65_500))
    yield "bad-sides.tif", tiff(tiff_tags((2**32 - 1, 2**32 - 1), length=64))
    yield "bad-sides.bmp", bmp((2**31 - 1, 2**31 - 1))
    yield "bad-sides.webp", riff(canvas((2**24, 2**8)), vp8l((1, 1)))
    yield "bad-canvas.webp", riff(canvas(HUGE), vp8l(HUGE))
    yield "bad-lossless.webp", riff(vp8l(HUGE))
    yield "bad-lossy.webp", riff(vp8(HUGE))


def _hollow() -> Iterator[File]:
    yield from ((f"bad-hollow-{name}", content) for name, content in _headers(LARGE))
    noise = (
        np.random.default_rng(2).integers(0, 255, 30_000, np.uint8).tobytes()
    )  # no 0xff: no marks inside
    full = saved(picture(), "JPEG")
    start = full.index(b"\xff\xda") + 14
    yield "any-noise-baseline.jpg", with_size(full, (1_000, 1_000))[:start] + noise + b"\xff\xd9"
    yield "bad-lossless.webp", riff(vp8l(LARGE))
    yield "bad-lossy.webp", riff(vp8(LARGE))
    yield "bad-canvas.webp", riff(canvas(LARGE), vp8l(LARGE))
    yield "bad-canvas-lies.webp", riff(canvas(LARGE), vp8l((4, 4)))
    yield (
        "bad-frames-lie.webp",
        riff(
            canvas(LARGE, 2),
            (b"ANIM", bytes(6)),
            (b"ANMF", bytes(16) + b"VP8L" + struct.pack("<I", 64) + bytes(64)),
        ),
    )


def _bad_png() -> Iterator[File]:
    good = png((SIDE, SIDE))
    head, data = (
        chunk(b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)),
        zlib.compress(bytes(SIDE * 145)),
    )
    end = chunk(b"IEND", b"")
    for length in (2**31, 2**32 - 1, 2**31 - 1, 10**6):
        yield f"bad-length-{length}.png", _PNG + head + chunk(b"IDAT", data, length=length) + end
        yield (
            f"bad-text-length-{length}.png",
            _PNG + head + chunk(b"tEXt", b"a\0b", length) + chunk(b"IDAT", data) + end,
        )
    yield (
        "bad-checksum-header.png",
        _PNG + chunk(b"IHDR", head[8:21], checksum=1) + chunk(b"IDAT", data) + end,
    )
    yield "bad-checksum-pixels.png", _PNG + head + chunk(b"IDAT", data, checksum=1) + end
    yield "bad-checksum-text.png", png((SIDE, SIDE), extra=chunk(b"tEXt", b"a\0b", checksum=1))
    yield "bad-no-end.png", good[:-12]
    yield "bad-no-pixels.png", _PNG + head + end
    yield "bad-no-header.png", _PNG + chunk(b"IDAT", data) + end
    yield "bad-pixels-short.png", _PNG + head + chunk(b"IDAT", zlib.compress(bytes(99))) + end
    yield "bad-pixels-raw.png", _PNG + head + chunk(b"IDAT", bytes(SIDE * 145)) + end
    yield "any-two-headers.png", _PNG + head + head + chunk(b"IDAT", data) + end
    for name, body in {
        "zero": (0, 0, 8, 2, 0, 0, 0),
        "flat": (SIDE, 0, 8, 2, 0, 0, 0),
        "depth": (SIDE, SIDE, 3, 2, 0, 0, 0),
        "color": (SIDE, SIDE, 8, 9, 0, 0, 0),
        "interlace": (SIDE, SIDE, 8, 2, 0, 0, 9),
        "method": (SIDE, SIDE, 8, 2, 7, 7, 0),
    }.items():
        content = _PNG + chunk(b"IHDR", struct.pack(">IIBBBBB", *body)) + chunk(b"IDAT", data) + end
        yield f"{'any' if name in ('interlace', 'method') else 'bad'}-header-{name}.png", content
    yield "any-no-palette.png", png((SIDE, SIDE), 8, 3)
    yield "any-long-palette.png", png((SIDE, SIDE), 8, 3, extra=chunk(b"PLTE", bytes(3000)))
    yield "any-odd-palette.png", png((SIDE, SIDE), 8, 3, extra=chunk(b"PLTE", bytes(7)))
    yield (
        "any-long-clear.png",
        png((SIDE, SIDE), 8, 3, extra=chunk(b"PLTE", bytes(9)) + chunk(b"tRNS", bytes(3000))),
    )
    yield "any-short-clear.png", png((SIDE, SIDE), 16, 2, extra=chunk(b"tRNS", bytes(1)))
    zeros = zlib.compress(bytes(64_000_000), 9)
    for name, extra in {
        "text": chunk(b"zTXt", b"Comment\0\0" + zeros) * 20,
        "long-text": chunk(b"iTXt", b"Comment\0\1\0\0\0" + zeros) * 20,
        "profile": chunk(b"iCCP", b"name\0\0" + zeros),
        "many-texts": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1_000_000))) * 100,
        "frames": chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0)),
        "frame": chunk(b"acTL", struct.pack(">II", 2, 0))
        + chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 60_000, 60_000, 9, 9, 1, 1, 0, 0)),
        "exif": chunk(b"eXIf", b"MM\0*\xff\xff"),
        "exif-tags": chunk(b"eXIf", overlapping_tags(5_000, 400_000)),
        "exif-loop": chunk(b"eXIf", tiff([(34665, 4, 1, 8 + 64)], following=8 + 64)),
        "gamma": chunk(b"gAMA", b"")
        + chunk(b"cHRM", bytes(3))
        + chunk(b"sRGB", b"")
        + chunk(b"pHYs", b"\0"),
    }.items():
        yield f"good-{name}.png", png((SIDE, SIDE), extra=extra)
        yield f"good-{name}-sixteen.png", png((SIDE, SIDE), 16, 2, extra=extra)


def _bad_jpeg() -> Iterator[File]:
    good, progressive = saved(picture(), "JPEG"), saved(picture(), "JPEG", progressive=True)
    size = good.index(b"\xff\xc0")
    scan = good.index(b"\xff\xda")
    yield "bad-no-end.jpg", good[:-2]
    yield "bad-start-end.jpg", b"\xff\xd8\xff\xd9"
    yield "bad-no-scan.jpg", good[:scan] + b"\xff\xd9"
    yield "bad-no-size.jpg", good[:size] + good[scan:]
    yield "bad-zero.jpg", with_size(good, (0, 0))
    yield "bad-no-height.jpg", with_size(good, (SIDE, 0))
    yield "any-two-sizes.jpg", good[:scan] + with_size(good, (90, 90))[size:]
    for value in (0x00, 0x5F, 0xFF):
        yield f"any-sampling-{value}.jpg", good[: size + 11] + bytes([value]) + good[size + 12 :]
    for count in (0, 2, 5, 255):
        yield f"bad-components-{count}.jpg", good[: size + 9] + bytes([count]) + good[size + 10 :]
    for precision in (0, 12, 16):
        yield (
            f"bad-precision-{precision}.jpg",
            good[: size + 4] + bytes([precision]) + good[size + 5 :],
        )
    for length in (0, 1, 2, 65_535):
        yield f"any-segment-{length}.jpg", good[:2] + segment(0xE1, b"Exif\0\0", length) + good[2:]
        yield f"any-tables-{length}.jpg", good[:2] + segment(0xC4, bytes(40), length) + good[2:]
    for kind in (0xC1, 0xC3, 0xC5, 0xC9, 0xCA, 0xCB, 0xCF):
        yield f"any-process-{kind:x}.jpg", good[:size] + bytes([0xFF, kind]) + good[size + 2 :]
    exif = overlapping_tags(2_000, 30_000)
    yield "any-exif-tags.jpg", good[:2] + segment(0xE1, b"Exif\0\0" + exif) + good[2:]
    long = overlapping_tags(5_000, 400_000)
    parts = [
        segment(0xE1, b"Exif\0\0" + long[start : start + 60_000])
        for start in range(0, len(long), 60_000)
    ]
    yield "any-exif-tags-long.jpg", good[:2] + b"".join(parts) + good[2:]
    yield (
        "any-exif-loop.jpg",
        good[:2] + segment(0xE1, b"Exif\0\0" + tiff([(34665, 4, 1, 72)], following=72)) + good[2:],
    )
    profile = b"".join(
        segment(0xE2, b"ICC_PROFILE\0" + bytes([255, 255]) + bytes(60_000)) for _ in range(60)
    )
    yield "any-profiles.jpg", good[:2] + profile + good[2:]
    yield (
        "any-photoshop.jpg",
        good[:2]
        + segment(0xED, b"Photoshop 3.0\0" + b"8BIM\xff\xff\xff" + b"\xff" * 99)
        + good[2:],
    )
    yield (
        "any-pictures.jpg",
        good[:2] + segment(0xE2, b"MPF\0" + overlapping_tags(9, 999)) + good[2:],
    )
    yield "any-comments.jpg", good[:2] + segment(0xFE, bytes(60_000)) * 50 + good[2:]
    last = progressive.rindex(b"\xff\xda")
    yield "any-scans.jpg", progressive[:-2] + progressive[last:-2] * 2_000 + b"\xff\xd9"
    yield "any-fill.jpg", good[:scan] + b"\xff" * 50_000 + good[scan:]


def _bad_tiff() -> Iterator[File]:
    size = (SIDE, SIDE)
    pixels = bytes(range(SIDE)) * SIDE
    tags = tiff_tags(size)

    def changed(tag: int, kind: int, count: int, value: int) -> list[Tag]:
        return sorted([*(old for old in tags if old[0] != tag), (tag, kind, count, value)])

    yield "bad-no-tags.tif", tiff([])
    yield "bad-far-directory.tif", b"II*\0" + struct.pack("<I", 2**32 - 1) + pixels
    yield "bad-directory-in-header.tif", b"II*\0" + struct.pack("<I", 0) + pixels
    pages = [picture().rotate(180), picture()]
    yield "bad-pages.tif", saved(picture(), "TIFF", save_all=True, append_images=pages)
    yield "any-loop.tif", tiff(tags, pixels, following=8 + len(pixels))
    yield "bad-big.tif", b"II+\0" + struct.pack("<HHQ", 8, 0, 2**63) + pixels
    yield "bad-big-count.tif", b"II+\0" + struct.pack("<HHQQ", 8, 0, 16, 2**62) + pixels
    wild: dict[str, Tag] = {
        "strips": (273, 4, 2**31, 8),
        "strip-far": (273, 4, 1, 2**32 - 1),
        "strip-huge": (279, 4, 1, 2**32 - 1),
        "rows": (278, 4, 1, 0),
        "bits": (258, 4, 1, 255),
        "bits-many": (258, 3, 60_000, 8),
        "samples": (277, 4, 1, 65_535),
        "compression": (259, 4, 1, 60_000),
        "compression-zero": (259, 4, 1, 0),
        "color": (262, 4, 1, 77),
        "width-text": (256, 2, 9, 8),
        "width-real": (256, 12, 1, 8),
        "width-none": (256, 4, 0, 0),
        "order": (266, 4, 1, 9),
        "planes": (284, 4, 1, 7),
        "tables": (347, 7, 2**30, 8),
        "profile": (34675, 7, 2**31, 8),
        "exif": (34665, 4, 1, 8 + len(pixels)),
        "gps": (34853, 4, 1, 2**32 - 1),
        "tile": (322, 4, 1, 0),
        "sign": (339, 3, 1, 9),
        "palette": (320, 3, 768, 2**20),
    }
    for name, tag in wild.items():
        yield f"any-{name}.tif", tiff(changed(*tag), pixels)
    many = [*tags, *((1000 + number, 7, len(pixels) * 100, 8) for number in range(5_000))]
    yield "any-overlapping-tags.tif", tiff(sorted(many), pixels * 100)
    for compression in (2, 3, 4, 5, 6, 7, 8, 34712, 34887, 34925, 50000, 50001):
        yield f"any-junk-{compression}.tif", tiff(tiff_tags(size, compression, len(pixels)), pixels)
    tiles = [tag for tag in tags if tag[0] not in (273, 278, 279)]
    for side in (1, 16, 2**20, 2**31):
        more = [(322, 4, 1, side), (323, 4, 1, side), (324, 4, 1, 8), (325, 4, 1, len(pixels))]
        yield f"any-tiles-{side}.tif", tiff(sorted(tiles + more), pixels)
        packed = [(*tag[:3], 8) if tag[0] == 259 else tag for tag in tiles]
        yield (
            f"any-packed-tiles-{side}.tif",
            tiff(sorted(packed + more), zlib.compress(bytes(10**6))),
        )


def _bad_bmp() -> Iterator[File]:
    size, pixels = (SIDE, SIDE), bytes(SIDE * SIDE * 4)
    for bits in (0, 3, 7, 255):
        yield f"bad-bits-{bits}.bmp", bmp(size, bits, data=pixels)
    for compression in (1, 2, 3, 4, 5, 99):
        yield f"any-compression-{compression}.bmp", bmp(size, 8, compression, pixels)
    yield "bad-run-large.bmp", bmp(LARGE, 8, 1, b"\xff\x07" * 30_000, offset=54)
    yield "bad-skips-large.bmp", bmp(LARGE, 8, 1, b"\0\2\xff\xff" * 2_000, offset=54)
    yield "bad-far-pixels.bmp", bmp(size, 24, data=pixels, offset=2**31)
    yield "bad-zero.bmp", bmp((0, 0), 24, data=pixels)
    yield "bad-negative.bmp", bmp((-SIDE, SIDE), 24, data=pixels)
    yield "bad-header-size.bmp", b"BM" + bytes(12) + struct.pack("<I", 2**31) + pixels


def _bad_webp() -> Iterator[File]:
    good = saved(picture(), "WEBP")
    for size in (0, 10, 2**31, 2**32 - 1):
        yield f"any-length-{size}.webp", good[:4] + struct.pack("<I", size) + good[8:]
    yield "bad-no-picture.webp", riff(canvas((SIDE, SIDE)))
    yield "bad-no-frames.webp", riff(canvas((SIDE, SIDE), 2), (b"ANIM", bytes(6)))
    yield "any-junk.webp", riff(vp8((SIDE, SIDE)))
    yield "any-junk-lossless.webp", riff(vp8l((SIDE, SIDE), b"\xff" * 99))
    yield "any-flat-lossless.webp", riff(vp8l((SIDE, SIDE), bytes(99)))
    picture_chunk = good[good.index(b"VP8 ") + 8 :]
    extras = (b"ICCP", bytes(100_000)), (b"EXIF", overlapping_tags(5_000, 400_000))
    yield (
        "any-exif-tags.webp",
        riff(canvas((SIDE, SIDE + 8), 0x28), extras[0], (b"VP8 ", picture_chunk), extras[1]),
    )


# -- damaged by chance -----------------------------------------------------------------------------


def damaged(seed: int) -> Iterator[File]:
    """Yield, without end, copies of good files: cut off, bits flipped, bytes lost, added or exchanged, misnamed."""
    random = np.random.default_rng(seed)
    good = list(odd())
    for turn in itertools.count():
        name, content = good[int(random.integers(len(good)))]
        stem, suffix = name.rsplit(".", 1)
        place, length = int(random.integers(len(content))), int(random.integers(1, 64))
        changed = bytearray(content)
        how = ("cut", "flip", "overwrite", "lose", "add", "zero", "exchange", "misname")[turn % 8]
        if how == "cut":
            changed = changed[:place]
        elif how == "flip":
            for bit in random.integers(0, 8 * len(content), int(random.integers(1, 20))).tolist():
                changed[bit // 8] ^= 1 << bit % 8
        elif how == "overwrite":
            for at in random.integers(0, len(content), length).tolist():
                changed[at] = int(random.integers(256))
        elif how == "lose":
            del changed[place : place + length]
        elif how == "add":
            changed[place:place] = random.integers(0, 256, length, np.uint8).tobytes()
        elif how == "zero":
            changed[place : place + length] = bytes(len(changed[place : place + length]))
        elif how == "exchange":
            changed = changed[place:] + changed[:place]
        else:
            suffix = ("png", "jpg", "webp", "tif", "bmp")[int(random.integers(5))]
            deep = (
                "sixteen" in stem or "wide" in stem
            )  # some formats, and so their suffixes, are too shallow for it
            yield f"{'any' if deep else 'good'}-{how}-{stem}.{suffix}", content
            continue
        yield f"any-{how}-{stem}.{suffix}", bytes(changed)
