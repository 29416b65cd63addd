"""The entry "Detailer" in the host's list of scripts: details given pictures without generating any."""

from __future__ import annotations

from typing import Any

import gradio as gr
from modules import processing, scripts

from detailer_core.errors import DetailerError, SettingsError

from .api_errors import error_entry, refusal
from .dropdown_request import Request, panel_arguments, read_request
from .given import pictures_of_folder, pictures_of_page
from .given_run import detail_given
from .job import tell
from .script import DetailerScript

_FIRST_UNIT = "no unit of the panel is on; the first one's settings are used"


class DetailerDropdown(scripts.Script):
    """Selectable twin of the panel, which has all the settings; in `scripts/detailer.py` it must come after the panel."""

    def title(self) -> str:
        """The name in the list, and the one by which clients of the API choose it."""
        return "Detailer"

    def show(self, is_img2img: bool) -> Any:
        """On both pages."""
        return True

    def ui(self, is_img2img: bool) -> list[Any]:
        """Where pictures come from and go to; the units are the panel's."""
        what = "the picture above" if is_img2img else "generated ones"
        folder = gr.Textbox(label="Folder of pictures", value="", lines=1, elem_id=self.elem_id("pictures_folder"),
                            info=f"All pictures in it are detailed, with the units of the panel above; empty = {what}.")
        output = gr.Textbox(label="Output folder", value="", lines=1, elem_id=self.elem_id("pictures_output"),
                            info="Where the folder's pictures are written, under their own names; empty = the usual one.")
        if not is_img2img:
            return [folder, output]
        return [folder, output, gr.Checkbox(label="Inpaint mask as segments", value=False, elem_id=self.elem_id("pictures_mask"),
                                            info="The white areas of the inpaint mask are redrawn, instead of what a detector finds.")]

    def run(self, p: Any, *args: Any) -> Any:
        """The host's result: detailed pictures, or, in txt2img without a folder, generated and detailed ones.

        Raises: SettingsError if nothing can be done with the arguments; HTTPException (422) towards a client of the API.
        """
        try:
            return self._run(p, read_request(args))
        except DetailerError as error:
            if getattr(p, "is_api", False):
                raise refusal([error_entry(("script_args",), error)]) from error
            raise

    def _run(self, p: Any, request: Request) -> Any:
        panel = next((s for s in p.scripts.alwayson_scripts if isinstance(s, DetailerScript)), None)
        if panel is None:
            raise SettingsError("Detailer's panel is not on this page, and its units are needed; switch the extension on and reload the page",
                                field="args")
        given = tuple(p.script_args[panel.args_from:panel.args_to])
        arguments, forced = panel_arguments(given)
        if forced:
            tell(p, _FIRST_UNIT, note=False)
        if not request.folder and not isinstance(p, processing.StableDiffusionProcessingImg2Img):
            values = list(p.script_args)
            values[panel.args_from:panel.args_to] = arguments[:len(given)]
            p.script_args = tuple(values)
            return processing.process_images(p)
        pictures = pictures_of_folder(request) if request.folder else pictures_of_page(p)
        return detail_given(p, pictures, arguments, request, panel.workshop)
