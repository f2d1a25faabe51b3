"""Images on disk and in memory: depths, value ranges, color modes and file formats."""

from i2i.images.formats import EXTENSIONS as EXTENSIONS
from i2i.images.formats import MAX_CHANNELS as MAX_CHANNELS
from i2i.images.formats import MAX_PIXELS as MAX_PIXELS
from i2i.images.formats import Alpha as Alpha
from i2i.images.formats import Array as Array
from i2i.images.formats import Format as Format
from i2i.images.formats import Header as Header
from i2i.images.formats import ImageError as ImageError
from i2i.images.formats import Source as Source
from i2i.images.formats import format_of as format_of
from i2i.images.formats import supports as supports
from i2i.images.pixels import UNIT as UNIT
from i2i.images.pixels import ValueRange as ValueRange
from i2i.images.pixels import apply_alpha as apply_alpha
from i2i.images.pixels import depth_of as depth_of
from i2i.images.pixels import from_tensor as from_tensor
from i2i.images.pixels import from_value_range as from_value_range
from i2i.images.pixels import grid as grid
from i2i.images.pixels import match_channels as match_channels
from i2i.images.pixels import resize as resize
from i2i.images.pixels import to_depth as to_depth
from i2i.images.pixels import to_display_rgb as shown  # FIXME: former name, drop with its last use
from i2i.images.pixels import to_display_rgb as to_display_rgb
from i2i.images.pixels import to_tensor as to_tensor
from i2i.images.pixels import to_unit as to_unit
from i2i.images.pixels import to_value_range as to_value_range
from i2i.images.reading import decode as decode
from i2i.images.reading import decoded as decoded
from i2i.images.reading import from_pil as from_pil
from i2i.images.reading import read as read
from i2i.images.reading import read_header as read_header
from i2i.images.writing import encode as encode
from i2i.images.writing import to_pil as to_pil
