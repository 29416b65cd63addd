"""The host adapter: the only package that imports `modules`, gradio and fastapi."""
