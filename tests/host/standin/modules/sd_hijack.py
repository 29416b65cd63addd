"""Plays what extensions use of `modules.sd_hijack` (not there on Forge's new backend): `model_hijack` counts tokens."""


class _ModelHijack:
    """Counts tokens, and collects remarks of the text encoder."""

    def __init__(self):
        """Starts without remarks."""
        self.comments = []
        self.extra_generation_params = {}

    def get_prompt_lengths(self, text):
        """The number of tokens of a prompt, and what it is filled up to."""
        from modules import shared

        return shared.sd_model.cond_stage_model.prompt_lengths(text)

    def clear_comments(self):
        """Forgets the remarks."""
        self.comments = []
        self.extra_generation_params = {}


model_hijack = _ModelHijack()
