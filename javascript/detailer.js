// The panel: badges on the tabs, copying and moving of units, tooltips, classes. Everything lives in the one object `detailer`.
// Values travel in the order of the settings table, which the page tells in the element .detailer-data. Gradio hands the outputs' values to a
// function, too, after the inputs'.
"use strict";

var detailer = window.detailer || {};

(function () {
    const CLIPBOARD = "detailer-unit";
    const panels = new Map();

    /** The element with this id, also on hosts whose page lies in a shadow root. */
    detailer.byId = (id) => gradioApp().getElementById(id);

    /** What the page says about the panel with this prefix of ids: units, keys, defaults, help. */
    detailer.panel = (prefix) => panels.get(prefix);

    /** The element of a unit's field or part. */
    detailer.part = (prefix, unit, name) => detailer.byId(`${prefix}unit_${unit}_${name}`);

    /** A new element with properties and children. */
    detailer.make = function (tag, properties = {}, ...children) {
        const made = document.createElement(tag);
        for (const [name, value] of Object.entries(properties)) {
            if (name in made) made[name] = value;
            else made.setAttribute(name, value);
        }
        made.append(...children);
        return made;
    };

    /** Write a text field as if it were typed, so that gradio takes note. */
    detailer.setText = function (block, text) {
        const field = block && block.querySelector("textarea, input");
        if (!field || field.value === text) return;
        field.value = text;
        field.dispatchEvent(new Event("input", {bubbles: true}));
    };

    detailer.getText = function (block) {
        const field = block && block.querySelector("textarea, input");
        return field ? field.value : "";
    };

    /** A line of text for the page's status, as the server writes them. */
    function line(text, problem = false) {
        return detailer.make("div", {}, detailer.make("span", {className: problem ? "detailer-problem" : "detailer-done"}, text)).innerHTML;
    }

    function tabButtons(prefix) {
        const tabs = detailer.byId(`${prefix}units`);
        return tabs ? [...tabs.querySelectorAll(":scope > .tab-nav > button, :scope > .tab-wrapper [role=tablist] > button")] : [];
    }

    /** Mark the tab of a unit that is on. */
    detailer.showBadge = function (prefix, unit, on) {
        const panel = panels.get(prefix);
        if (!panel) return;
        panel.on[unit - 1] = Boolean(on);
        markTabs(panel);
    };

    // Gradio 3 makes a tab's button anew when it is chosen, so marks are put where they belong whenever the row has changed.
    function markTabs(panel) {
        tabButtons(panel.prefix).forEach(function (button, index) {
            const on = panel.on[index];
            if (button.classList.contains("detailer-on") === on) return;
            button.classList.toggle("detailer-on", on);
            if (on) button.setAttribute("aria-label", `Unit ${index + 1}, on`);
            else button.removeAttribute("aria-label");
        });
    }

    function named(panel, values) {
        return Object.fromEntries(panel.keys.map((key, index) => [key, values[index]]));
    }

    /** Keep the values of a unit for `pasteUnit`, on any page of this browser; comes back: the status. */
    detailer.copyUnit = function (prefix, unit, values) {
        try {
            localStorage.setItem(CLIPBOARD, JSON.stringify(named(panels.get(prefix), values)));
            return [line(`unit ${unit} is copied`)];
        } catch (error) {
            return [line(`the browser does not keep it: ${error.message}`, true)];
        }
    };

    /** The values with those that were copied, and the status; whether the unit is on stays. */
    detailer.pasteUnit = function (prefix, unit, values) {
        const panel = panels.get(prefix);
        let copied = null;
        try {
            copied = JSON.parse(localStorage.getItem(CLIPBOARD));
        } catch (error) { /* told below */ }
        if (!copied || typeof copied !== "object") {
            return [...values.slice(0, panel.keys.length), line("nothing to paste: copy a unit first", true)];
        }
        detailer.clearPreview(prefix, unit);
        const pasted = panel.keys.map((key, index) => key !== "enable" && sameKind(copied[key], panel.defaults[key]) ? copied[key] : values[index]);
        return [...pasted, line(`unit ${unit} has the copied settings`)];
    };

    function sameKind(value, other) {
        return value !== null && typeof value === typeof other;
    }

    /** The table's defaults, and the status; whether the unit is on stays. */
    detailer.resetUnit = function (prefix, unit, values) {
        const panel = panels.get(prefix);
        detailer.clearPreview(prefix, unit);
        const reset = panel.keys.map((key, index) => key === "enable" ? values[index] : panel.defaults[key]);
        return [...reset, line(`unit ${unit} has the defaults again`)];
    };

    /** The values of both units, exchanged, and the status; the other tab is chosen. */
    detailer.moveUnit = function (prefix, unit, step, values) {
        const count = panels.get(prefix).keys.length;
        const button = tabButtons(prefix)[unit - 1 + step];
        if (button) button.click();
        detailer.clearPreview(prefix, unit);
        detailer.clearPreview(prefix, unit + step);
        return [...values.slice(count, 2 * count), ...values.slice(0, count), line(`unit ${unit} is now unit ${unit + step}`)];
    };

    function classNames(text) {
        return text.split(",").map((name) => name.trim()).filter(Boolean);
    }

    /** Ask for the classes of the detector that was chosen, when nothing has changed for a while. */
    detailer.detectorChanged = function (prefix, unit, name) {
        const panel = panels.get(prefix);
        if (!panel) return;
        const asked = panel.asked[unit] = panel.asked[unit] || {};
        asked.wanted = name;
        clearTimeout(asked.timer);
        asked.timer = setTimeout(() => askClasses(prefix, unit, asked), 400);
    };

    function askClasses(prefix, unit, asked) {
        asked.last = asked.wanted;
        detailer.part(prefix, unit, "ask_classes").click();
    }

    /** Press the buttons of the classes that the unit's text names. */
    detailer.showClasses = function (prefix, unit) {
        const asked = panels.get(prefix).asked[unit];
        if (asked && asked.last !== asked.wanted) askClasses(prefix, unit, asked);
        const block = detailer.part(prefix, unit, "classes");
        if (!block) return;
        const chosen = classNames(detailer.getText(detailer.part(prefix, unit, "labels")));
        for (const button of block.querySelectorAll("button[data-class]")) {
            button.setAttribute("aria-pressed", String(chosen.includes(button.dataset.class)));
        }
    };

    function toggleClass(prefix, unit, name) {
        const block = detailer.part(prefix, unit, "labels");
        const chosen = classNames(detailer.getText(block));
        const others = chosen.filter((one) => one !== name);
        detailer.setText(block, (others.length < chosen.length ? others : [...chosen, name]).join(", "));
        detailer.showClasses(prefix, unit);
    }

    /** Refuse to delete without being asked twice; an empty name deletes nothing. */
    detailer.confirmDelete = (name) => [name && window.confirm(`Delete the preset '${name}'?`) ? name : ""];

    function setHelp(panel) {
        for (let unit = 1; unit <= panel.units; unit++) {
            for (const [key, help] of Object.entries(panel.help)) {
                const block = detailer.part(panel.prefix, unit, key);
                if (!block) continue;
                block.title = help;
                // The host's own hints go by a label's text, and would say of "Denoising strength" what it means elsewhere.
                for (const one of block.querySelectorAll("span, input, textarea")) one.title = help;
                for (const one of block.querySelectorAll("input, textarea")) {  // gradio 3 leaves those of sliders without a name
                    if (!one.getAttribute("aria-label") && !one.labels.length) one.setAttribute("aria-label", panel.labels[key]);
                }
            }
        }
    }

    function listen(panel) {
        const root = detailer.byId(`${panel.prefix}units`);
        root.addEventListener("click", function (event) {
            const button = event.target.closest("button[data-class]");
            const unit = button && unitOf(panel, button);
            if (unit) toggleClass(panel.prefix, unit, button.dataset.class);
        });
        root.addEventListener("input", function (event) {
            const own = event.isTrusted && event.target.closest(".detailer-own");
            const box = own && own.querySelector("input[type=checkbox]");
            if (box && event.target !== box && !box.checked) box.click();
            const labels = event.target.closest("[id$=_labels]");
            if (labels) detailer.showClasses(panel.prefix, unitOf(panel, labels));
        });
        const tabs = root.querySelector(":scope > .tab-nav") || root;
        new MutationObserver(() => markTabs(panel)).observe(tabs, {childList: true, subtree: true});
    }

    function unitOf(panel, element) {
        for (let unit = 1; unit <= panel.units; unit++) {
            if (detailer.byId(`${panel.prefix}unit_${unit}`).contains(element)) return unit;
        }
        return 0;
    }

    function setUp(element) {
        const panel = JSON.parse(element.dataset.panel);
        if (!detailer.byId(`${panel.prefix}units`)) return;
        element.dataset.ready = "1";
        panel.on = [];
        panel.asked = {};
        panels.set(panel.prefix, panel);
        for (let unit = 1; unit <= panel.units; unit++) {
            const box = detailer.part(panel.prefix, unit, "enable").querySelector("input");
            panel.on.push(Boolean(box && box.checked));
            detailer.setUpPreview(panel, unit);
        }
        const status = detailer.byId(`${panel.prefix}status`);
        status.setAttribute("role", "status");
        status.setAttribute("aria-live", "polite");
        setHelp(panel);
        markTabs(panel);
        listen(panel);
        detailer.setUpMemory(panel);
    }

    function findPanels() {
        gradioApp().querySelectorAll(".detailer-data:not([data-ready])").forEach(setUp);
    }

    onUiLoaded(findPanels);
    onAfterUiUpdate(findPanels);
})();
