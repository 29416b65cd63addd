"""The options that the stand-in knows, with each host's default; the rest of a host's settings has nothing to do with pictures."""

from __future__ import annotations

from typing import Any

_DEFAULTS: dict[str, Any] = {
    "samples_save": True, "samples_format": "png", "samples_filename_pattern": "", "grid_save": True, "grid_format": "png",
    "grid_only_if_multiple": True, "grid_extended_filename": False, "n_rows": -1, "enable_pnginfo": True, "save_txt": False,
    "save_mask": False, "save_mask_composite": False, "return_mask": False, "return_mask_composite": False, "return_grid": True,
    "save_init_img": False, "save_incomplete_images": False, "save_images_before_face_restoration": False,
    "save_images_before_highres_fix": False, "save_images_before_color_correction": False, "jpeg_quality": 80, "face_restoration": False,
    "face_restoration_model": "CodeFormer", "code_former_weight": 0.5, "multiple_tqdm": True, "samples_log_stdout": False,
    "show_warnings": False, "sd_model_checkpoint": None, "sd_vae": "Automatic", "CLIP_stop_at_last_layers": 1, "randn_source": "GPU",
    "tiling": False, "emphasis": "Original", "sdxl_crop_top": 0, "sdxl_crop_left": 0, "comma_padding_backtrack": 20,
    "upcast_attn": False, "sd_checkpoint_hash": "", "sd_unet": "Automatic", "enable_batch_seeds": True, "sd_vae_encode_method": "Full",
    "sd_vae_decode_method": "Full", "auto_vae_precision": True, "auto_vae_precision_bfloat16": False, "inpainting_mask_weight": 1.0,
    "initial_noise_multiplier": 1.0, "img2img_extra_noise": 0.0, "img2img_color_correction": False, "img2img_fix_steps": False,
    "img2img_background_color": "#ffffff", "overlay_inpaint": True, "upscaler_for_img2img": None, "s_min_uncond": 0.0,
    "s_min_uncond_all": False, "token_merging_ratio": 0.0, "token_merging_ratio_img2img": 0.0, "token_merging_ratio_hr": 0.0,
    "pad_cond_uncond": False, "pad_cond_uncond_v0": False, "persistent_cond_cache": True, "batch_cond_uncond": True,
    "fp8_storage": "Disable", "cache_fp16_weight": False, "use_old_scheduling": False, "use_old_hires_fix_width_height": False,
    "hires_fix_use_firstpass_conds": False, "no_dpmpp_sde_batch_determinism": False, "use_old_karras_scheduler_sigmas": False,
    "add_model_name_to_info": True, "add_model_hash_to_info": True, "add_vae_name_to_info": True, "add_vae_hash_to_info": True,
    "add_user_name_to_info": False, "add_version_to_infotext": True, "infotext_skip_pasting": [], "infotext_styles": "Apply if any",
    "disable_weights_auto_swap": True, "show_progressbar": True, "live_previews_enable": True, "live_previews_image_format": "png",
    "show_progress_grid": True, "show_progress_every_n_steps": 10, "show_progress_type": "Approx NN", "live_preview_content": "Prompt",
    "live_preview_refresh_period": 1000, "live_preview_fast_interrupt": False, "interrupt_after_current": True, "hide_samplers": [],
    "eta_ddim": 0.0, "eta_ancestral": 1.0, "ddim_discretize": "uniform", "s_churn": 0.0, "s_tmin": 0.0, "s_tmax": 0.0, "s_noise": 1.0,
    "sigma_min": 0.0, "sigma_max": 0.0, "rho": 0.0, "eta_noise_seed_delta": 0, "always_discard_next_to_last_sigma": False,
    "sgm_noise_multiplier": False, "sd_noise_schedule": "Default", "skip_early_cond": 0.0, "extra_networks_default_multiplier": 1.0,
    "extra_networks_add_text_separator": " ", "samplers_in_dropdown": True, "hires_fix_show_sampler": False,
    "hires_fix_show_prompts": False, "localization": "None", "ui_reorder_list": [], "ui_tab_order": [], "hidden_tabs": [],
    "gradio_theme": "Default", "txt2img_settings_accordion": False, "img2img_settings_accordion": False, "compact_prompt_box": False,
    "enable_console_prompts": False, "disabled_extensions": [], "disable_all_extensions": "none",
    "sdxl_refiner_low_aesthetic_score": 2.5,
}

_DIFFERENCES: dict[str, dict[str, Any]] = {
    "forge-classic": {
        "fp8_storage": False, "live_previews_image_format": "jpeg", "show_progress_type": "TAESD",
    },
    "forge-neo": {
        "grid_format": "jpg", "jpeg_quality": 85, "sd_model_checkpoint": "", "CLIP_stop_at_last_layers": 2, "randn_source": "CPU",
        "comma_padding_backtrack": 16, "img2img_background_color": "#808080", "upscaler_for_img2img": "None",
        "live_previews_image_format": "jpeg", "show_progress_every_n_steps": 1, "show_progress_type": "RGB",
        "live_preview_refresh_period": 500, "interrupt_after_current": False,
    },
}

_ABSENT: dict[str, frozenset[str]] = {
    "forge-classic": frozenset((
        "s_min_uncond_all", "pad_cond_uncond", "pad_cond_uncond_v0", "batch_cond_uncond", "cache_fp16_weight",
    )),
    "forge-neo": frozenset((
        "upcast_attn", "enable_batch_seeds", "auto_vae_precision", "auto_vae_precision_bfloat16", "pad_cond_uncond",
        "pad_cond_uncond_v0", "batch_cond_uncond", "fp8_storage", "cache_fp16_weight", "use_old_scheduling",
        "no_dpmpp_sde_batch_determinism", "use_old_karras_scheduler_sigmas", "add_vae_name_to_info", "add_vae_hash_to_info",
        "live_preview_content", "samplers_in_dropdown", "compact_prompt_box",
    )),
}

_OUTPUT_FOLDERS = {
    "outdir_samples": "", "outdir_grids": "", "outdir_txt2img_samples": "txt2img-images", "outdir_img2img_samples": "img2img-images",
    "outdir_extras_samples": "extras-images", "outdir_txt2img_grids": "txt2img-grids", "outdir_img2img_grids": "img2img-grids",
    "outdir_init_images": "init-images",
}


def option_defaults(host: str, output_folder: str) -> dict[str, Any]:
    """The options of a host by key, with its defaults; pictures go below `output_folder`."""
    values = {**_DEFAULTS, **_DIFFERENCES.get(host, {})}
    for key in _ABSENT.get(host, frozenset()):
        del values[key]
    folders = {key: f"{output_folder}/{name}" if name else "" for key, name in _OUTPUT_FOLDERS.items()}
    return {**values, **folders}
