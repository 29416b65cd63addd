"""Plays the second half of `modules.scripts`: the runner that builds scripts' pages and calls their callbacks."""

import os

import gradio as gr
from modules import errors, script_callbacks
from modules._script_base import AlwaysVisible, OnComponent, Script
from modules._standin import _world


def wrap_call(func, filename, funcname, *args, default=None, **kwargs):
    """What the function returns; an error is reported and the default returned."""
    try:
        return func(*args, **kwargs)
    except Exception:
        errors.report(f"Error calling: {filename}/{funcname}", exc_info=True)
    return default


class ScriptRunner:
    """The scripts of one tab. A callback that raises is reported and does not disturb the others."""

    def __init__(self):
        """Keeps what it is given."""
        self.scripts = []
        self.selectable_scripts = []
        self.alwayson_scripts = []
        self.titles = []
        self.title_map = {}
        self.infotext_fields = []
        self.paste_field_names = []
        self.inputs = [None]
        if not _world.host.classic:
            self.callback_map = {}
        self.on_before_component_elem_id = {}
        self.on_after_component_elem_id = {}

    def initialize_scripts(self, is_img2img):
        """Makes an instance of every known script for this tab."""
        from modules import scripts

        for found in (self.scripts, self.alwayson_scripts, self.selectable_scripts):
            found.clear()
        for data in scripts.scripts_data:
            try:
                script = data.script_class()
            except Exception:
                errors.report(f"Error # failed to initialize Script {data.module}: ", exc_info=True)
                continue
            self._admit(script, data.path, is_img2img)
        if not _world.host.classic:
            self.callback_map.clear()
        self.apply_on_before_component_callbacks()

    def _admit(self, script, path, is_img2img):
        script.filename, script.is_txt2img, script.is_img2img = path, not is_img2img, is_img2img
        script.tabname = "img2img" if is_img2img else "txt2img"
        visibility = script.show(script.is_img2img)
        if not visibility:
            return
        self.scripts.append(script)
        script.alwayson = visibility == AlwaysVisible
        (self.alwayson_scripts if script.alwayson else self.selectable_scripts).append(script)

    def apply_on_before_component_callbacks(self):
        """Collects the functions that scripts registered for components."""
        for script in self.scripts:
            for known, own in ((self.on_before_component_elem_id, script.on_before_component_elem_id or []),
                               (self.on_after_component_elem_id, script.on_after_component_elem_id or [])):
                for elem_id, callback in own:
                    known.setdefault(elem_id, []).append((callback, script))
                own.clear()

    def create_script_ui(self, script):
        """Builds one script's part of the page; an error is reported."""
        script.args_from = script.args_to = len(self.inputs)
        try:
            self.create_script_ui_inner(script)
        except Exception:
            errors.report(f"Error creating UI for {script.name}: ", exc_info=True)

    def create_script_ui_inner(self, script):
        """Builds one script's part of the page, and its description for the API."""
        controls = wrap_call(script.ui, script.filename, "ui", script.is_img2img)
        script.controls = controls
        if controls is None:
            return
        script.name = wrap_call(script.title, script.filename, "title", default=script.filename).lower()
        script.api_info = _describe(script, controls)
        self.infotext_fields += script.infotext_fields or []
        self.paste_field_names += script.paste_field_names or []
        self.inputs += controls
        script.args_to = len(self.inputs)

    def setup_ui_for_section(self, section, scriptlist=None):
        """Builds the scripts of one section of the page."""
        for script in self.alwayson_scripts if scriptlist is None else scriptlist:
            if script.alwayson and script.section != section:
                continue
            if not script.create_group:
                self.create_script_ui(script)
                continue
            with gr.Group(visible=script.alwayson) as group:
                self.create_script_ui(script)
            script.group = group

    def prepare_ui(self):
        """Starts a page."""
        self.inputs = [None]

    def setup_ui(self):
        """The inputs of the page: the list of scripts first, then every script's components."""
        titles = [wrap_call(script.title, script.filename, "title") or script.filename for script in self.scripts]
        self.title_map = {title.lower(): script for title, script in zip(titles, self.scripts, strict=True)}
        self.titles = [wrap_call(script.title, script.filename, "title") or "[error]" for script in self.selectable_scripts]
        self.setup_ui_for_section(None)
        self.inputs[0] = gr.Dropdown(label="Script", choices=["None", *self.titles], value="None", type="index")
        self.setup_ui_for_section(None, self.selectable_scripts)
        self.script_load_ctr = 0
        self.apply_on_before_component_callbacks()
        return self.inputs

    def run(self, p, *args):
        """What the selected script returns; None if none is selected."""
        if not args[0]:
            return None
        script = self.selectable_scripts[args[0] - 1]
        return script.run(p, *args[script.args_from:script.args_to])

    def script(self, title):
        """The script with that title, or None."""
        return self.title_map.get(title.lower())

    def _overriding(self, method_name):
        """The scripts that have the callback; cached by the number of scripts, as on the hosts (not on Classic)."""
        scripts = self.scripts if method_name in ("before_component", "after_component") else self.alwayson_scripts
        if _world.host.classic:
            return [script for script in scripts if _overrides(script, method_name)]
        category = f"script_{method_name}"
        count, entries = self.callback_map.get(category, (-1, None))
        if entries is None or count != len(scripts):
            entries = [script_callbacks.ScriptCallback(script.filename, script, type(script).__name__)
                       for script in scripts if _overrides(script, method_name)]
            self.callback_map[category] = len(scripts), entries
        return [entry.callback for entry in entries]

    if not _world.host.classic:
        def ordered_scripts(self, method_name):
            """The scripts that have the callback."""
            return self._overriding(method_name)

    def _each(self, method_name, p, *before, **kwargs):
        for script in self._overriding(method_name):
            try:
                getattr(script, method_name)(p, *before, *p.script_args[script.args_from:script.args_to], **kwargs)
            except Exception:
                errors.report(f"Error running {method_name}: {script.filename}", exc_info=True)

    def before_process(self, p):
        """Calls the callback of every script."""
        self._each("before_process", p)

    def process(self, p):
        """Calls the callback of every script."""
        self._each("process", p)

    def process_before_every_sampling(self, p, **kwargs):
        """Calls the callback of every script."""
        self._each("process_before_every_sampling", p, **kwargs)

    def before_process_batch(self, p, **kwargs):
        """Calls the callback of every script."""
        self._each("before_process_batch", p, **kwargs)

    def after_extra_networks_activate(self, p, **kwargs):
        """Calls the callback of every script."""
        self._each("after_extra_networks_activate", p, **kwargs)

    def process_batch(self, p, **kwargs):
        """Calls the callback of every script."""
        self._each("process_batch", p, **kwargs)

    def postprocess(self, p, processed):
        """Calls the callback of every script."""
        self._each("postprocess", p, processed)

    def postprocess_batch(self, p, images, **kwargs):
        """Calls the callback of every script."""
        self._each("postprocess_batch", p, images=images, **kwargs)

    def postprocess_batch_list(self, p, pp, **kwargs):
        """Calls the callback of every script."""
        self._each("postprocess_batch_list", p, pp, **kwargs)

    def post_sample(self, p, ps):
        """Calls the callback of every script."""
        self._each("post_sample", p, ps)

    def on_mask_blend(self, p, mba):
        """Calls the callback of every script."""
        self._each("on_mask_blend", p, mba)

    def postprocess_image(self, p, pp):
        """Calls the callback of every script."""
        self._each("postprocess_image", p, pp)

    def postprocess_maskoverlay(self, p, ppmo):
        """Calls the callback of every script."""
        self._each("postprocess_maskoverlay", p, ppmo)

    def postprocess_image_after_composite(self, p, pp):
        """Calls the callback of every script."""
        self._each("postprocess_image_after_composite", p, pp)

    def before_hr(self, p):
        """Calls the callback of every script."""
        self._each("before_hr", p)

    def setup_scrips(self, p, *, is_ui=True):
        """Calls `setup` of every script, but on API calls not of those that want it for the page only."""
        for script in self._overriding("setup"):
            if not is_ui and script.setup_for_ui_only:
                continue
            try:
                script.setup(p, *p.script_args[script.args_from:script.args_to])
            except Exception:
                errors.report(f"Error running setup: {script.filename}", exc_info=True)

    def before_component(self, component, **kwargs):
        """Calls the callback of every script, and what was registered for this component."""
        self._around_component("before_component", self.on_before_component_elem_id, component, kwargs)

    def after_component(self, component, **kwargs):
        """Calls the callback of every script, and what was registered for this component."""
        self._around_component("after_component", self.on_after_component_elem_id, component, kwargs)

    def _around_component(self, method_name, registered, component, kwargs):
        for callback, script in registered.get(kwargs.get("elem_id"), []):
            wrap_call(callback, script.filename, f"on_{method_name}", OnComponent(component=component))
        for script in self._overriding(method_name):
            wrap_call(getattr(script, method_name), script.filename, method_name, component, **kwargs)


def _overrides(script, method_name):
    return getattr(type(script), method_name, None) is not getattr(Script, method_name, None)


def _describe(script, controls):
    """The API's description of a script and its arguments."""
    from modules.api import models

    args = []
    for control in controls:
        control.custom_script_source = os.path.basename(script.filename)
        info = models.ScriptArg(label=control.label or "")
        for field in ("value", "minimum", "maximum", "step"):
            if getattr(control, field, None) is not None:
                setattr(info, field, getattr(control, field))
        choices = getattr(control, "choices", None)
        if choices is not None:
            info.choices = [choice[0] if isinstance(choice, tuple) else choice for choice in choices]
        args.append(info)
    return models.ScriptInfo(name=script.name, is_img2img=script.is_img2img, is_alwayson=script.alwayson, args=args)
