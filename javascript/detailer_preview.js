// What a unit would redraw: boxes and masks on a canvas, and a list with the same segments for the keyboard. What is left out there, or given
// a prompt of its own, is written into the unit's fields.
"use strict";

var detailer = window.detailer || {};

(function () {
    const COLOURS = ["#ff5c5c", "#54c8ff", "#ffcd3c", "#6ee16e", "#ff8ce6", "#ffa046", "#96a0ff", "#5aebcd", "#cde155"];
    const SIDE = 1024;  // of the canvas; it is only looked at
    const dropped = new Map();  // by panel: a picture that was chosen is there for all its units
    const shown = new Map();

    const keyOf = (prefix, unit) => `${prefix}${unit}`;

    /** Make the parts of a unit's preview that the server does not. */
    detailer.setUpPreview = function (panel, unit) {
        const place = detailer.part(panel.prefix, unit, "preview_view").querySelector(".detailer-preview");
        const file = detailer.make("input", {type: "file", accept: "image/*", hidden: true, id: `${panel.prefix}unit_${unit}_preview_file`});
        const choose = detailer.make("button", {type: "button", className: "detailer-link"}, "choose a file");
        const view = {
            panel, unit, segments: [], picture: null, masks: [], hover: 0,
            source: detailer.make("strong", {className: "detailer-source"}),
            status: detailer.make("p", {className: "detailer-note", role: "status"}),
            canvas: detailer.make("canvas", {className: "detailer-canvas", role: "img", hidden: true}),
            list: detailer.make("ul", {className: "detailer-segments", "aria-label": `Segments of unit ${unit}`}),
        };
        const forget = detailer.make("button", {type: "button", className: "detailer-link"}, "take the last result");
        view.forget = detailer.make("span", {}, ", or ", forget);
        place.append(detailer.make("p", {className: "detailer-note"}, "Picture: ", view.source, " – ", choose, " or drop one here", view.forget, file),
            view.canvas, view.list, view.status);
        choose.addEventListener("click", () => file.click());
        file.addEventListener("change", () => { if (file.files.length) take(panel, file.files[0]); });
        forget.addEventListener("click", () => { dropped.delete(panel.prefix); nameSource(panel); });
        const fold = detailer.part(panel.prefix, unit, "preview");
        fold.addEventListener("dragover", (event) => { event.preventDefault(); event.stopPropagation(); });
        fold.addEventListener("drop", function (event) {
            const files = event.dataTransfer ? [...event.dataTransfer.files] : [];
            const picture = files.find((one) => one.type.startsWith("image/"));
            if (!picture) return;
            event.preventDefault();
            event.stopPropagation();  // the host takes a picture that is dropped anywhere for its own
            take(panel, picture);
        });
        view.canvas.addEventListener("click", (event) => { const hit = at(view, event); if (hit) toggle(view, hit); });
        view.canvas.addEventListener("pointermove", (event) => point(view, at(view, event)));
        view.canvas.addEventListener("pointerleave", () => point(view, null));
        shown.set(keyOf(panel.prefix, unit), view);
        nameSource(panel);
    };

    /** Forget what was found: the unit is another one now, and what is clicked must not be written into it. */
    detailer.clearPreview = function (prefix, unit) {
        const view = shown.get(keyOf(prefix, unit));
        Object.assign(view, {segments: [], masks: [], picture: null});
        view.list.replaceChildren();
        view.canvas.hidden = true;
        say(view, "");
    };

    /** Say something below the canvas. */
    function say(view, text, problem = false) {
        view.status.textContent = text;
        view.status.classList.toggle("detailer-problem", problem);
    }

    async function take(panel, file) {
        dropped.set(panel.prefix, {name: file.name, uri: await detailer.asDataUri(file)});
        nameSource(panel);
    }

    function nameSource(panel) {
        const chosen = dropped.get(panel.prefix);
        for (let unit = 1; unit <= panel.units; unit++) {
            const view = shown.get(keyOf(panel.prefix, unit));
            if (!view) continue;
            view.source.textContent = chosen ? chosen.name : "the page's last result";
            view.forget.hidden = !chosen;
        }
    }

    /** The picture to look at, as a data URI; "" if there is none. */
    async function pictureOf(panel) {
        const chosen = dropped.get(panel.prefix);
        if (chosen) return chosen.uri;
        const places = [`#${panel.tab}_gallery .preview > img`, `#${panel.tab}_gallery .preview button > img`, `#${panel.tab}_gallery img`];
        if (panel.tab === "img2img") places.push("#img2img_image img", "#img2maskimg img");
        for (const place of places) {
            const image = gradioApp().querySelector(place);
            if (image && image.src) return detailer.asDataUri(await (await fetch(image.src)).blob());
        }
        return "";
    }

    /** The values for the server, the first of them the picture. */
    detailer.askPreview = async function (prefix, unit, values) {
        const view = shown.get(keyOf(prefix, unit));
        say(view, "Looking ...");
        view.common = undefined;
        try {
            view.uri = await pictureOf(view.panel);
        } catch (error) {
            view.uri = "";
        }
        return [view.uri, ...values.slice(1, 1 + view.panel.keys.length)];
    };

    /** Show an answer of the server. */
    detailer.showPreview = async function (prefix, unit, answer) {
        const view = shown.get(keyOf(prefix, unit));
        let found = {};
        try {
            found = JSON.parse(answer);
        } catch (error) {
            found = {error: "the server did not answer"};
        }
        if (found.error) {
            detailer.clearPreview(prefix, unit);  // what is shown was found with other settings
            say(view, found.error, true);
            return;
        }
        view.size = found.size;
        view.ownGrammar = found.prompts === null;
        readPrompts(view, found);
        view.picture = await load(view.uri);
        view.masks = await Promise.all(view.segments.map((one) => one.mask ? load(one.mask) : null));
        say(view, found.segments.length ? "" : "Nothing was found.");
        fill(view);
        draw(view);
    };

    // The prompts belong to the picked segments, in their order, the last one to all further.
    function readPrompts(view, found) {
        const picked = found.picked || found.segments.map((one) => one.number);
        const parts = found.prompts || [""];
        const same = parts.every((part) => part === parts[0]);
        view.common = same ? parts[0] : "";
        view.segments = found.segments.map(function (one) {
            const place = picked.indexOf(one.number);
            const prompt = same || place < 0 ? "" : parts[Math.min(place, parts.length - 1)];
            return {...one, picked: place >= 0, prompt};
        });
    }

    function load(uri) {
        return new Promise(function (resolve) {
            const image = new Image();
            image.onload = () => resolve(image);
            image.onerror = () => resolve(null);
            image.src = uri;
        });
    }

    function words(one) {
        return `${one.number} ${one.label || "part"} ${Math.round(one.confidence * 100)} %`;
    }

    function fill(view) {
        view.list.replaceChildren(...view.segments.map(function (one) {
            const box = detailer.make("input", {type: "checkbox", checked: one.picked});
            box.addEventListener("change", () => toggle(view, one));
            const mark = detailer.make("span", {className: "detailer-mark", "aria-hidden": "true"});
            mark.style.background = COLOURS[(one.number - 1) % COLOURS.length];
            const prompt = detailer.make("input", {type: "text", value: one.prompt, className: "detailer-prompt", disabled: view.ownGrammar,
                placeholder: view.ownGrammar ? "the unit's prompt has a list of its own" : view.common || "as the main prompt",
                "aria-label": `Prompt of segment ${one.number}`});
            prompt.addEventListener("input", () => { one.prompt = prompt.value; write(view); });
            const item = detailer.make("li", {}, detailer.make("label", {}, box, mark, words(one)), prompt);
            item.addEventListener("pointerenter", () => point(view, one));
            item.addEventListener("pointerleave", () => point(view, null));
            item.addEventListener("focusin", () => point(view, one));
            one.box_element = box;
            return item;
        }));
    }

    function toggle(view, one) {
        one.picked = !one.picked;
        one.box_element.checked = one.picked;
        draw(view);
        write(view);
    }

    function point(view, one) {
        const number = one ? one.number : 0;
        if (view.hover === number) return;
        view.hover = number;
        view.canvas.style.cursor = number ? "pointer" : "";
        draw(view);
    }

    /** The smallest box under the pointer: it would be hidden behind a larger one. */
    function at(view, event) {
        const area = view.canvas.getBoundingClientRect();
        const x = (event.clientX - area.left) / area.width * view.size[0];
        const y = (event.clientY - area.top) / area.height * view.size[1];
        const size = (one) => (one.box[2] - one.box[0]) * (one.box[3] - one.box[1]);
        const hits = view.segments.filter(({box}) => box[0] <= x && x < box[2] && box[1] <= y && y < box[3]);
        return hits.sort((a, b) => size(a) - size(b))[0] || null;
    }

    /** Write what was picked and the prompts into the unit's fields. */
    function write(view) {
        const {prefix} = view.panel;
        const picked = view.segments.filter((one) => one.picked);
        if (!picked.length) {
            say(view, "All are left out: switch the unit off, or pick one. The unit's numbers stay as they were.", true);
            return;
        }
        say(view, "");
        const all = picked.length === view.segments.length;
        detailer.setText(detailer.part(prefix, view.unit, "pick"), all ? "" : ranges(picked.map((one) => one.number)));
        if (view.ownGrammar) return;
        const texts = picked.map((one) => one.prompt.trim() || view.common);
        const own = picked.some((one) => one.prompt.trim());
        detailer.setText(detailer.part(prefix, view.unit, "prompt"), own ? texts.join(" [SEP] ") : view.common);
    }

    /** Numbers as the setting has them: 1,3-5. */
    function ranges(numbers) {
        const spans = [];
        for (const number of numbers) {
            const last = spans[spans.length - 1];
            if (last && last[1] === number - 1) last[1] = number;
            else spans.push([number, number]);
        }
        return spans.map(([first, last]) => first === last ? `${first}` : `${first}-${last}`).join(",");
    }

    function draw(view) {
        if (!view.picture) return;
        const {canvas, size} = view;
        const scale = Math.min(1, SIDE / Math.max(...size));
        canvas.width = Math.max(1, Math.round(size[0] * scale));
        canvas.height = Math.max(1, Math.round(size[1] * scale));
        canvas.hidden = false;
        const picked = view.segments.filter((one) => one.picked).length;
        canvas.setAttribute("aria-label", `${view.segments.length} segments found, ${picked} picked; the list below has the same`);
        const context = canvas.getContext("2d");
        context.drawImage(view.picture, 0, 0, canvas.width, canvas.height);
        view.segments.forEach((one, index) => tint(context, one, view.masks[index], scale));
        for (const one of view.segments) frame(context, one, scale, view.hover === one.number);
    }

    function tint(context, one, mask, scale) {
        if (!one.picked || !mask) return;
        const [x0, y0, x1, y1] = one.mask_box.map((side) => side * scale);
        const layer = detailer.make("canvas", {width: Math.max(1, Math.round(x1 - x0)), height: Math.max(1, Math.round(y1 - y0))});
        const inner = layer.getContext("2d");
        inner.drawImage(mask, 0, 0, layer.width, layer.height);
        inner.globalCompositeOperation = "source-in";
        inner.fillStyle = COLOURS[(one.number - 1) % COLOURS.length];
        inner.fillRect(0, 0, layer.width, layer.height);
        context.globalAlpha = 0.4;
        context.drawImage(layer, x0, y0);
        context.globalAlpha = 1;
    }

    function frame(context, one, scale, strong) {
        const [x0, y0, x1, y1] = one.box.map((side) => side * scale);
        const unit = Math.max(1, Math.max(context.canvas.width, context.canvas.height) / 400);
        const colour = COLOURS[(one.number - 1) % COLOURS.length];
        context.globalAlpha = one.picked ? 1 : 0.6;
        context.setLineDash(one.picked ? [] : [4 * unit, 4 * unit]);
        context.lineWidth = (strong ? 4 : 3) * unit;
        context.strokeStyle = "#000";
        context.strokeRect(x0, y0, x1 - x0, y1 - y0);
        context.lineWidth = (strong ? 2.5 : 1.5) * unit;
        context.strokeStyle = colour;
        context.strokeRect(x0, y0, x1 - x0, y1 - y0);
        context.setLineDash([]);
        context.font = `${Math.round(9 * unit)}px sans-serif`;
        const text = one.picked ? String(one.number) : `${one.number} left out`;
        const width = context.measureText(text).width + 6 * unit;
        const top = Math.max(0, y0 - 12 * unit);
        context.globalAlpha = 1;
        context.fillStyle = one.picked ? colour : "#ccc";
        context.fillRect(x0, top, width, 12 * unit);
        context.fillStyle = "#000";
        context.fillText(text, x0 + 3 * unit, top + 9 * unit);
    }
})();
