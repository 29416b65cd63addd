// The pictures of the last run, before and after, with a slider between them.
"use strict";

var detailer = window.detailer || {};

(function () {
    function slider(pair, index, count) {
        const before = detailer.make("img", {src: pair.before, alt: "before", className: "detailer-before"});
        const line = detailer.make("div", {className: "detailer-line"});
        const stack = detailer.make("div", {className: "detailer-stack"}, detailer.make("img", {src: pair.after, alt: "after"}), before, line);
        const range = detailer.make("input", {type: "range", min: 0, max: 100, value: 50,
            "aria-label": `Picture ${index + 1} of ${count}: share that is shown as it was before, in percent`});
        const show = function () {
            before.style.clipPath = `inset(0 ${100 - range.value}% 0 0)`;
            line.style.left = `${range.value}%`;
        };
        const follow = function (event) {
            const box = stack.getBoundingClientRect();
            range.value = Math.round(100 * (event.clientX - box.left) / box.width);
            show();
        };
        range.addEventListener("input", show);
        stack.addEventListener("pointerdown", (event) => { stack.setPointerCapture(event.pointerId); follow(event); event.preventDefault(); });
        stack.addEventListener("pointermove", (event) => { if (event.buttons & 1) follow(event); });
        show();
        const words = detailer.make("div", {className: "detailer-ends", "aria-hidden": "true"},
            detailer.make("span", {}, "before"), detailer.make("span", {}, "after"));
        return detailer.make("figure", {className: "detailer-pair"}, stack, range, words);
    }

    /** Show the pairs of an answer of the server. */
    detailer.showComparison = function (prefix, answer) {
        const block = detailer.byId(`${prefix}comparison_view`);
        const place = block && block.querySelector(".detailer-comparison");
        if (!place) return;
        let pairs = [];
        try {
            pairs = JSON.parse(answer) || [];
        } catch (error) { /* no answer: the same as none to show */ }
        place.replaceChildren(...pairs.map((pair, index) => slider(pair, index, pairs.length)));
        if (!pairs.length) place.append(detailer.make("p", {}, "Nothing yet: generate a picture with Detailer on."));
    };
})();
