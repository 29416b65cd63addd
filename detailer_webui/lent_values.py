"""What the host sets up when it processes a job, for a job that is not processed: prompts, seeds, names, overridden settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from modules import processing, sd_models, sd_samplers, sd_vae, shared

from . import host


def lend_values(p: Any) -> None:
    """Prompts with styles, seeds, sampler and the model's names, as the host would have them at the start of the job."""
    host.load_model()
    seed, subseed = processing.get_fixed_seed(p.seed), processing.get_fixed_seed(p.subseed)
    p.setup_prompts()
    count = len(p.all_prompts)
    p.all_seeds = seed if isinstance(seed, list) else [int(seed) + (i if p.subseed_strength == 0 else 0) for i in range(count)]
    p.all_subseeds = subseed if isinstance(subseed, list) else [int(subseed) + i for i in range(count)]
    fix_sampler = getattr(sd_samplers, "fix_p_invalid_sampler_and_scheduler", None)
    if fix_sampler is not None:  # Forge Classic's names of samplers have the scheduler in them
        fix_sampler(p)
    p.sd_model_name, p.sd_model_hash = shared.sd_model.sd_checkpoint_info.name_for_extra, shared.sd_model.sd_model_hash
    p.sd_vae_name, p.sd_vae_hash = sd_vae.get_loaded_vae_name(), sd_vae.get_loaded_vae_hash()


@contextmanager
def overridden(p: Any) -> Iterator[None]:
    """The job's own settings in force, as in a processed job; afterwards the user's again."""
    wanted = dict(p.override_settings or {})
    if wanted.get("sd_model_checkpoint") and sd_models.checkpoint_aliases.get(wanted["sd_model_checkpoint"]) is None:
        del wanted["sd_model_checkpoint"]
    data = shared.opts.data
    before = {key: data[key] if key in data else shared.opts.get_default(key) for key in wanted if key in shared.opts.data_labels}
    try:
        _set(wanted)
        yield
    finally:
        if p.override_settings_restore_afterwards:
            _set(before)


def _set(values: Mapping[str, Any]) -> None:
    if not values:
        return
    try:
        from modules.sysinfo import set_config  # Forge's and Neo's own way, which also tells their loader of models
    except ImportError:
        for key, value in values.items():
            shared.opts.set(key, value, is_api=True, run_callbacks=False)
        reload_vae = getattr(sd_vae, "reload_vae_weights", None)
        if "sd_vae" in values and reload_vae is not None:
            reload_vae()
    else:
        set_config(dict(values), is_api=True, run_callbacks=False, save_config=False)
