"""Plays `modules.extra_networks`: tags such as `<lora:name:0.8>`. Any name counts as a known network of kind `lora`."""

import re
from collections import defaultdict

from modules import errors
from modules._standin import _world

extra_network_registry = {}
extra_network_aliases = {}
re_extra_net = re.compile(r"<(\w+):([^>]+)>")


class ExtraNetworkParams:
    """What a tag says, split at colons."""

    def __init__(self, items=None):
        """Keeps what it is given."""
        self.items = items or []
        self.positional = [item for item in self.items if "=" not in item]
        self.named = dict(item.split("=", 1) for item in self.items if "=" in item)

    def __eq__(self, other):
        """Whether both say the same."""
        return self.items == other.items

    __hash__ = None


class ExtraNetwork:
    """One kind of network."""

    def __init__(self, name):
        """Keeps what it is given."""
        self.name = name

    def activate(self, p, params_list):
        """Puts the networks into the model.

        Raises: NotImplementedError; every kind has its own.
        """
        raise NotImplementedError

    def deactivate(self, p):
        """Takes the networks out of the model.

        Raises: NotImplementedError; every kind has its own.
        """
        raise NotImplementedError


class _Lora(ExtraNetwork):
    """Networks that shift what the fake model draws; a later activation replaces an earlier one."""

    def activate(self, p, params_list):
        pairs = tuple((params.positional[0], float((params.positional[1:] or ["1"])[0])) for params in params_list)
        _world.network_log.append(pairs)
        p.sd_model.networks = dict(pairs)

    def deactivate(self, p):
        p.sd_model.networks = {}


def initialize():
    """Forgets all kinds of networks."""
    extra_network_registry.clear()
    extra_network_aliases.clear()


def register_extra_network(extra_network):
    """Makes a kind of network known."""
    extra_network_registry[extra_network.name] = extra_network


def activate(p, extra_network_data):
    """Activates the tagged networks; every other known kind is activated with none. Errors are displayed."""
    for name, network in extra_network_registry.items():
        try:
            network.activate(p, extra_network_data.get(name, []))
        except Exception as error:
            errors.display(error, f"activating extra network {name}")
    if p.scripts is not None:
        p.scripts.after_extra_networks_activate(p, batch_number=p.iteration, prompts=p.prompts, seeds=p.seeds, subseeds=p.subseeds,
                                                extra_network_data=extra_network_data)


def deactivate(p, extra_network_data):
    """Takes all networks out of the model."""
    for name, network in extra_network_registry.items():
        try:
            network.deactivate(p)
        except Exception as error:
            errors.display(error, f"deactivating extra network {name}")


def parse_prompt(prompt):
    """The prompt without tags, and the tags by kind."""
    found = defaultdict(list)
    for kind, rest in re_extra_net.findall(prompt):
        found[kind].append(ExtraNetworkParams(items=rest.split(":")))
    return re_extra_net.sub("", prompt), found


def parse_prompts(prompts):
    """The prompts without tags, and the tags of the FIRST prompt."""
    parsed = [parse_prompt(prompt) for prompt in prompts]
    return [text for text, _ in parsed], parsed[0][1] if parsed else None


register_extra_network(_Lora("lora"))
