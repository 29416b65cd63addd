"""Plays what comes out of a job in `modules.processing`: pictures with their infotexts."""

from __future__ import annotations

import json

from modules import errors, infotext_utils, shared
from modules._standin import _world


def program_version():
    """The version that the infotext names."""
    return f"standin-{_world.host.name}"


def _plain_params(p, all_prompts, all_seeds, all_subseeds, index, use_main_prompt):
    """The host's own entries of an infotext; fewer than the real hosts write."""
    opts, clip_skip = shared.opts, getattr(p, "clip_skip", shared.opts.CLIP_stop_at_last_layers)
    varied = p.subseed_strength != 0
    return {
        "Steps": p.steps, "Sampler": p.sampler_name, "Schedule type": getattr(p, "scheduler", None), "CFG scale": p.cfg_scale,
        "Seed": p.all_seeds[0] if use_main_prompt else all_seeds[index], "Size": f"{p.width}x{p.height}",
        "Model hash": p.sd_model_hash if opts.add_model_hash_to_info else None,
        "Model": p.sd_model_name if opts.add_model_name_to_info else None,
        "Variation seed": (p.all_subseeds[0] if use_main_prompt else all_subseeds[index]) if varied else None,
        "Variation seed strength": p.subseed_strength if varied else None,
        "Denoising strength": p.extra_generation_params.get("Denoising strength"),
        "Clip skip": None if clip_skip <= 1 else clip_skip,
        **p.extra_generation_params,
        "Version": program_version() if opts.add_version_to_infotext else None,
    }


def create_infotext(p, all_prompts, all_seeds, all_subseeds, comments=None, iteration=0, position_in_batch=0, use_main_prompt=False,
                    index=None, all_negative_prompts=None):
    """The text of one picture. An extra parameter is a text, a list with one entry per picture, or a function."""
    if use_main_prompt:
        index = 0
    elif index is None:
        index = position_in_batch + iteration * p.batch_size
    all_negative_prompts = p.all_negative_prompts if all_negative_prompts is None else all_negative_prompts
    prompt_text = p.main_prompt if use_main_prompt else all_prompts[index]
    negative_prompt = p.main_negative_prompt if use_main_prompt else all_negative_prompts[index]
    params = _plain_params(p, all_prompts, all_seeds, all_subseeds, index, use_main_prompt)
    known = {"p": p, "all_prompts": all_prompts, "all_seeds": all_seeds, "all_subseeds": all_subseeds, "comments": comments,
             "iteration": iteration, "position_in_batch": position_in_batch, "use_main_prompt": use_main_prompt, "index": index,
             "all_negative_prompts": all_negative_prompts, "prompt_text": prompt_text, "negative_prompt": negative_prompt,
             "generation_params": params}
    resolved = {key: _resolve(key, value, index, known) for key, value in params.items()}
    entries = [key if key == value else f"{key}: {infotext_utils.quote(value)}" for key, value in resolved.items() if value is not None]
    negative_text = f"\nNegative prompt: {negative_prompt}" if negative_prompt else ""
    return f"{prompt_text}{negative_text}\n{', '.join(entries)}".strip()


def _resolve(key, value, index, known):
    try:
        if isinstance(value, list):
            return value[index]
        return value(**known) if callable(value) else value
    except Exception:
        errors.report(f'Error creating infotext for key "{key}"', exc_info=True)
        return None


_COPIED = (
    "subseed_strength", "width", "height", "sampler_name", "cfg_scale", "steps", "batch_size", "restore_faces", "sd_model_name",
    "sd_model_hash", "sd_vae_name", "sd_vae_hash", "seed_resize_from_w", "seed_resize_from_h", "extra_generation_params", "styles",
    "token_merging_ratio", "token_merging_ratio_hr", "eta", "ddim_discretize", "s_churn", "s_tmin", "s_tmax", "s_noise",
    "s_min_uncond", "sampler_noise_scheduler_override", "is_using_inpainting_conditioning",
)


def _first(value):
    return value[0] if isinstance(value, list) else value


class _Result:
    """What both signatures of `Processed` share."""

    def _fill(self, p, images_list, seed, info, subseed, all_prompts, all_negative_prompts, all_seeds, all_subseeds,
              index_of_first_image, infotexts):
        for name in _COPIED:
            setattr(self, name, getattr(p, name))
        self.images, self.info, self.index_of_first_image = images_list, info, index_of_first_image
        self.comments = "".join(f"{comment}\n" for comment in p.comments)
        self.image_cfg_scale = getattr(p, "image_cfg_scale", None)
        self.denoising_strength = getattr(p, "denoising_strength", None)
        self.face_restoration_model = shared.opts.face_restoration_model if p.restore_faces else None
        self.job_timestamp, self.clip_skip = shared.state.job_timestamp, shared.opts.CLIP_stop_at_last_layers
        self.prompt, self.negative_prompt = _first(p.prompt), _first(p.negative_prompt)
        self.seed = -1 if seed is None else int(_first(seed))
        self.subseed = -1 if subseed is None else int(_first(subseed))
        self.all_prompts = all_prompts or p.all_prompts or [self.prompt]
        self.all_negative_prompts = all_negative_prompts or p.all_negative_prompts or [self.negative_prompt]
        self.all_seeds = all_seeds or p.all_seeds or [self.seed]
        self.all_subseeds = all_subseeds or p.all_subseeds or [self.subseed]
        self.infotexts = infotexts or [info] * len(images_list)
        self.version = program_version()

    def js(self):
        """The result without its pictures, as JSON."""
        hidden = ("images", "info", "comments")
        plain = {key: value for key, value in vars(self).items() if key not in hidden and not key.startswith("s_")}
        return json.dumps({**plain, "prompt": self.all_prompts[0], "negative_prompt": self.all_negative_prompts[0]}, default=lambda _: None)

    def infotext(self, p, index):
        """The text of one picture."""
        return create_infotext(p, self.all_prompts, self.all_seeds, self.all_subseeds, comments=[],
                               position_in_batch=index % self.batch_size, iteration=index // self.batch_size)

    def get_token_merging_ratio(self, for_hr=False):
        """How much token merging was asked for."""
        return self.token_merging_ratio_hr if for_hr else self.token_merging_ratio


if _world.host.forge:
    class Processed(_Result):
        """The result of a job, with room for an extension's extra pictures."""

        def __init__(self, p, images_list, seed=-1, info="", subseed=None, all_prompts=None, all_negative_prompts=None, all_seeds=None,
                     all_subseeds=None, index_of_first_image=0, infotexts=None, comments="", extra_images_list=[]):  # noqa: B006
            self._fill(p, images_list, seed, info, subseed, all_prompts, all_negative_prompts, all_seeds, all_subseeds,
                       index_of_first_image, infotexts)
            self.extra_images = extra_images_list
else:
    class Processed(_Result):
        """The result of a job."""

        def __init__(self, p, images_list, seed=-1, info="", subseed=None, all_prompts=None, all_negative_prompts=None, all_seeds=None,
                     all_subseeds=None, index_of_first_image=0, infotexts=None, comments=""):
            """Keeps what it is given."""
            self._fill(p, images_list, seed, info, subseed, all_prompts, all_negative_prompts, all_seeds, all_subseeds,
                       index_of_first_image, infotexts)
