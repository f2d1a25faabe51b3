"""Typed settings: defaults < recipe or file < `--set`; every error at once, each with its fix.

No torch. `sections.py` holds the settings, `layers.py` what a user gives, `validate.py` brings both
together. Settings that contradict each other are refused in `i2i/run/contradictions.py`.
"""

from i2i.config.errors import ConfigError as ConfigError
from i2i.config.layers import RENAMED as RENAMED
from i2i.config.layers import SECTIONS as SECTIONS
from i2i.config.layers import VERSION as VERSION
from i2i.config.layers import Layer as Layer
from i2i.config.layers import combine as combine
from i2i.config.layers import merge as merge
from i2i.config.layers import migrate as migrate
from i2i.config.layers import parse_override as parse_override
from i2i.config.layers import read_yaml as read_yaml
from i2i.config.ranges import RangeRule as RangeRule
from i2i.config.ranges import parse_range as parse_range
from i2i.config.schema import section_schema as section_schema
from i2i.config.sections import DATA as DATA
from i2i.config.sections import WITHOUT_SOURCE as WITHOUT_SOURCE
from i2i.config.sections import AlphaUse as AlphaUse
from i2i.config.sections import Component as Component
from i2i.config.sections import Config as Config
from i2i.config.sections import DataConfig as DataConfig
from i2i.config.sections import Kind as Kind
from i2i.config.sections import Layout as Layout
from i2i.config.sections import LogConfig as LogConfig
from i2i.config.sections import OptimConfig as OptimConfig
from i2i.config.sections import PairedData as PairedData
from i2i.config.sections import Positive as Positive
from i2i.config.sections import Precision as Precision
from i2i.config.sections import Section as Section
from i2i.config.sections import TrainConfig as TrainConfig
from i2i.config.sections import TwoDomainsData as TwoDomainsData
from i2i.config.sections import UnconditionalData as UnconditionalData
from i2i.config.sections import UnpairedData as UnpairedData
from i2i.config.sections import ValidateConfig as ValidateConfig
from i2i.config.sections import height_width as height_width
from i2i.config.sections import is_resumable as is_resumable
from i2i.config.validate import component_model as component_model
from i2i.config.validate import validate as validate
