"""What the host loads: it registers every script class that it finds in this file's namespace."""

from detailer_webui.callbacks import register
from detailer_webui.script import DetailerScript

__all__ = ["DetailerScript"]

register()
