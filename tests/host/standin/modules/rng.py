"""Plays `modules.rng`: noise per seed. Seed resize and the "NV" source are not played."""

import torch
from modules import devices
from modules._standin import _world


def manual_seed(seed):
    """Seeds torch's global generator."""
    torch.manual_seed(int(seed))


def create_generator(seed):
    """A generator of its own for one picture."""
    return torch.Generator().manual_seed(int(seed))


def randn(seed, shape, generator=None):
    """Noise from the generator if given, else from the seed; the GLOBAL generator is seeded either way.

    Forge's family seeds it with another number where a generator is given.
    """
    manual_seed((seed + 100000) % 65536 if generator is not None and _world.host.forge else seed)
    return torch.randn(shape, generator=generator)


def randn_local(seed, shape):
    """Noise from the seed; the global generator stays as it is."""
    return torch.randn(shape, generator=create_generator(seed))


def randn_like(x):
    """Noise from the global generator."""
    return torch.randn(x.shape)


def randn_without_seed(shape, generator=None):
    """More noise from the generator, or from the global one."""
    return torch.randn(shape, generator=generator)


def _slerp(val, low, high):
    """Between two noises `C,H,W`, along the arc; a straight line where they are nearly parallel."""
    cosine = (low / low.norm(dim=1, keepdim=True) * (high / high.norm(dim=1, keepdim=True))).sum(1)
    if cosine.mean() > 0.9995:
        return low * val + high * (1 - val)
    angle = torch.acos(cosine)
    return ((torch.sin((1 - val) * angle) / torch.sin(angle)).unsqueeze(1) * low
            + (torch.sin(val * angle) / torch.sin(angle)).unsqueeze(1) * high)


class ImageRNG:
    """The noise of a batch: one generator per picture, so that a batch draws what single pictures would."""

    def __init__(self, shape, seeds, subseeds=None, subseed_strength=0.0, seed_resize_from_h=0, seed_resize_from_w=0):
        """Keeps what it is given."""
        self.shape = tuple(map(int, shape))
        self.seeds = seeds
        self.subseeds = subseeds
        self.subseed_strength = subseed_strength
        self.seed_resize_from_h = seed_resize_from_h
        self.seed_resize_from_w = seed_resize_from_w
        self.generators = [create_generator(seed) for seed in seeds]
        self.is_first = True

    def first(self):
        """The noise that sampling starts from, mixed with the variation seeds' noise."""
        from modules import shared

        noises = [self._first_of(index) for index in range(len(self.seeds))]
        delta = shared.opts.eta_noise_seed_delta or 0
        if delta:
            self.generators = [create_generator(seed + delta) for seed in self.seeds]
        return torch.stack(noises)

    def _first_of(self, index):
        variation = None
        if self.subseeds is not None and self.subseed_strength != 0:
            variation = randn(self.subseeds[index] if index < len(self.subseeds) else 0, self.shape)
        noise = randn(self.seeds[index], self.shape, generator=self.generators[index])
        return noise if variation is None else _slerp(self.subseed_strength, noise, variation)

    def next(self):
        """The next noise `N,C,h,w`."""
        if self.is_first:
            self.is_first = False
            return self.first()
        return torch.stack([randn_without_seed(self.shape, generator=generator) for generator in self.generators])


for _function in (randn, randn_local, randn_like, randn_without_seed, manual_seed):
    setattr(devices, _function.__name__, _function)  # the hosts do this too: `devices.manual_seed` is how extensions know it
