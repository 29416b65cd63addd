"""ADetailer's ControlNet of a tab as the one that guides each part here."""

from __future__ import annotations

from detailer_core.errors import SettingsError

from .tab import NOTHING, Tab

PASSTHROUGH = "Passthrough"
"""Choice of ADetailer's that lets the main picture's ControlNets work on the parts, too."""

_MODULES = (("inpaint_depth", "depth_midas"), ("inpaint", "inpaint_global_harmonious"), ("scribble", "t2ia_sketch_pidi"),
            ("lineart", "lineart_coarse"), ("openpose", "openpose_full"), ("tile", "tile_resample"), ("depth", "depth_midas"))
"""What a model of this name is given where no preprocessor was chosen; the first that fits counts."""


def control(tab: Tab) -> None:
    """Take over the ControlNet. Raises: SettingsError for a share that does not lie in 0..1, or a start after the end."""
    values, result = tab.values, tab.result
    model = values["ad_controlnet_model"]
    if model in NOTHING:
        return
    if model == PASSTHROUGH:
        tab.lose("ad_controlnet_model", "the main picture's ControlNets do not work on the parts; choose one for them under Control")
        return
    result["control_model"], module = model, values["ad_controlnet_module"]
    if module in (*NOTHING, "none"):
        module = next((module for word, module in _MODULES if word in model.lower()), "none")
        if module != "none":
            tab.approximate("ad_controlnet_module", f"{module} is what ADetailer takes for this ControlNet in A1111, where none was chosen")
    result["control_module"] = module
    for name, ours in (("ad_controlnet_weight", "control_weight"), ("ad_controlnet_guidance_start", "control_start"),
                       ("ad_controlnet_guidance_end", "control_end")):
        result[ours] = tab.share(name)
    if result["control_start"] > result["control_end"]:
        raise SettingsError(f"ad_controlnet_guidance_start: {result['control_start']:g} is after ad_controlnet_guidance_end "
                            f"{result['control_end']:g}; the ControlNet would never guide", field="ad_controlnet_guidance_start")
