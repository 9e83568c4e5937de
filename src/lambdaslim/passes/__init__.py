"""The passes: one file each, listed here in the order in which presets use them."""

from lambdaslim.passes.contract import Context, Pass
from lambdaslim.passes.drop_provided import DropProvided
from lambdaslim.passes.exclude import Exclude
from lambdaslim.passes.promote_bytecode import PromoteBytecode
from lambdaslim.passes.prune_data import PruneData
from lambdaslim.passes.recompress_gzip import RecompressGzip
from lambdaslim.passes.strip_bytecode import StripBytecode
from lambdaslim.passes.strip_docstrings import StripDocstrings
from lambdaslim.passes.strip_documentation import StripDocumentation
from lambdaslim.passes.strip_duplicate_data import StripDuplicateData
from lambdaslim.passes.strip_elf import StripElf
from lambdaslim.passes.strip_installer_leftovers import StripInstallerLeftovers
from lambdaslim.passes.strip_metadata import StripMetadata
from lambdaslim.passes.strip_sources import StripSources
from lambdaslim.passes.strip_tests import StripTests
from lambdaslim.passes.strip_typing import StripTyping

#: Every pass, in the order of the presets.
ALL: tuple[type[Pass], ...] = (
    Exclude,
    StripInstallerLeftovers,
    StripTests,
    DropProvided,
    PruneData,
    StripDocumentation,
    StripDuplicateData,
    StripMetadata,
    StripTyping,
    StripSources,
    StripElf,
    RecompressGzip,
    StripDocstrings,
    PromoteBytecode,
    StripBytecode,
)

__all__ = [
    "ALL",
    "Context",
    "DropProvided",
    "Exclude",
    "Pass",
    "PromoteBytecode",
    "PruneData",
    "RecompressGzip",
    "StripBytecode",
    "StripDocstrings",
    "StripDocumentation",
    "StripDuplicateData",
    "StripElf",
    "StripInstallerLeftovers",
    "StripMetadata",
    "StripSources",
    "StripTests",
    "StripTyping",
]
