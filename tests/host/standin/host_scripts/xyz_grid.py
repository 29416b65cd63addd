"""Plays the hosts' own script `scripts/xyz_grid.py`: one axis of values at most in each direction, a picture for each combination.

A test copies it beside an extension's script file. Simpler than on the hosts: no grid is drawn, and no legend; the pictures come one by one.
"""

import csv
import re
from copy import copy
from io import StringIO
from itertools import chain

import gradio as gr
from modules import errors, processing, scripts, shared
from modules.processing import Processed, process_images

re_range = re.compile(r"\s*([+-]?\s*\d+)\s*-\s*([+-]?\s*\d+)(?:\s*\(([+-]\d+)\s*\))?\s*")


def apply_field(field):
    """A function that sets a field of a job."""
    def fun(p, x, xs):
        setattr(p, field, x)

    return fun


def do_nothing(p, x, xs):
    """Leaves a job as it is."""


def format_value_add_label(p, opt, x):
    """What the legend says of a value."""
    return f"{opt.label}: {round(x, 8) if type(x) is float else x}"


def csv_string_to_list_strip(data_str):
    """The values of a text that are separated by commas."""
    return list(map(str.strip, chain.from_iterable(csv.reader(StringIO(data_str), skipinitialspace=True))))


class AxisOption:
    """Something that can differ from picture to picture."""

    def __init__(self, label, type, apply, format_value=format_value_add_label, confirm=None, cost=0.0, choices=None, prepare=None):
        """Keeps what it is given."""
        self.label = label
        self.type = type
        self.apply = apply
        self.format_value = format_value
        self.confirm = confirm
        self.cost = cost
        self.prepare = prepare
        self.choices = choices


axis_options = [AxisOption("Nothing", str, do_nothing), AxisOption("Seed", int, apply_field("seed")),
                AxisOption("CFG Scale", float, apply_field("cfg_scale"))]


class Script(scripts.Script):
    """The entry in the page's list of scripts."""

    def title(self):
        """The name in the list."""
        return "X/Y/Z plot"

    def ui(self, is_img2img):
        """The type and the values of each axis; the host has more."""
        self.current_axis_options = [x for x in axis_options if type(x) is AxisOption or x.is_img2img == is_img2img]
        labels = [x.label for x in self.current_axis_options]
        made = []
        for axis in "xyz":
            made += [gr.Dropdown(label=f"{axis.upper()} type", choices=labels, value=labels[0], type="index"),
                     gr.Textbox(label=f"{axis.upper()} values"), gr.Dropdown(label=f"{axis.upper()} values", multiselect=True, visible=False)]
        return made

    def run(self, p, x_type, x_values, x_values_dropdown, y_type=0, y_values="", y_values_dropdown=None, z_type=0, z_values="",
            z_values_dropdown=None, csv_mode=False):
        """The pictures of all combinations. Raises: what an axis raises for values that it does not take."""
        processing.fix_seed(p)
        asked = ((x_type, x_values, x_values_dropdown), (y_type, y_values, y_values_dropdown), (z_type, z_values, z_values_dropdown))
        axes = [(self.current_axis_options[kind], _values(p, self.current_axis_options[kind], text, chosen, csv_mode))
                for kind, text, chosen in asked]
        (x_opt, xs), (y_opt, ys), (z_opt, zs) = axes
        result = Processed(p, [])
        result.images, result.infotexts = [], []
        for z in zs:
            for y in ys:
                for x in xs:
                    cell = self._cell(p, ((x_opt, x, xs), (y_opt, y, ys), (z_opt, z, zs)))
                    result.images += cell.images[:1]
                    result.infotexts += cell.infotexts[:1]
        return result

    def _cell(self, p, choice):
        if shared.state.interrupted or shared.state.stopping_generation:
            return Processed(p, [], p.seed, "")
        pc = copy(p)
        pc.styles = pc.styles[:]
        for opt, value, values in choice:
            opt.apply(pc, value, values)
        try:
            return process_images(pc)
        except Exception:
            errors.report("generating image for xyz plot", exc_info=True)
            return Processed(p, [], p.seed, "")


def _values(p, opt, text, chosen, csv_mode):
    if opt.label == "Nothing":
        return [0]
    values = chosen if opt.choices is not None and not csv_mode else csv_string_to_list_strip(text)
    if opt.type is int:
        values = list(chain.from_iterable(_range(value) for value in values if str(value).strip()))
    elif opt.type is float:
        values = [value for value in values if str(value).strip()]
    values = [opt.type(value) for value in values]
    if opt.confirm:
        opt.confirm(p, values)
    return values


def _range(value):
    found = re_range.fullmatch(str(value))
    return range(int(found[1]), int(found[2]) + 1, int(found[3] or 1)) if found else [value]
