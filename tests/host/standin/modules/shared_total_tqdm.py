"""Plays `modules.shared_total_tqdm`: the progress bar of the whole job, without a console."""


class TotalTQDM:
    """Keeps how many steps are expected and done in `_tqdm` (total, done); None before the first update."""

    def __init__(self):
        """Keeps what it is given."""
        self._tqdm = None

    def reset(self):
        """Starts the bar with the steps that the state expects."""
        from modules import shared

        self._tqdm = [shared.state.job_count * shared.state.sampling_steps, 0]

    def update(self):
        """Counts one step, if the option `multiple_tqdm` is on."""
        from modules import shared

        if not shared.opts.multiple_tqdm:
            return
        if self._tqdm is None:
            self.reset()
        self._tqdm[1] += 1

    def updateTotal(self, new_total):
        """Sets how many steps are expected."""
        from modules import shared

        if shared.opts.multiple_tqdm:
            self._tqdm = [new_total, self._tqdm[1] if self._tqdm else 0]

    def clear(self):
        """Removes the bar."""
        self._tqdm = None
