"""Engine `diffusers`: redraws with models of the package diffusers, without a WebUI. Imported only when it is asked for."""
