"""What the host loads: it registers every script class that it finds in this file's namespace."""

from modules import script_callbacks

from detailer_webui.options import add_options
from detailer_webui.script import DetailerScript

__all__ = ["DetailerScript"]

# Here and not on import of the package: "Reload UI" runs this file again, while packages stay imported.
script_callbacks.on_ui_settings(add_options)
