// Files: presets that are read and written, pictures as data URIs.
"use strict";

var detailer = window.detailer || {};

(function () {
    /** The content of a file or of an answer as a data URI. */
    detailer.asDataUri = function (blob) {
        return new Promise(function (resolve, reject) {
            const reader = new FileReader();
            reader.onload = () => resolve(reader.result);
            reader.onerror = () => reject(reader.error);
            reader.readAsDataURL(blob);
        });
    };

    /** Hand a preset to the user as a file. */
    detailer.download = function (text) {
        if (!text) return;
        const name = Object.keys(JSON.parse(text))[0] || "preset";
        const link = detailer.make("a", {href: URL.createObjectURL(new Blob([text], {type: "application/json"})),
            download: `detailer-${name.replace(/[^\p{L}\p{N}_-]+/gu, "-")}.json`});
        link.click();
        setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    };

    /** The text of a file that the user chooses, in a list, as gradio wants it; if none is chosen, nothing happens. */
    detailer.pickFile = function () {
        const id = "detailer_preset_file";
        const old = document.getElementById(id);
        if (old) old.remove();
        const field = detailer.make("input", {type: "file", id, accept: ".json,application/json", hidden: true});
        document.body.append(field);
        return new Promise(function (resolve) {
            field.addEventListener("change", async function () {
                resolve([field.files.length ? await field.files[0].text() : ""]);
                field.remove();
            });
            field.click();
        });
    };
})();
