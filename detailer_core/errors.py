"""The error tree: what can go wrong, as one page.

DetailerError                 everything this project raises on purpose
├── SettingsError             a setting is unknown, out of range or contradicts another (`field` names it)
├── PictureError              a picture cannot be read, written or worked on
│   └── MaskError             a mask has the wrong shape, type or range
├── DetectorError             a detector cannot be had or failed
│   ├── DetectorNotFoundError   no detector and no model file of that name
│   └── ModelFileError        a model file was refused or is of an unknown kind
│       └── UnknownArchitectureError   it holds a network that we cannot build, and nothing worse
├── DownloadError             a model file could not be fetched, or is not the one that was meant
├── PromptError               wildcard or prompt grammar: unclosed, missing, circular, too large
├── HookError                 a hook raised or returned something of the wrong shape
└── EngineError               the engine could not redraw
    ├── EngineUnsupportedError  the engine lacks what the settings ask for
    └── EngineMemoryError     the device ran out of memory; a smaller wave may succeed

A message says what, where, what was got, and what to do about it.
"""

from __future__ import annotations


class DetailerError(Exception):
    """Base of every error that this project raises on purpose."""


class SettingsError(DetailerError):
    """A setting is unknown, out of range or contradicts another; `field` is its name."""

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class PictureError(DetailerError):
    """A picture cannot be read, written or worked on."""


class MaskError(PictureError):
    """A mask has the wrong shape, type or range."""


class DetectorError(DetailerError):
    """A detector cannot be had, or failed on a picture."""


class DetectorNotFoundError(DetectorError):
    """No detector and no model file has that name."""


class ModelFileError(DetectorError):
    """A model file was refused, is damaged, or holds an architecture that is not known."""


class UnknownArchitectureError(ModelFileError):
    """A model file holds an architecture that is not known; another library may know it."""


class DownloadError(DetailerError):
    """A model file could not be fetched, or is not the one that was meant."""


class PromptError(DetailerError):
    """Text that does not follow the wildcard grammar, or a wildcard that cannot be used."""


class HookError(DetailerError):
    """A hook raised, or returned something of the wrong type or shape."""


class EngineError(DetailerError):
    """The engine could not redraw a wave."""


class EngineUnsupportedError(EngineError):
    """The engine lacks something that the settings ask for."""


class EngineMemoryError(EngineError):
    """The device ran out of memory; a smaller wave may succeed."""
