// Sends a chosen file in pieces that can be resumed; without this script the form sends it at once.

const PIECE = 8 * 1024 * 1024; // bytes; nginx takes 16 MiB
const TRIES = 20; // of a piece, while there is no connection
const LONGEST_WAIT = 30; // seconds between two of them

for (const form of document.querySelectorAll("form[data-upload]")) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    upload(form).catch((error) => end(form, error.words || form.dataset.failed));
  });
}

async function upload(form) {
  const input = form.querySelector("input[type=file]");
  const file = input.files[0];
  form.querySelector("button").disabled = true;
  form.querySelector("[data-progress]").hidden = false;
  const about = new URLSearchParams({ file: file.name, size: file.size, stamp: file.lastModified });
  const place = await ask(form, form.dataset.upload, about);
  let offset = place.offset;
  while (offset < file.size) {
    show(form, offset, file.size);
    const piece = file.slice(offset, offset + PIECE);
    offset = (await ask(form, `${place.piece}?offset=${offset}`, piece)).offset;
  }
  show(form, offset, file.size);
  input.disabled = true; // it is there
  form.action = place.import;
  form.submit();
}

// The answer to a piece; 409 says where the next one begins.
async function ask(form, url, body) {
  const token = form.querySelector("[name=csrfmiddlewaretoken]").value;
  for (let tries = 1; ; tries += 1) {
    let answer = null;
    try {
      answer = await fetch(url, { method: "POST", body, headers: { "X-CSRFToken": token } });
    } catch {
      // no connection
    }
    if (answer && !answer.redirected && (answer.ok || answer.status === 409)) return answer.json();
    if (answer && answer.status === 422) throw { words: (await answer.json()).error };
    if (tries === TRIES || (answer && answer.status < 500)) throw {};
    say(form, form.dataset.waiting);
    await new Promise((go) => setTimeout(go, 1000 * Math.min(2 ** tries, LONGEST_WAIT)));
  }
}

function show(form, done, all) {
  form.querySelector("[data-progress] rect").setAttribute("width", (100 * done) / all);
  const words = form.dataset.sent.replace("{done}", size(done)).replace("{all}", size(all));
  say(form, words);
}

function say(form, words) {
  form.querySelector("[data-progress] [role=status]").textContent = words;
}

function end(form, words) {
  say(form, words);
  form.querySelector("button").disabled = false;
}

// As formats.py writes it.
function size(count) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  const power = Math.min(count ? Math.floor(Math.log10(count) / 3) : 0, units.length - 1);
  return `${(count / 1000 ** power).toFixed(power ? 1 : 0)} ${units[power]}`;
}
