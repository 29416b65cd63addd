"""What distinguishes the hosts that the stand-in can play: data, read from their sources."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class HostTraits:
    """One host and how it differs from the others where an extension can notice.

    name: the host as the contracts call it.
    forge: it descends from Forge: the encoder draws inside `encode_first_stage`, the kept area gets new noise at every
        step from the global generator, and pictures are made in inference mode.
    new_backend: Forge after its rewrite (and Neo): a placeholder model before the first picture, `shared.sd_model`
        cannot be assigned, jobs run on another thread, `PostprocessImageArgs` takes an index, `InputAccordion` is a function.
    classic: Forge Classic: no schedulers, script callbacks are not cached and take no name.
    neo: Forge Neo: `mask_blur` is the field and its x and y are derived, no `fp16`/`use_cpu` command line options.
    sampler_labels: every sampler, as the UI shows them.
    scheduler_labels: (name, label) of every scheduler; empty where the sampler's label says it all.
    """

    name: str
    forge: bool
    new_backend: bool = False
    classic: bool = False
    neo: bool = False
    reforge: bool = False
    sampler_labels: tuple[str, ...]
    scheduler_labels: tuple[tuple[str, str], ...] = ()

    @property
    def has_schedulers(self) -> bool:
        """Whether the host keeps sampler and scheduler apart."""
        return not self.classic


_ALL = (
    HostTraits(
        name="a1111-1.10.1", forge=False,
        sampler_labels=(
            "DPM++ 2M", "DPM++ SDE", "DPM++ 2M SDE", "DPM++ 2M SDE Heun", "DPM++ 2S a", "DPM++ 3M SDE", "Euler a", "Euler", "LMS",
            "Heun", "DPM2", "DPM2 a", "DPM fast", "DPM adaptive", "Restart", "DDIM", "DDIM CFG++", "PLMS", "UniPC", "LCM",
        ),
        scheduler_labels=(
            ("automatic", "Automatic"), ("uniform", "Uniform"), ("karras", "Karras"), ("exponential", "Exponential"),
            ("polyexponential", "Polyexponential"), ("sgm_uniform", "SGM Uniform"), ("kl_optimal", "KL Optimal"),
            ("align_your_steps", "Align Your Steps"), ("simple", "Simple"), ("normal", "Normal"), ("ddim", "DDIM"), ("beta", "Beta"),
        ),
    ),
    HostTraits(
        name="forge", forge=True, new_backend=True,
        sampler_labels=(
            "DPM++ 2M", "DPM++ SDE", "DPM++ 2M SDE", "DPM++ 2M SDE Heun", "DPM++ 2S a", "DPM++ 3M SDE", "Euler a", "Euler", "LMS",
            "Heun", "DPM2", "DPM2 a", "DPM fast", "DPM adaptive", "Restart", "HeunPP2", "IPNDM", "IPNDM_V", "DEIS", "DDIM", "DDIM CFG++",
            "PLMS", "UniPC", "LCM",
        ),
        scheduler_labels=(
            ("automatic", "Automatic"), ("uniform", "Uniform"), ("karras", "Karras"), ("exponential", "Exponential"),
            ("polyexponential", "Polyexponential"), ("sgm_uniform", "SGM Uniform"), ("kl_optimal", "KL Optimal"),
            ("align_your_steps", "Align Your Steps"), ("simple", "Simple"), ("normal", "Normal"), ("ddim", "DDIM"), ("beta", "Beta"),
            ("turbo", "Turbo"), ("align_your_steps_GITS", "Align Your Steps GITS"), ("align_your_steps_11", "Align Your Steps 11"),
            ("align_your_steps_32", "Align Your Steps 32"),
        ),
    ),
    HostTraits(
        name="reforge", forge=True, reforge=True,
        sampler_labels=(
            "DPM++ 2M", "DPM++ SDE", "DPM++ 2M SDE", "DPM++ 2M SDE Heun", "DPM++ 2S a", "DPM++ 3M SDE", "Euler a", "Euler A2", "Euler",
            "LMS", "Heun", "DPM2", "DPM2 a", "DPM fast", "DPM adaptive", "Restart", "Euler Dy", "Euler SMEA Dy", "Euler Negative",
            "Euler Negative Dy", "DDIM", "PLMS", "UniPC", "LCM",
        ),
        scheduler_labels=(
            ("automatic", "Automatic"), ("karras", "Karras"), ("exponential", "Exponential"), ("polyexponential", "Polyexponential"),
            ("sinusoidal_sf", "Sinusoidal SF"), ("invcosinusoidal_sf", "Invcosinusoidal SF"),
            ("react_cosinusoidal_dynsf", "React Cosinusoidal DynSF"), ("uniform", "Uniform"), ("sgm_uniform", "SGM Uniform"),
            ("kl_optimal", "KL Optimal"), ("simple", "Simple"), ("normal", "Normal"), ("ddim", "DDIM"),
            ("align_your_steps", "Align Your Steps"), ("align_your_steps_custom", "Align Your Steps Custom"), ("beta", "Beta"),
            ("turbo", "Turbo"), ("cosine", "Cosine"), ("cosine-exponential blend", "Cosine-exponential Blend"), ("phi", "Phi"),
            ("laplace", "Laplace"), ("karras dynamic", "Karras Dynamic"), ("align_your_steps_GITS", "Align Your Steps GITS"),
            ("align_your_steps_11", "Align Your Steps 11"), ("align_your_steps_32", "Align Your Steps 32"),
        ),
    ),
    HostTraits(
        name="forge-classic", forge=True, classic=True,
        sampler_labels=(
            "DPM++ 2M Karras", "DPM++ SDE Karras", "DPM++ 2M SDE Exponential", "DPM++ 2M SDE Karras", "Euler a", "Euler", "LMS", "Heun",
            "DPM2", "DPM2 a", "DPM++ 2S a", "DPM++ 2M", "DPM++ SDE", "DPM++ 2M SDE", "DPM++ 2M SDE Heun", "DPM++ 2M SDE Heun Karras",
            "DPM++ 2M SDE Heun Exponential", "DPM++ 3M SDE", "DPM++ 3M SDE Karras", "DPM++ 3M SDE Exponential", "DPM fast",
            "DPM adaptive", "LMS Karras", "DPM2 Karras", "DPM2 a Karras", "DPM++ 2S a Karras", "Restart", "DDIM", "PLMS", "UniPC", "LCM",
        ),
    ),
    HostTraits(
        name="forge-neo", forge=True, new_backend=True, neo=True,
        sampler_labels=(
            "DPM++ 2M", "DPM++ SDE", "DPM++ 2M SDE", "DPM++ 3M SDE", "Euler a", "Euler", "ER SDE", "LCM", "LMS", "Heun", "DPM2",
            "Res Multistep", "Kohaku LoNyu Yog", "Restart", "UniPC", "DDIM", "PLMS",
        ),
        scheduler_labels=(
            ("automatic", "Automatic"), ("karras", "Karras"), ("exponential", "Exponential"), ("polyexponential", "Polyexponential"),
            ("normal", "Normal"), ("simple", "Simple"), ("uniform", "Uniform"), ("sgm_uniform", "SGM Uniform"),
            ("linear_quadratic", "Linear Quadratic"), ("kl_optimal", "KL Optimal"), ("ddim", "DDIM"),
            ("align_your_steps", "Align Your Steps"), ("beta", "Beta"), ("turbo", "Turbo"), ("bong_tangent", "Bong Tangent"),
            ("flow_match", "FlowMatchEulerDiscrete"), ("flux2", "Flux2"),
        ),
    ),
)

HOSTS: dict[str, HostTraits] = {host.name: host for host in _ALL}
"""Every host that the stand-in can play, by name."""
