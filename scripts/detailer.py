"""What the host loads: it registers every script class that it finds in this file's namespace, in the order in which they are named."""

from detailer_webui import dropdown, script
from detailer_webui.callbacks import register

# The panel first: both have the same title, and the API takes the first for a client that sends the panel's arguments.
DetailerScript = script.DetailerScript
DetailerDropdown = dropdown.DetailerDropdown

register()
