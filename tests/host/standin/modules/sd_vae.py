"""Plays `modules.sd_vae`: no separate VAE is loaded."""

vae_dict = {}
loaded_vae_file = None


def get_loaded_vae_name():
    """None: the checkpoint's own VAE is in use."""
    return loaded_vae_file


def get_loaded_vae_hash():
    """None: the checkpoint's own VAE is in use."""
    return None


def refresh_vae_list():
    """Finds no VAE files."""
    vae_dict.clear()
