"""Plays `modules.scripts`: loads extensions' script files and keeps their classes."""

import inspect
import sys
from collections import namedtuple

from modules import errors, extensions, paths, script_callbacks, script_loading
from modules._script_base import (
    AlwaysVisible,
    MaskBlendArgs,
    OnComponent,
    PostprocessBatchListArgs,
    PostprocessImageArgs,
    PostProcessMaskOverlayArgs,
    PostSampleArgs,
    Script,
)
from modules._script_runner import ScriptRunner, wrap_call

__all__ = ["AlwaysVisible", "MaskBlendArgs", "OnComponent", "PostProcessMaskOverlayArgs", "PostSampleArgs", "PostprocessBatchListArgs",
           "PostprocessImageArgs", "Script", "ScriptRunner", "wrap_call"]


class ScriptBuiltinUI(Script):
    """Base of the host's own scripts."""

    setup_for_ui_only = True

    def elem_id(self, item_id):
        """An HTML id from tab and item."""
        both_tabs = self.show(True) == self.show(False)
        return f"{'img2img_' if self.is_img2img else 'txt2img_'}{item_id}" if both_tabs else item_id


ScriptFile = namedtuple("ScriptFile", ["basedir", "filename", "path"])
ScriptClassData = namedtuple("ScriptClassData", ["script_class", "path", "basedir", "module"])
scripts_data = []
postprocessing_scripts_data = []
current_basedir = paths.script_path


def basedir():
    """The folder of the extension whose script is loading; else the host's."""
    return current_basedir


def list_scripts(scriptdirname, extension, *, include_extensions=True):
    """The script files of all active extensions, sorted by name."""
    return [file for ext in extensions.active() for file in ext.list_files(scriptdirname, extension)] if include_extensions else []


def load_scripts():
    """Runs every script file anew and keeps the subclasses of `Script` that its namespace has.

    The extension's folder is on `sys.path` only meanwhile. Registered callbacks of earlier loads are forgotten.
    """
    global scripts_txt2img, scripts_img2img
    scripts_data.clear()
    script_callbacks.clear_callbacks()
    for file in list_scripts("scripts", ".py"):
        _load(file)
    scripts_txt2img, scripts_img2img = ScriptRunner(), ScriptRunner()


def _load(file):
    global current_basedir
    search_path = sys.path
    try:
        sys.path = [file.basedir, *sys.path]
        current_basedir = file.basedir
        module = script_loading.load_module(file.path)
        for value in vars(module).values():
            if inspect.isclass(value) and issubclass(value, Script):
                scripts_data.append(ScriptClassData(value, file.path, file.basedir, module))
    except Exception:
        errors.report(f"Error loading script: {file.filename}", exc_info=True)
    finally:
        sys.path = search_path
        current_basedir = paths.script_path


scripts_txt2img = None
scripts_img2img = None
scripts_postproc = None
scripts_current = None
reload_scripts = load_scripts
