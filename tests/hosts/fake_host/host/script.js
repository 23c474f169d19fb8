// What extensions find of a host in the browser: callbacks, keyboard, cards, options.
function gradioApp() {
    const app = document.getElementsByTagName("gradio-app")[0];
    const root = app || document;
    if (app) app.getElementById = (id) => document.getElementById(id);
    return app && app.shadowRoot ? app.shadowRoot : root;
}

function get_uiCurrentTab() {
    return gradioApp().querySelector("#tabs > .tab-nav > button.selected");
}

function get_uiCurrentTabContent() {
    return gradioApp().querySelector('#tabs > .tabitem[id^=tab_]:not([style*="display: none"])');
}

var uiUpdateCallbacks = [];
var uiAfterUpdateCallbacks = [];
var uiLoadedCallbacks = [];
var uiTabChangeCallbacks = [];
var optionsChangedCallbacks = [];
var optionsAvailableCallbacks = [];
var uiAfterUpdateTimeout = null;
var uiCurrentTab = null;
var opts = {};

function onUiUpdate(callback) { uiUpdateCallbacks.push(callback); }
function onAfterUiUpdate(callback) { uiAfterUpdateCallbacks.push(callback); }
function onUiLoaded(callback) { uiLoadedCallbacks.push(callback); }
function onUiTabChange(callback) { uiTabChangeCallbacks.push(callback); }
function onOptionsChanged(callback) { optionsChangedCallbacks.push(callback); }
function onOptionsAvailable(callback) {
    if (Object.keys(opts).length) { callback(); return; }
    optionsAvailableCallbacks.push(callback);
}

function executeCallbacks(queue, arg) {
    for (const callback of queue) {
        try { callback(arg); } catch (error) { console.error("error running callback", callback, ":", error); }
    }
}

document.addEventListener("DOMContentLoaded", function() {
    let loaded = false;
    const observer = new MutationObserver(function(records) {
        if (!loaded && gradioApp().querySelector("#txt2img_prompt")) {
            loaded = true;
            executeCallbacks(uiLoadedCallbacks);
        }
        executeCallbacks(uiUpdateCallbacks, records);
        clearTimeout(uiAfterUpdateTimeout);
        uiAfterUpdateTimeout = setTimeout(() => executeCallbacks(uiAfterUpdateCallbacks), 200);
        const tab = get_uiCurrentTab();
        if (tab && tab !== uiCurrentTab) {
            uiCurrentTab = tab;
            executeCallbacks(uiTabChangeCallbacks);
        }
    });
    observer.observe(gradioApp(), {childList: true, subtree: true});
});

// As in the hosts, the first button with such an id in the open tab is what the keys press.
document.addEventListener("keydown", function(event) {
    const content = get_uiCurrentTabContent();
    const generate = content.querySelector("button[id$=_generate]");
    const interrupt = content.querySelector("button[id$=_interrupt]");
    const skip = content.querySelector("button[id$=_skip]");
    if ((event.metaKey || event.ctrlKey) && event.key === "Enter") {
        generate.click();
        event.preventDefault();
    }
    if (event.altKey && event.key === "Enter") {
        skip.click();
        event.preventDefault();
    }
    if (event.key === "Escape" && interrupt && interrupt.style.display === "block") {
        interrupt.click();
        event.preventDefault();
    }
});

// As in the hosts, options arrive with the first update of the page and again when they are applied.
onAfterUiUpdate(function() {
    if (Object.keys(opts).length) return;
    const holder = gradioApp().querySelector("#settings_json");
    const textarea = holder && holder.querySelector("textarea");
    if (!textarea || !textarea.value) return;
    opts = JSON.parse(textarea.value);
    executeCallbacks(optionsAvailableCallbacks);
    executeCallbacks(optionsChangedCallbacks);
    const property = Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, "value");
    Object.defineProperty(textarea, "value", {
        get: () => property.get.call(textarea),
        set: function(value) {
            const old = property.get.call(textarea);
            property.set.call(textarea, value);
            if (old !== value) opts = JSON.parse(value);
            executeCallbacks(optionsChangedCallbacks);
        },
    });
});

function updateInput(target) {
    target.dispatchEvent(new Event("input", {bubbles: true}));
}

function create_submit_args(args) {
    const values = Array.from(args);
    // The gallery's own value is never sent back.
    if (Array.isArray(values[values.length - 4])) values[values.length - 4] = null;
    return values;
}

function submit() {
    const values = create_submit_args(arguments);
    values[0] = "task(" + Math.random().toString(36).slice(2) + ")";
    window.fakeHostSubmits = (window.fakeHostSubmits || 0) + 1;
    return values;
}

function get_tab_index(tabId) {
    const buttons = gradioApp().querySelector("#" + tabId).querySelector("div").querySelectorAll("button");
    return Math.max(0, Array.from(buttons).findIndex((button) => button.classList.contains("selected")));
}

function submit_img2img() {
    const values = submit.apply(null, arguments);
    values[1] = get_tab_index("mode_img2img");
    return values;
}

function switch_to_txt2img() {
    gradioApp().querySelector("#tabs").querySelectorAll("button")[0].click();
    return Array.from(arguments);
}

function switch_to_img2img() {
    gradioApp().querySelector("#tabs").querySelectorAll("button")[1].click();
    gradioApp().getElementById("mode_img2img").querySelectorAll("button")[0].click();
    return Array.from(arguments);
}

function restart_reload() {
    document.body.innerHTML = "<h1 style='font-family:monospace;margin-top:20%;color:lightgray;text-align:center;'>Reloading...</h1>";
    const ping = function() {
        fetch("./internal/ping").then((answer) => answer.ok ? location.reload() : setTimeout(ping, 500), () => setTimeout(ping, 500));
    };
    setTimeout(ping, 2000);
    return [];
}

function cardClicked(tabname, text) {
    const prompt = gradioApp().querySelector("#" + tabname + "_prompt textarea");
    prompt.value = prompt.value + opts.extra_networks_add_text_separator + text;
    updateInput(prompt);
}

function selectCheckpoint(name) { window.fakeHostCheckpoint = name; }
function selectVAE() {}

function extraNetworksCopyCardPath(event) { event.stopPropagation(); }
function extraNetworksEditUserMetadata(event) { event.stopPropagation(); }

function extraNetworksShowControls(tabname, full) {
    gradioApp().querySelectorAll("#" + tabname + "_extra_tabs .extra-network-control").forEach(function(controls) {
        controls.style.display = controls.id === full + "_controls" ? "" : "none";
    });
}

function extraNetworksUnrelatedTabSelected(tabname) { extraNetworksShowControls(tabname, null); }
function extraNetworksTabSelected(tabname, full) { extraNetworksShowControls(tabname, full); }
