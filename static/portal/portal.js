// The script of all pages, which work without it. Copy buttons, the "/" key, and manners
// for fragments that refresh by themselves: what is open stays open, what is chosen stays chosen,
// focus stays where it is.

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const code = button.closest(".copy-line").querySelector("code");
  const words = button.querySelector("span");
  try {
    // innerText leaves prompts in; they are not part of a command.
    await navigator.clipboard.writeText(code.innerText.replace(/^[$#] /gm, ""));
    words.textContent = button.dataset.copy;
    button.dataset.done = "";
  } catch {
    // No clipboard outside a secure context: select the text, and say what to press.
    getSelection().selectAllChildren(code);
    words.textContent = button.dataset.select || button.dataset.copy;
  }
});

// Behind each digest that is shown short, a button that copies it whole. Made here, because it needs
// a script, and a list of tags has eighty of them.
const { copy: toCopy, copied } = document.currentScript.dataset;
const DIGEST = /^[a-z0-9]+:([0-9a-f]{32,})$/;
const icons = document.querySelector("svg.icon use")?.getAttribute("href").split("#")[0];

function addCopyButtons(root) {
  for (const shown of root.querySelectorAll("main a[href*='@'], main [title*=':']")) {
    const digest = [shown.title, shown.getAttribute("href")?.split("@").pop()].find((one) => DIGEST.test(one));
    const start = shown.textContent.trim().replace(/^[a-z0-9]+:/, "").split("…")[0];
    if (!digest || start.length < 8 || !digest.match(DIGEST)[1].startsWith(start)) continue;
    if (shown.closest("h1, dialog, summary") || shown.nextElementSibling?.matches(".copy-digest")) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy-digest";
    button.value = digest;
    button.title = toCopy;
    button.ariaLabel = `${toCopy} ${start.slice(0, 12)}`;
    button.innerHTML = `<svg class="icon" aria-hidden="true"><use href="${icons}#copy"/></svg>`;
    shown.after(button);
  }
}
document.addEventListener("htmx:load", ({ detail }) => addCopyButtons(detail.elt.parentNode ?? document));

document.addEventListener("click", async (event) => {
  const button = event.target.closest(".copy-digest");
  if (!button) return;
  try {
    await navigator.clipboard.writeText(button.value);
    button.dataset.done = "";
    button.title = copied;
    button.ariaLabel = copied;
  } catch {
    const shown = button.previousElementSibling;
    shown.textContent = button.value;
    getSelection().selectAllChildren(shown);
  }
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, textarea, select, [contenteditable]")) return;
  const box = document.querySelector("input[type=search]");
  if (box) { event.preventDefault(); box.focus(); }
});

// A question is a page with a dialog over it: a modal one from here on. Escape is Cancel. After a
// question or an act the page is where it was before, after Cancel the focus, too.
const cancel = document.querySelector("dialog .dialog__foot > a");
if (cancel) {
  const dialog = cancel.closest("dialog");
  dialog.close();
  dialog.showModal();
  cancel.focus();
  cancel.addEventListener("click", () => sessionStorage.setItem("cancelled", "1"));
  sessionStorage.setItem("acted", "1");
  dialog.addEventListener("cancel", (event) => { event.preventDefault(); cancel.click(); });
} else {
  const [path, height] = JSON.parse(sessionStorage.getItem("scrolled")) ?? [];
  if (sessionStorage.getItem("acted") && path === location.pathname && height > 0) {
    document.querySelector(".messages")?.setAttribute("data-follows", "");
    scrollTo(0, height);
  }
  const pressed = sessionStorage.getItem("cancelled") && sessionStorage.getItem("pressed");
  if (pressed) document.querySelector(pressed)?.focus({ preventScroll: true });
  sessionStorage.removeItem("cancelled");
  sessionStorage.removeItem("acted");
  document.addEventListener("click", ({ target }) => {
    const button = target.closest("main a[href], main button");
    if (!button) return;
    sessionStorage.setItem("pressed", place(button));
    sessionStorage.setItem("scrolled", JSON.stringify([location.pathname, scrollY]));
  });
  document.addEventListener("submit", ({ target, submitter }) => {
    if ((submitter?.formMethod || target.method) === "post") sessionStorage.setItem("acted", "1");
  });
}

// A selector that finds it again on the page when that is loaded anew.
function place(element) {
  const name = element.getAttribute("href") === null ? "name" : "href";
  const form = element.form ? `form[action="${CSS.escape(element.form.getAttribute("action"))}"] ` : "";
  const value = element.getAttribute(name);
  return `${form}${element.localName}` + (value === null ? "" : `[${name}="${CSS.escape(value)}"]`);
}

// A page that nobody looks at asks for nothing.
document.addEventListener("htmx:beforeRequest", (event) => {
  if (document.hidden && event.target.matches("[data-live]")) event.preventDefault();
});

// Each answer says which parts are down: with news the banner is loaded, which the page then has.
document.addEventListener("htmx:afterRequest", ({ detail: { xhr, target } }) => {
  const banner = document.getElementById("outage");
  if (!banner || target.id === "outage" || xhr.status < 200 || xhr.status >= 400) return;
  if ((xhr.getResponseHeader("Boathouse-Outage") ?? "") === banner.dataset.seen) return;
  htmx.ajax("GET", "/doctor/banner", { target: "#outage", swap: "outerHTML" });
});

// What is being loaded says so, but for what loads itself again.
for (const [event, isBusy] of [["htmx:beforeRequest", true], ["htmx:afterRequest", false]]) {
  document.addEventListener(event, ({ detail: { elt, target } }) => {
    if (!elt.matches("[data-live]")) target?.setAttribute("aria-busy", isBusy);
  });
}

// The box in a table's head ticks all below it.
document.addEventListener("change", (event) => {
  const all = event.target.closest("input[data-all]");
  if (!all) return;
  for (const box of all.form.elements) {
    if (box.type === "checkbox" && box.name === all.dataset.all) box.checked = all.checked;
  }
}, true);  // before htmx reads the form

let open = [];
let chosen = [];
let focus = "";
document.addEventListener("htmx:beforeSwap", (event) => {
  const old = event.detail.target;
  open = [...old.querySelectorAll("details[id][open]")].map((details) => details.id);
  chosen = [...old.querySelectorAll("input[type=checkbox][id]")].map((box) => [box.id, box.checked]);
  const active = document.activeElement;
  focus = "";
  if (old.contains(active) && !active.id && active.getAttribute("href")) {
    focus = `a[href="${CSS.escape(active.getAttribute("href"))}"]`;
  } else if (old.contains(active) && active.matches("summary") && active.parentElement.id) {
    focus = `#${CSS.escape(active.parentElement.id)} > summary`;
  }
});
document.addEventListener("htmx:afterSwap", () => {
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  for (const [id, isChecked] of chosen) {
    const box = document.getElementById(id);
    if (box) box.checked = isChecked;
  }
  if (focus) document.querySelector(focus)?.focus({ preventScroll: true });
});
