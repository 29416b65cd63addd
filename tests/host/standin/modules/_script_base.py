"""Plays the first half of `modules.scripts`: the base class of scripts, and what its callbacks get."""

import re
from dataclasses import dataclass

import gradio as gr
from modules._standin import _world

AlwaysVisible = object()


class MaskBlendArgs:
    """A mask blend: what is about to be blended with what; `blended_latent` may be replaced."""

    def __init__(self, current_latent, nmask, init_latent, mask, blended_latent, denoiser=None, sigma=None):
        """Keeps what it is given."""
        self.current_latent = current_latent
        self.nmask = nmask
        self.init_latent = init_latent
        self.mask = mask
        self.blended_latent = blended_latent
        self.denoiser = denoiser
        self.is_final_blend = denoiser is None
        self.sigma = sigma


class PostSampleArgs:
    """The samples before they are decoded."""

    def __init__(self, samples):
        """Keeps what it is given."""
        self.samples = samples


if _world.host.new_backend:
    class PostprocessImageArgs:
        """One finished picture, and its number in the job."""

        def __init__(self, image, index):
            """Keeps what it is given."""
            self.image = image
            self.index = index
else:
    class PostprocessImageArgs:
        """One finished picture."""

        def __init__(self, image):
            """Keeps what it is given."""
            self.image = image


class PostProcessMaskOverlayArgs:
    """What is about to be laid over a picture."""

    def __init__(self, index, mask_for_overlay, overlay_image):
        """Keeps what it is given."""
        self.index = index
        self.mask_for_overlay = mask_for_overlay
        self.overlay_image = overlay_image


class PostprocessBatchListArgs:
    """The pictures of a batch as a list of tensors `3,H,W` in 0..1."""

    def __init__(self, images):
        """Keeps what it is given."""
        self.images = images


@dataclass
class OnComponent:
    """A component that was just made."""

    component: gr.blocks.Block


class Script:
    """Base of every script. Each callback does nothing here; the runner calls only those that a script overrides."""

    name = None
    section = None
    filename = None
    args_from = None
    args_to = None
    alwayson = False
    is_txt2img = False
    is_img2img = False
    tabname = None
    group = None
    create_group = True
    infotext_fields = None
    paste_field_names = None
    api_info = None
    on_before_component_elem_id = None
    on_after_component_elem_id = None
    setup_for_ui_only = False
    controls = None
    if _world.host.forge:
        sorting_priority = 0

    def title(self):
        """The script's name for users.

        Raises: NotImplementedError; every script has its own.
        """
        raise NotImplementedError

    def ui(self, is_img2img):
        """The components whose values become the script's arguments."""

    def show(self, is_img2img):
        """Whether the script is on the page: False, True (in the list) or `AlwaysVisible`."""
        return True

    def run(self, p, *args):
        """A selectable script's own run."""

    def setup(self, p, *args):
        """Called when `p` has both scripts and arguments."""

    def before_process(self, p, *args):
        """Called at the very start."""

    def process(self, p, *args):
        """Called when seeds and prompts are known."""

    def before_process_batch(self, p, *args, **kwargs):
        """Called before the prompts' extra networks are read."""

    def after_extra_networks_activate(self, p, *args, **kwargs):
        """Called when extra networks are active."""

    def process_before_every_sampling(self, p, *args, **kwargs):
        """Called before each sampling, the hires pass included."""

    def process_batch(self, p, *args, **kwargs):
        """Called before a batch is conditioned."""

    def postprocess_batch(self, p, *args, **kwargs):
        """Called with a batch's pictures as one tensor."""

    def postprocess_batch_list(self, p, pp: PostprocessBatchListArgs, *args, **kwargs):
        """Called with a batch's pictures as a list."""

    def on_mask_blend(self, p, mba: MaskBlendArgs, *args):
        """Called whenever kept and new content are blended."""

    def post_sample(self, p, ps: PostSampleArgs, *args):
        """Called before decoding."""

    def postprocess_image(self, p, pp: PostprocessImageArgs, *args):
        """Called with each picture."""

    def postprocess_maskoverlay(self, p, ppmo: PostProcessMaskOverlayArgs, *args):
        """Called before the overlay of inpainting."""

    def postprocess_image_after_composite(self, p, pp: PostprocessImageArgs, *args):
        """Called with each picture after the overlay of inpainting."""

    def postprocess(self, p, processed, *args):
        """Called at the end."""

    def before_component(self, component, **kwargs):
        """Called before each component of the page."""

    def after_component(self, component, **kwargs):
        """Called after each component of the page."""

    def before_hr(self, p, *args):
        """Called before the hires pass."""

    def on_before_component(self, callback, *, elem_id):
        """Registers a function for the moment before a component is made."""
        self.on_before_component_elem_id = [*(self.on_before_component_elem_id or []), (elem_id, callback)]

    def on_after_component(self, callback, *, elem_id):
        """Registers a function for the moment after a component is made."""
        self.on_after_component_elem_id = [*(self.on_after_component_elem_id or []), (elem_id, callback)]

    def elem_id(self, item_id):
        """An HTML id from script, tab and item."""
        both_tabs = self.show(True) == self.show(False)
        tab = f"{'img2img' if self.is_img2img else 'txt2img'}_" if both_tabs else ""
        title = re.sub(r"[^a-z_0-9]", "", re.sub(r"\s", "_", self.title().lower()))
        return f"script_{tab}{title}_{item_id}"
