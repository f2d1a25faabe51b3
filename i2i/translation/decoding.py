"""Read the images of a folder job: what of each the network takes, and what goes past it."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from i2i import images
from i2i.errors import I2IError
from i2i.images import Array, ImageError, Source, TooLargeError
from i2i.images.metadata import NO_METADATA, Metadata
from i2i.images.pixels import with_nan
from i2i.images.spec import Clipped, unlike_note
from i2i.images.stacks import Stack, opened
from i2i.images.windows import ANY_SIZE
from i2i.memory import is_out_of_memory
from i2i.translation.manifest import Stamp, identity
from i2i.translation.options import Options, target_size
from i2i.translation.plan import Task
from i2i.translation.translator import Translator

UNMARKED = "outputs cannot mark the pixels of inputs that have no data"
_PIXELS_A_BYTE = 200  # photographs have up to 20


@dataclass(frozen=True)
class Item:
    """A decoded image."""

    task: Task
    stamp: Stamp
    pixels: Array  # [H, W, C], as the network takes it
    depth: int  # bits of the output
    alpha: Array | None = None  # [H, W, 1], put back onto the output
    notes: tuple[str, ...] = ()
    metadata: Metadata = NO_METADATA  # of the input, as far as the output can hold it
    clipped: Clipped = (0, 0)
    has_alpha: bool = True  # the last of 2 or 4 channels of the output is alpha
    missing: Array | None = None  # [H, W, C or 1], True for values that the output has not


class TooLarge(str):
    """The reason why an image is not translated as a whole: tiles may be the way."""


def decode(task: Task, translator: Translator, options: Options) -> Item | str:
    """Return a decoded image, or why there is none: an error would hold the decoder's memory."""
    try:
        if options.tile and not task.missing:
            content = task.source if task.content is None else io.BytesIO(task.content)
            header = images.read_header(content, ANY_SIZE)
            if max(header.height, header.width) > options.tile:
                return TooLarge("larger than a tile, in which only files are translated")
        return _read(task, translator, options)
    except TooLargeError as error:
        reason = reason_of(error, task)
        if options.size != "keep" or task.content is not None:
            return reason
        return TooLarge(reason) if options.tile else _believable(task, reason)
    except (ImageError, OSError) as error:
        return reason_of(error, task)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return "not enough memory to read it at this size"


def _believable(task: Task, reason: str) -> str:
    """Return `TooLarge` for a file that may be in tiles unasked: a bomb would take hours."""
    try:
        header, size = images.read_header(task.source, ANY_SIZE), task.source.stat().st_size
    except (ImageError, OSError):
        return reason
    if header.width * header.height <= _PIXELS_A_BYTE * size:
        return TooLarge(reason)
    return f"{reason} Its {size:,} bytes may be a bomb: pass --tile if you trust it."


def _read(task: Task, translator: Translator, options: Options) -> Item:
    if task.missing:
        raise ImageError(task.source, task.missing)
    in_tar = task.content is not None
    inputs = {} if in_tar else identity(task.files)
    files: list[Source] = [io.BytesIO(task.content or b"")] if in_tar else [*task.files]
    with opened(files, translator.source, translator.alpha, options.max_pixels) as image:
        pixels = _fit(image.array, translator, task, options)
        alpha = None if image.alpha is None else _fit(image.alpha, translator, task, options)
        height, width = image.array.shape[:2]
        part = translator.source.cut(image.array[..., :0], options.half or translator.half)
        scales = np.divide(pixels.shape[:2], part.shape[:2]).tolist()
        size = height, width
        depth, notes, metadata = outcome(task, image, size, scales, translator, options)
        absent = (
            None
            if image.missing is None
            else _fit(image.missing.view(np.uint8), translator, task, options, nearest=True)
        )
        valid = pixels if absent is None else with_nan(pixels, absent > 0)
        notes += unlike_note(valid, translator.source)
        clipped = image.clipped
    missing = None if absent is None else output_missing(absent > 0, translator, alpha is not None)
    if missing is not None and not images.marks_missing(metadata):
        notes += (UNMARKED,)
    has_alpha = alpha is not None or translator.target.alpha
    return Item(task, inputs, pixels, depth, alpha, notes, metadata, clipped, has_alpha, missing)


