// Plays the few functions of the hosts' own page that an extension's scripts rely on.
"use strict";

const standinCallbacks = {loaded: [], update: [], after: []};
let standinLoaded = false;
let standinTimer = null;

function gradioApp() {
    const apps = document.getElementsByTagName("gradio-app");
    const app = apps.length ? apps[0] : document;
    if (app !== document) app.getElementById = (id) => document.getElementById(id);
    return app.shadowRoot || app;
}

function onUiLoaded(callback) { standinCallbacks.loaded.push(callback); }
function onUiUpdate(callback) { standinCallbacks.update.push(callback); }
function onAfterUiUpdate(callback) { standinCallbacks.after.push(callback); }

function standinCall(callbacks, argument) {
    for (const callback of callbacks) {
        try {
            callback(argument);
        } catch (error) {
            console.error("callback failed:", error);
        }
    }
}

function updateInput(target) {
    const event = new Event("input", {bubbles: true});
    Object.defineProperty(event, "target", {value: target});
    target.dispatchEvent(event);
}

// An accordion with a check box in its label: open and checked go together.
function inputAccordionChecked(id, checked) {
    const accordion = document.getElementById(id);
    if (!accordion.standinBox) return;
    accordion.standinBox.checked = checked;
    standinFollow(accordion);
}

function standinFollow(accordion) {
    const label = accordion.querySelector(".label-wrap");
    if (label.classList.contains("open") !== accordion.standinBox.checked) label.click();
    const hidden = document.querySelector(`#${accordion.id}-checkbox input`);
    if (hidden && hidden.checked !== accordion.standinBox.checked) {
        hidden.checked = accordion.standinBox.checked;
        updateInput(hidden);
    }
}

function standinAccordion(accordion) {
    const box = document.createElement("input");
    const label = accordion.querySelector(".label-wrap");
    const hidden = document.querySelector(`#${accordion.id}-checkbox input`);
    box.type = "checkbox";
    box.id = `${accordion.id}-visible-checkbox`;
    box.className = `${hidden ? hidden.className : ""} input-accordion-checkbox`;
    box.style.marginRight = "0.5em";
    box.checked = label.classList.contains("open");
    accordion.standinBox = box;
    label.querySelector("span").prepend(box);
    box.addEventListener("click", (event) => event.stopPropagation());
    box.addEventListener("input", () => standinFollow(accordion));
    new MutationObserver(function () {
        box.checked = label.classList.contains("open");
        standinFollow(accordion);
    }).observe(label, {attributes: true, attributeFilter: ["class"]});
}

onUiLoaded(() => document.querySelectorAll(".input-accordion").forEach(standinAccordion));

document.addEventListener("DOMContentLoaded", function () {
    new MutationObserver(function (records) {
        if (!standinLoaded && document.getElementById("txt2img_prompt")) {
            standinLoaded = true;
            standinCall(standinCallbacks.loaded);
            document.body.dataset.loaded = "1";
        }
        standinCall(standinCallbacks.update, records);
        clearTimeout(standinTimer);
        standinTimer = setTimeout(() => standinCall(standinCallbacks.after), 200);
    }).observe(gradioApp(), {childList: true, subtree: true});
});
