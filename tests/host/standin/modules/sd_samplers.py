"""Plays `modules.sd_samplers`: every label of the host; `modules/_euler_sampler.py` is behind all of them."""

from modules import shared
from modules._euler_sampler import EulerLike as _EulerLike
from modules._euler_sampler import is_sde as _is_sde
from modules._standin import _world
from modules.sd_samplers_common import SamplerData as _SamplerData
from modules.sd_samplers_common import sample_to_image

__all__ = ["sample_to_image"]

all_samplers = [_SamplerData(name, _EulerLike, [name.lower().replace(" ", "_")], {"brownian_noise": True} if _is_sde(name) else {})
                for name in _world.host.sampler_labels]
all_samplers_map = {data.name: data for data in all_samplers}
samplers = []
samplers_for_img2img = []
samplers_map = {}
samplers_hidden = {}


def find_sampler_config(name):
    """The sampler with that label (the first one for None), or None."""
    return all_samplers[0] if name is None else all_samplers_map.get(name)


if _world.host.reforge:
    def create_sampler(name, model, scheduler=None):
        """A sampler, made anew.

        Raises: Exception if there is none with that label.
        """
        return _create(name)
else:
    def create_sampler(name, model):
        """A sampler, made anew.

        Raises: Exception if there is none with that label.
        """
        return _create(name)


def _create(name):
    config = find_sampler_config(name)
    if config is None:
        raise Exception(f"bad sampler name: {name}")
    return config.constructor(config)


def set_samplers():
    """Fills the lists that the page uses."""
    hidden = set(shared.opts.hide_samplers)
    samplers_hidden.clear()
    samplers_hidden.update(dict.fromkeys(hidden))
    samplers[:] = all_samplers
    samplers_for_img2img[:] = all_samplers
    samplers_map.clear()
    for data in all_samplers:
        samplers_map.update({alias.lower(): data.name for alias in (data.name, *data.aliases)})


def visible_sampler_names():
    """The labels that are not hidden."""
    return [data.name for data in all_samplers if data.name not in samplers_hidden]


if not _world.host.classic:
    def visible_samplers():
        """The samplers that are not hidden."""
        return [data for data in all_samplers if data.name not in samplers_hidden]

    def get_sampler_and_scheduler(sampler_name, scheduler_name, *, convert_automatic=True):
        """The labels of a sampler and a scheduler; a sampler name that ends with a scheduler's label is taken apart."""
        from modules import sd_schedulers

        found = sd_schedulers.schedulers_map.get(scheduler_name, sd_schedulers.schedulers[0])
        name = sampler_name or all_samplers[0].name
        for scheduler in sd_schedulers.schedulers:
            if name not in all_samplers_map and name.lower().endswith(f" {scheduler.label.lower()}"):
                found, name = scheduler, name[:-len(scheduler.label) - 1]
                break
        sampler = all_samplers_map.get(name, all_samplers[0])
        return sampler.name, found.label

    def fix_p_invalid_sampler_and_scheduler(p):
        """Takes apart a sampler's label that has the scheduler in it."""
        p.sampler_name, p.scheduler = get_sampler_and_scheduler(p.sampler_name, p.scheduler, convert_automatic=False)


set_samplers()
