"""A played host's page, served: txt2img and img2img with Detailer's panel, its scripts and its style, as the hosts put them there.

    python tests/host/browser/page_server.py FOLDER [CSS]

FOLDER becomes the host's. When the page can be opened, its address is written to FOLDER/address.txt; each press of "Generate" adds a line of
JSON to FOLDER/received.jsonl. CSS: a style sheet of a host, to look at the page in its clothes. With REMEMBER in the environment, the setting
is on that the page begins with the last values. Runs until it is ended.
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
warnings.simplefilter("ignore")
HERE = Path(__file__).resolve()
REPOSITORY = HERE.parents[3]
sys.path[:0] = [str(HERE.parents[1]), str(REPOSITORY)]

import gradio as gr  # noqa: E402  # after its settings
import scenes  # noqa: E402
import standin  # noqa: E402
import torch  # noqa: E402

HOST = "forge" if int(gr.__version__.split(".")[0]) >= 4 else "a1111-1.10.1"
CLASSES = ("face", "left hand", "<b>")
TABS = ("txt2img", "img2img")


class PageServer:
    """The served page of one played host."""

    def __init__(self, stage: scenes.Stage, folder: Path) -> None:
        self.stage, self.folder, self.count = stage, folder, 0

    def build(self) -> gr.Blocks:
        """The page of both tabs."""
        fonts = [gr.themes.Font("sans-serif")]
        with gr.Blocks(theme=gr.themes.Default(font=fonts, font_mono=[gr.themes.Font("monospace")]), title="Stand-in") as demo:
            with gr.Tabs(elem_id="tabs"):
                for tab in TABS:
                    with gr.Tab(tab, id=tab, elem_id=f"tab_{tab}"):
                        self._tab(tab)
            with gr.Tab("Other"):
                gr.Textbox(label="Prompt", elem_id="other_prompt")
        for block in demo.blocks.values():  # the hosts mark every component with its kind, and their styles go by that
            block.elem_classes = [f"gradio-{block.get_block_name()}", *(getattr(block, "elem_classes", None) or [])]
        return demo

    def _tab(self, tab: str) -> None:
        scripts = self.stage.world.module("scripts")
        runner = getattr(scripts, f"scripts_{tab}")
        prompt = gr.Textbox(label="Prompt", elem_id=f"{tab}_prompt", lines=2)
        generate = gr.Button("Generate", variant="primary", elem_id=f"{tab}_generate")
        with gr.Row():
            with gr.Column(elem_id=f"{tab}_settings"):
                gr.Slider(label="Denoising strength", minimum=0, maximum=1, value=0.75, elem_id=f"{tab}_denoising_strength")
                runner.initialize_scripts(tab == "img2img")
                runner.prepare_ui()
                inputs = runner.setup_ui()
                # not `runner.script`, which gives the last of a title: the entry in the list of scripts
                script = next(script for script in runner.alwayson_scripts if script.title() == scenes.TITLE)
            with gr.Column(elem_id=f"{tab}_results"):
                gallery = gr.Gallery(label="Output", elem_id=f"{tab}_gallery", preview=True, columns=4)
                told = gr.HTML(elem_id=f"html_info_{tab}")
                text = gr.Textbox(label="Parameters", elem_id=f"{tab}_parameters", lines=2)
                paste = gr.Button("Paste", elem_id=f"{tab}_paste")
        values = inputs[script.args_from:script.args_to]

        def work(prompt: str, *args: Any) -> list[Any]:
            return self.generate(tab, prompt, list(args))

        generate.click(fn=work, inputs=[prompt, *values], outputs=[gallery, told, text])
        fields = [component for component, _ in script.infotext_fields]
        paste.click(fn=lambda text: self.paste(tab, text), inputs=[text], outputs=fields)

    def generate(self, tab: str, prompt: str, args: list[Any]) -> list[Any]:
        """Pictures, a line about them, and their parameters."""
        # in the server's process, in which the played host is installed
        from detailer_webui.fields import units_from_args

        requested = units_from_args(args)
        self.count += 1
        line = {"number": self.count, "tab": tab, "prompt": prompt, "switch": args[0], "units": {n: asdict(s) for n, s in requested.units.items()},
                "problems": list(requested.problems)}
        torch.manual_seed(0)
        job = {"script_args": {scenes.TITLE: args}, "prompt": prompt, "width": scenes.SIDE, "height": scenes.SIDE}
        world = self.stage.world
        result = world.run_txt2img(**job) if tab == "txt2img" else world.run_img2img([scenes.picture()], **job)
        with (self.folder / "received.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line | {"infotext": result.infotexts[0]}) + "\n")
        return [result.images, f"done {line['number']}", result.infotexts[0]]

    def paste(self, tab: str, infotext: str) -> list[Any]:
        """What each field is set to by these parameters."""
        params = self.stage.world.module("infotext_utils").parse_generation_parameters(infotext)
        values = [target(params) for _, target in self.stage.script(tab).infotext_fields]
        return [gr.update() if value is None else value for value in values]


def put_into_head(css: str) -> None:
    """Scripts into each page's head and styles at its end, as the hosts do it; and nothing that would be looked for outside."""
    original = gr.routes.templates.TemplateResponse
    scripts = [HERE.parents[1] / "standin" / "host_script.js", *sorted((REPOSITORY / "javascript").glob("*.js"))]
    head = "".join(f"<script>{path.read_text(encoding='utf-8')}</script>" for path in scripts)
    ours = (REPOSITORY / "style.css").read_text(encoding="utf-8")
    style = f"<style>.standin-hidden {{ display: none !important; }} {css}</style><style>{ours}</style>"

    def response(*args: Any, **kwargs: Any) -> Any:
        made = original(*args, **kwargs)
        page = re.sub(r'<(?:script|link)[^>]*"https://[^>]*>(?:\s*</script>)?', "", made.body.decode("utf-8"))
        page = page.replace("</head>", f'{head}<link rel="icon" href="data:,"></head>').replace("</body>", f"{style}</body>")
        made.body = page.encode("utf-8")
        made.init_headers()
        return made

    gr.routes.templates.TemplateResponse = response


def main(folder: Path, css: str) -> None:
    """Serve until ended."""
    torch.set_num_threads(1)
    with standin.install(host=HOST, tmp_path=folder) as world:
        world.shared.opts.data["detailer_remember"] = "REMEMBER" in os.environ
        stage = scenes.load(world, units=3)
        stage.spots.class_names = CLASSES  # type: ignore[misc]
        put_into_head(css)
        server = PageServer(stage, folder)
        demo = server.build()
        stage.reset()
        stage.spots.class_names = CLASSES  # type: ignore[misc]
        demo.queue()
        _, address, _ = demo.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, show_api=False)
        part = folder / "address.part"
        part.write_text(address, encoding="utf-8")
        part.replace(folder / "address.txt")
        threading.Event().wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]).read_text(encoding="utf-8") if len(sys.argv) > 2 else "")
