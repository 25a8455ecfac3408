"""Resonance (共鸣): personal speech recognition for people whose speech others don't understand.

Each of the ten lessons in ``notebooks/`` shows one module of this package. Importing it is light: nothing heavy loads
before the module that needs it.
"""

from .core.messages import ResonanceError
from .core.parameters import check_parameters
from .core.workspace import Workspace, open_workspace

__version__ = "0.1.0"
__all__ = ["ResonanceError", "Workspace", "__version__", "check_parameters", "open_workspace"]
