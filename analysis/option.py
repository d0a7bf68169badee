"""The options of a lens are those of everything that is asked for by name; see capture.option."""

from capture.option import MAX_TEXT_CHARS, Option, OptionValue, read_options

__all__ = ["MAX_TEXT_CHARS", "Option", "OptionValue", "read_options"]
