"""Plays `modules.sd_samplers_cfg_denoiser`: one step of guidance."""

from modules._cfg_denoiser import CFGDenoiser

__all__ = ["CFGDenoiser"]
