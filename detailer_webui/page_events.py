"""What differs between gradio 3 and 4 where a page is wired: scripts of the browser, buttons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

_JS = "js" if int(gr.__version__.split(".")[0]) >= 4 else "_js"


def in_browser(listen: Any, script: str, *, inputs: Sequence[Any] = (), outputs: Sequence[Any] = ()) -> None:
    """Run a function of the browser on an event; nothing is sent to the server. listen: an event of a component, such as `button.click`."""
    listen(fn=None, inputs=list(inputs), outputs=list(outputs), show_progress="hidden", **{_JS: script})


def on_server(listen: Any, handler: Any, *, inputs: Sequence[Any] = (), outputs: Sequence[Any] = (), before: str = "", after: str = "") -> None:
    """Run a handler on an event. before: a function of the browser that makes the inputs; after: one that gets the outputs.

    The handler must not raise: gradio 3 would say nothing but "Error". It answers soon, and so takes no place in the queue: gradio 3 never
    lets go of the connection of a page that is left meanwhile, and the host then waits for it forever when the UI is to be reloaded.
    """
    done = listen(fn=handler, inputs=list(inputs), outputs=list(outputs), show_progress="hidden", api_name=False, queue=False,
                  **({_JS: before} if before else {}))
    if after:
        in_browser(done.then, after, inputs=outputs)


def small_button(text: str, elem_id: str, *, hidden: bool = False, usable: bool = True) -> Any:
    """A small button that the host does not list among the page's defaults. hidden: only scripts of the browser press it."""
    classes = ["detailer-hidden"] if hidden else ["detailer-button"]
    return page_only(gr.Button(value=text, size="sm", elem_id=elem_id, elem_classes=classes, scale=0, min_width=0, interactive=usable))


def page_only(component: Any) -> Any:
    """The component, kept out of the host's file of page defaults."""
    component.do_not_save_to_config = True
    return component
