"""Plays `modules.ui_components`: the host's gradio components, on gradio 3 and 4."""

import functools
import inspect

import gradio as gr
from modules._standin import _world

_FORM = getattr(gr.components, "Form", None) or gr.layouts.Form
_JS = "js" if "js" in inspect.signature(gr.Checkbox(render=False).change).parameters else "_js"


class FormComponent:
    """A component that may stand in a form."""

    def get_expected_parent(self):
        """The class of a form."""
        return _FORM


if _world.host.new_backend:
    class ToolButton(gr.Button, FormComponent):
        """A small button."""

        def __init__(self, value="", *args, elem_classes=None, **kwargs):
            """Keeps what it is given."""
            super().__init__(value, *args, elem_classes=["tool", *(elem_classes or [])], **kwargs)

        def get_block_name(self):
            """The name of the component that gradio's page knows."""
            return "button"
else:
    class ToolButton(FormComponent, gr.Button):
        """A small button."""

        def __init__(self, *args, **kwargs):
            """Keeps what it is given."""
            super().__init__(*args, elem_classes=["tool", *kwargs.pop("elem_classes", [])], **kwargs)

        def get_block_name(self):
            """The name of the component that gradio's page knows."""
            return "button"


class FormRow(gr.Row, FormComponent):
    """A row in a form."""

    def get_block_name(self):
        """The name of the component that gradio's page knows."""
        return "row"


class FormColumn(gr.Column, FormComponent):
    """A column in a form."""

    def get_block_name(self):
        """The name of the component that gradio's page knows."""
        return "column"


class FormGroup(gr.Group, FormComponent):
    """A group in a form."""

    def get_block_name(self):
        """The name of the component that gradio's page knows."""
        return "group"


class FormHTML(gr.HTML, FormComponent):
    """HTML in a form."""

    def get_block_name(self):
        """The name of the component that gradio's page knows."""
        return "html"


class DropdownMulti(gr.Dropdown, FormComponent):
    """A list of which several may be chosen."""

    def __init__(self, **kwargs):
        """Keeps what it is given."""
        super().__init__(multiselect=True, **kwargs)

    def get_block_name(self):
        """The name of the component that gradio's page knows."""
        return "dropdown"


class DropdownEditable(gr.Dropdown, FormComponent):
    """A list to which values may be added."""

    def __init__(self, **kwargs):
        """Keeps what it is given."""
        super().__init__(allow_custom_value=True, **kwargs)

    def get_block_name(self):
        """The name of the component that gradio's page knows."""
        return "dropdown"


def _set_up(box, value, kwargs):
    """Makes the accordion that follows a hidden checkbox, and returns nothing."""
    kind = type(box)
    box.accordion_id = kwargs.get("elem_id")
    if box.accordion_id is None:
        box.accordion_id = f"input-accordion-{kind.global_index}"
        kind.global_index += 1
    # The hosts make it invisible, which takes it out of the page with a later gradio 4 than theirs; here the page's style hides it.
    gr.Checkbox.__init__(box, value, **{**kwargs, "elem_id": f"{box.accordion_id}-checkbox", "elem_classes": ["standin-hidden"]})
    box.change(fn=None, inputs=[box], **{_JS: f'function(checked){{ inputAccordionChecked("{box.accordion_id}", checked); }}'})
    box.accordion = gr.Accordion(kwargs.get("label", "Accordion"), open=value, elem_id=box.accordion_id,
                                 elem_classes=["input-accordion"])


def _extra(box):
    """A column inside of the accordion's label."""
    return gr.Column(elem_id=f"{box.accordion_id}-extra", elem_classes="input-accordion-extra", min_width=0)


if _world.host.new_backend:
    class InputAccordionImpl(gr.Checkbox):
        """An accordion with a value: whether it is open."""

        global_index = 0

        @functools.wraps(gr.Checkbox.__init__)  # gradio asks the signature what to tell the browser
        def __init__(self, value=None, setup=False, **kwargs):
            """Keeps what it is given."""
            if setup:
                _set_up(self, value, kwargs)
            else:
                super().__init__(value=value, **kwargs)

        def extra(self):
            """A column inside of the accordion's label."""
            return _extra(self)

        def __enter__(self):
            """Opens the accordion for components."""
            self.accordion.__enter__()
            return self

        def __exit__(self, exc_type, exc_val, exc_tb):
            """Closes the accordion for components."""
            self.accordion.__exit__(exc_type, exc_val, exc_tb)

        def get_block_name(self):
            """The name of the component that gradio's page knows."""
            return "checkbox"

    def InputAccordion(value=None, **kwargs):
        """An accordion with a value: whether it is open. A function here, a class on A1111."""
        return InputAccordionImpl(value=value, setup=True, **kwargs)
else:
    class InputAccordion(gr.Checkbox):
        """An accordion with a value: whether it is open."""

        global_index = 0

        def __init__(self, value, **kwargs):
            """Keeps what it is given."""
            _set_up(self, value, kwargs)

        def extra(self):
            """A column inside of the accordion's label."""
            return _extra(self)

        def __enter__(self):
            """Opens the accordion for components."""
            self.accordion.__enter__()
            return self

        def __exit__(self, exc_type, exc_val, exc_tb):
            """Closes the accordion for components."""
            self.accordion.__exit__(exc_type, exc_val, exc_tb)

        def get_block_name(self):
            """The name of the component that gradio's page knows."""
            return "checkbox"
