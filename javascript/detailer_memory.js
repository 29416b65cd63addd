// The values that were used last, kept by the browser for the next time; only where the host's settings ask for it.
"use strict";

var detailer = window.detailer || {};

(function () {
    const place = (prefix) => `detailer-last-${prefix}`;

    /** Keep the main switch and all units' values, by name, so that an update of the extension does not mix them up. */
    detailer.keepValues = function (prefix, values) {
        const {keys, units} = detailer.panel(prefix);
        const kept = [];
        for (let unit = 0; unit < units; unit++) {
            kept.push(Object.fromEntries(keys.map((key, index) => [key, values[1 + unit * keys.length + index]])));
        }
        try {
            localStorage.setItem(place(prefix), JSON.stringify({on: values[0], units: kept}));
        } catch (error) { /* a browser that keeps nothing: the next page begins with the defaults */ }
    };

    /** The kept values; those that are not kept, or no longer fit, as they are. */
    detailer.recallValues = function (prefix, values) {
        const panel = detailer.panel(prefix);
        const {keys, units, defaults} = panel;
        const now = values.slice(0, 1 + units * keys.length);
        let kept = null;
        if (panel.recalled) return now;
        panel.recalled = true;
        try {
            kept = JSON.parse(localStorage.getItem(place(prefix)));
        } catch (error) { /* as if nothing were kept */ }
        if (!kept || !Array.isArray(kept.units)) return now;
        const fits = (value, other) => value !== null && typeof value === typeof other;
        return now.map(function (value, index) {
            if (index === 0) return typeof kept.on === "boolean" ? kept.on : value;
            const key = keys[(index - 1) % keys.length];
            const old = (kept.units[Math.floor((index - 1) / keys.length)] || {})[key];
            return fits(old, defaults[key]) ? old : value;
        });
    };

    /** Begin with what was kept, and keep what each picture is begun with. */
    detailer.setUpMemory = function (panel) {
        const [keep, recall] = ["keep", "recall"].map((name) => detailer.byId(panel.prefix + name));
        if (!keep || !recall) return;
        document.addEventListener("click", function (event) {
            if (event.target.closest(`#${panel.tab}_generate`)) keep.click();
        }, true);
        // Gradio listens a moment after the page is there, and says not when.
        const timer = setInterval(() => panel.recalled ? clearInterval(timer) : recall.click(), 200);
    };
})();
