"""Plays `modules.shared_state`: what the host is doing, and what it was asked to stop."""


class State:
    """Progress and interruption of the running job."""

    skipped = False
    interrupted = False
    stopping_generation = False
    job = ""
    job_no = 0
    job_count = 0
    processing_has_refined_job_count = False
    job_timestamp = "0"
    sampling_step = 0
    sampling_steps = 0
    current_latent = None
    current_image = None
    current_image_sampling_step = 0
    id_live_preview = 0
    textinfo = None
    time_start = None
    server_start = None

    def skip(self):
        """Asks to go on with the next picture."""
        self.skipped = True

    def interrupt(self):
        """Asks to end the job."""
        self.interrupted = True

    def stop_generating(self):
        """Asks to end the job after the current picture."""
        self.stopping_generation = True

    def nextjob(self):
        """Counts one finished part of the job."""
        self.job_no += 1
        self.sampling_step = 0
        self.current_image_sampling_step = 0

    def dict(self):
        """The progress as the API shows it."""
        names = ("skipped", "interrupted", "stopping_generation", "job", "job_count", "job_timestamp", "job_no", "sampling_step",
                 "sampling_steps")
        return {name: getattr(self, name) for name in names}

    def begin(self, job: str = "(unknown)"):
        """Starts a job: everything is as new, the number of its parts is not known."""
        for name in ("skipped", "interrupted", "stopping_generation", "processing_has_refined_job_count"):
            setattr(self, name, False)
        for name in ("job_no", "sampling_step", "current_image_sampling_step", "id_live_preview"):
            setattr(self, name, 0)
        self.current_latent = self.current_image = self.textinfo = None
        self.job, self.job_count, self.job_timestamp, self.time_start = job, -1, "20200101000000", 0.0

    def end(self):
        """Ends the job."""
        self.job, self.job_count = "", 0

    def set_current_image(self):
        """Would make a live preview; does nothing."""

    def assign_current_image(self, image):
        """Sets the live preview."""
        self.current_image = image
        self.id_live_preview += 1
