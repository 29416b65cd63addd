"""Plays `modules.api.api`: the routes that make pictures, who may use them, pictures as text."""

import base64
import io
from secrets import compare_digest
from threading import Lock

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import HTTPException
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from modules import scripts, sd_samplers, shared
from modules._standin import _world
from modules.api import models
from PIL import Image


def script_name_to_index(name, scripts):
    """The position of the script with that title.

    Raises: HTTPException (422) if there is none.
    """
    try:
        return [script.title().lower() for script in scripts].index(name.lower())
    except Exception as error:
        raise HTTPException(status_code=422, detail=f"Script '{name}' not found") from error


def validate_sampler_name(name):
    """The name, if a sampler has it.

    Raises: HTTPException (400) if none has.
    """
    if sd_samplers.all_samplers_map.get(name) is None:
        raise HTTPException(status_code=400, detail="Sampler not found")
    return name


def decode_base64_to_image(encoding):
    """The picture in a base64 text, with or without a `data:` prefix.

    Raises: HTTPException (500) if there is none in it.
    """
    try:
        return Image.open(io.BytesIO(base64.b64decode(encoding.split(",", 1)[-1])))
    except Exception as error:
        raise HTTPException(status_code=500, detail="Invalid encoded image") from error


def encode_pil_to_base64(image):
    """The picture as PNG in base64."""
    with io.BytesIO() as output:
        image.save(output, format="PNG")
        return base64.b64encode(output.getvalue())


def api_middleware(app: FastAPI):
    """Gives errors the host's own form; of the hosts only A1111 uses it."""
    def answer(error):
        content = {"error": type(error).__name__, "detail": getattr(error, "detail", ""), "body": getattr(error, "body", ""), "errors": str(error)}
        return JSONResponse(status_code=getattr(error, "status_code", 500), content=content)

    @app.middleware("http")
    async def exception_handling(request: Request, call_next):
        try:
            return await call_next(request)
        except Exception as error:
            return answer(error)

    @app.exception_handler(HTTPException)
    async def http_exception_handler(request: Request, error: HTTPException):
        return answer(error)


class Api:
    """The host's API on an application. Of its some forty routes only those are there that make pictures."""

    def __init__(self, app: FastAPI, queue_lock: Lock):
        """Adds the routes."""
        if shared.cmd_opts.api_auth:
            self.credentials = dict(pair.split(":") for pair in shared.cmd_opts.api_auth.split(","))
        self.app = app
        self.queue_lock = queue_lock
        if not _world.host.forge:
            api_middleware(self.app)
        self.add_api_route("/sdapi/v1/txt2img", self.text2imgapi, methods=["POST"], response_model=models.TextToImageResponse)
        self.add_api_route("/sdapi/v1/img2img", self.img2imgapi, methods=["POST"], response_model=models.ImageToImageResponse)

    def add_api_route(self, path: str, endpoint, **kwargs):
        """Adds a route, behind a password if the command line asks for one."""
        if shared.cmd_opts.api_auth:
            return self.app.add_api_route(path, endpoint, dependencies=[Depends(self.auth)], **kwargs)
        return self.app.add_api_route(path, endpoint, **kwargs)

    def auth(self, credentials: HTTPBasicCredentials = Depends(HTTPBasic())):  # noqa: B008  # as FastAPI wants it
        """True, for a known name with its password.

        Raises: HTTPException (401) otherwise.
        """
        known = self.credentials.get(credentials.username)
        if known is not None and compare_digest(credentials.password, known):
            return True
        raise HTTPException(status_code=401, detail="Incorrect username or password", headers={"WWW-Authenticate": "Basic"})

    def get_script(self, script_name, script_runner):
        """The script with that title.

        Raises: HTTPException (422) if there is none.
        """
        return script_runner.scripts[script_name_to_index(script_name, script_runner.scripts)]

    def text2imgapi(self, txt2imgreq: models.StableDiffusionTxt2ImgProcessingAPI):
        """Pictures from a text."""
        args, fields = _request(self, txt2imgreq, scripts.scripts_txt2img)
        with self.queue_lock:
            processed = _world.run_txt2img(args, **fields)
        return models.TextToImageResponse(images=_encoded(processed), parameters={}, info=processed.js())

    def img2imgapi(self, img2imgreq: models.StableDiffusionImg2ImgProcessingAPI):
        """Pictures from pictures."""
        args, fields = _request(self, img2imgreq, scripts.scripts_img2img)
        pictures = [decode_base64_to_image(text) for text in fields.pop("init_images") or []]
        if fields.get("mask"):
            fields["mask"] = decode_base64_to_image(fields["mask"])
        with self.queue_lock:
            processed = _world.run_img2img(pictures, args, **fields)
        return models.ImageToImageResponse(images=_encoded(processed), parameters={}, info=processed.js())


def _request(api, request, runner):
    """The scripts' arguments by title, and what else the client has set. Positional, unchecked, as on the hosts."""
    fields = {name: getattr(request, name) for name in getattr(request, "model_fields_set", None) or request.__fields_set__}
    if fields.get("sampler_name"):
        validate_sampler_name(fields["sampler_name"])
    args = {}
    for name, value in (fields.pop("alwayson_scripts", None) or {}).items():
        script = api.get_script(name, runner)
        if script.alwayson is False:
            raise HTTPException(status_code=422, detail="Cannot have a selectable script in the always on scripts params")
        if "args" in value:
            len(value["args"])
            args[script.title()] = value["args"]
    chosen, chosen_args = fields.pop("script_name", None), fields.pop("script_args", None)
    if chosen:
        script_name_to_index(chosen, runner.selectable_scripts)
        fields["selected"] = (chosen, list(chosen_args or []))
    return args, fields


def _encoded(processed):
    return [encode_pil_to_base64(image).decode() for image in processed.images]
