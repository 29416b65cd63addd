"""What the extension ADetailer writes and takes, as units of ours: its API arguments and the generation parameters of its pictures.

Nothing here knows a host. Where our settings cannot do the same, they come near, and what has no counterpart is named.
"""

from .arguments import SKIP_IMG2IMG, is_adetailer, skips_img2img, translate
from .lines import Units, has_adetailer, units_from_lines
from .tab import Lost, Translation

__all__ = ["SKIP_IMG2IMG", "Lost", "Translation", "Units", "has_adetailer", "is_adetailer", "skips_img2img", "translate", "units_from_lines"]