def output_missing(absent: Array, translator: Translator, carried: bool) -> Array:
    """Return which values of an output are of pixels without data, channel by channel if it can.

    Args:
        absent: of the input, bool [H, W, C].
        carried: the output has the alpha of the input as its last channel.
    """
    same = absent.shape[2] == translator.target.file_channels
    missing: Array = absent if same else np.atleast_3d(absent.any(axis=2))
    if carried:
        color = np.repeat(missing, translator.out_channels // missing.shape[2], axis=2)
        missing = np.concatenate([color, np.zeros_like(missing[..., :1])], axis=2)
    return missing


def outcome(
    task: Task,
    image: Stack,
    size: tuple[int, int],
    scales: Sequence[float],
    translator: Translator,
    options: Options,
) -> tuple[int, tuple[str, ...], Metadata]:
    """Return the bits of the output, notes for people, and the metadata that it can hold.

    Args:
        image: what was read, or a part of it.
        size: (height, width) of the file.
        scales: output pixels for one of the part that is translated, down and across.
    """
    notes = (*image.notes, *_form_notes(*size, translator, options))
    half = options.half or translator.half or translator.source.half_of(*size)
    left = size[1] // 2 if half == "right" else 0
    metadata = image.metadata.cut(left).resized(*scales)
    channels = translator.target.file_channels + (image.alpha is not None)
    depth, note = _output_depth(task, translator.output_depth(image.depth), channels, options)
    carried = images.carried(metadata, images.format_of(task.target), channels)
    for name in metadata.missing(carried):
        notes += (f"{name} of inputs were dropped: the outputs cannot hold them",)
    return depth, (*notes, note) if note else notes, carried


def _form_notes(height: int, width: int, translator: Translator, options: Options) -> Iterator[str]:
    """Yield what differs from the images of training in form and size."""
    source, part = translator.source, options.half or translator.half
    if not part and source.half and (part := source.half_of(height, width)):
        yield (
            f"inputs have the form of the pairs side by side in training: their {part} halves "
            "were translated, --half whole takes all"
        )
    elif not part and source.half and not source.size and width == 2 * height:
        yield (
            "inputs are twice as wide as high, and were translated whole by a model of pairs side "
            f"by side: --half {source.half} takes its input"
        )
    width = width // 2 if part in ("left", "right") else width
    if options.size == "keep" and translator.resized_to:
        trained, side = min(translator.resized_to), min(height, width)
        if not trained / 2 < side < trained * 2:
            much = "at most half" if side < trained else "at least twice"
            yield (
                f"inputs have {much} the size that images were resized to in training: "
                f"--size {trained} gives them its scale"
            )


def _fit(
    pixels: Array, translator: Translator, task: Task, options: Options, nearest: bool = False
) -> Array:
    """Return the part of an image that is translated, at the chosen size."""
    pixels = translator.source.cut(pixels, options.half or translator.half)
    height, width = target_size(pixels.shape[0], pixels.shape[1], options.size)
    if height * width > max(options.max_pixels, pixels.shape[0] * pixels.shape[1]):
        raise ImageError(
            task.source, f"would become {width}x{height} pixels", "Try a smaller --size"
        )
    same = (height, width) == pixels.shape[:2]
    return (
        pixels
        if same
        else images.resize(pixels, (height, width), nearest or translator.source.mask)
    )


def _output_depth(task: Task, depth: int, channels: int, options: Options) -> tuple[int, str]:
    """Return the bits of the output, and a note if they are fewer than the input's."""
    kind = images.format_of(task.target)
    if not images.supports(kind, channels, 8):  # the model's channels fit: it is the alpha
        reason = f"has alpha, which a {kind} file cannot hold"
        raise ImageError(task.source, reason, "Choose png, or --alpha drop")
    depths = [bits for bits in (depth, 16, 8) if images.supports(kind, channels, bits)]
    bits = next(bits for bits in depths if bits <= depth)
    if bits == depth:
        return depth, ""
    alone = options.format == "keep" and not task.partners  # a stack is as deep as its deepest file
    if bits == 8 and alone and images.format_of(task.source) == kind:
        reason = f"has {depth} bits, which a {kind} file cannot hold"
        raise ImageError(task.source, reason, "Choose png")
    return bits, f"{depth}-bit inputs were written with {bits} bits, the most that {kind} holds"


def reason_of(error: Exception, task: Task) -> str:
    """Return the reason of an error, without the path of the task's own file."""
    if isinstance(error, I2IError):
        own = task.content is not None  # its stream has no name
        own = own or error.subject in (str(task.source), str(task.target), "image")
        return error.explanation if own else str(error)
    return getattr(error, "strerror", None) or str(error)
