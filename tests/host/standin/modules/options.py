"""Plays `modules.options`: the settings of the host."""

import json
from typing import ClassVar

from modules._standin import _world


class OptionInfo:
    """One setting: its default, label and component."""

    def __init__(self, default=None, label="", component=None, component_args=None, onchange=None, section=None, refresh=None,
                 comment_before="", comment_after="", infotext=None, restrict_api=False, category_id=None):
        """Keeps what it is given."""
        self.default = default
        self.label = label
        self.component = component
        self.component_args = component_args
        self.onchange = onchange
        self.section = section
        self.refresh = refresh
        self.comment_before = comment_before
        self.comment_after = comment_after
        self.infotext = infotext
        self.restrict_api = restrict_api
        self.category_id = category_id
        self.do_not_save = False

    def link(self, label, url):
        """The same option with a link behind it."""
        self.comment_before += f"[<a href='{url}'>{label}</a>]"
        return self

    def info(self, info):
        """The same option with a remark behind it."""
        self.comment_after += f"<span class='info'>({info})</span>"
        return self

    def html(self, html):
        """The same option with HTML behind it."""
        self.comment_after += html
        return self

    def needs_restart(self):
        """The same option with the remark that it needs a restart."""
        return self.info("requires restart")

    def needs_reload_ui(self):
        """The same option with the remark that the page must be reloaded."""
        return self.info("requires Reload UI")


class OptionHTML(OptionInfo):
    """Text between the settings."""

    def __init__(self, text):
        """Keeps what it is given."""
        super().__init__(str(text).strip(), label="")
        self.do_not_save = True


def options_section(section_identifier, options_dict):
    """The options, each put into a section given as `(id, title)` or `(id, title, category)`."""
    for info in options_dict.values():
        info.section = tuple(section_identifier[:2])
        info.category_id = section_identifier[2] if len(section_identifier) > 2 else None
    return options_dict


class Options:
    """The settings: attributes read and written as `opts.key`; an unknown key raises AttributeError."""

    typemap: ClassVar[dict] = {int: float}

    def __init__(self, data_labels: dict, restricted_opts):
        """Keeps what it is given."""
        vars(self).update(data_labels=data_labels, restricted_opts=restricted_opts,
                          data={key: info.default for key, info in data_labels.items() if not info.do_not_save})

    def __setattr__(self, key, value):
        """Sets an option; what is none becomes a plain attribute."""
        if key in self.data or key in self.data_labels:
            self.data[key] = value
        else:
            super().__setattr__(key, value)

    def __getattr__(self, item):
        """The value of an option; AttributeError if there is none."""
        if item in self.data:
            return self.data[item]
        if item in self.data_labels:
            return self.data_labels[item].default
        raise AttributeError(f"host {_world.host.name!r} has no option {item!r} (or the stand-in's option_table.py lacks it)")

    def set(self, key, value, is_api=False, run_callbacks=True):
        """Whether the option changed; its callback is run."""
        if key in self.data and self.data[key] == value:
            return False
        setattr(self, key, value)
        onchange = self.data_labels[key].onchange if key in self.data_labels else None
        if run_callbacks and onchange is not None:
            onchange()
        return True

    def get_default(self, key):
        """The default of an option, or None if there is no such option."""
        return self.data_labels[key].default if key in self.data_labels else None

    def onchange(self, key, func, call=True):
        """Registers a function to be called when the option changes."""
        self.data_labels[key].onchange = func
        if call:
            func()

    def save(self, filename):
        """Writes the options as JSON."""
        with open(filename, "w", encoding="utf8") as file:
            json.dump(self.data, file, indent=4)

    def load(self, filename):
        """Reads the options from JSON."""
        with open(filename, encoding="utf8") as file:
            self.data.update(json.load(file))

    def add_option(self, key, info):
        """Registers an option of an extension."""
        self.data_labels[key] = info
        if key not in self.data and not info.do_not_save:
            self.data[key] = info.default
