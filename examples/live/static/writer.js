// A run: the browser reads it from the beginning, and continues after a broken line.

const section = document.querySelector("[data-start]");
const text = document.getElementById("text");
const state = document.getElementById("state");
const button = document.getElementById("start");
let source = null;

function read(run) {
  source?.close();
  text.textContent = "";
  state.textContent = "Writing …";
  source = new EventSource(`${section.dataset.start}/${run}`);
  source.onmessage = (event) => {
    text.textContent += event.data;
  };
  const ends = { done: "Done.", failed: "The run has failed.", cancelled: "Cancelled.", lost: "The worker that wrote this has died." };
  for (const [name, message] of Object.entries(ends)) {
    source.addEventListener(name, () => {
      state.textContent = message;
      button.disabled = false;
      source.close();
    });
  }
}

button.addEventListener("click", async () => {
  button.disabled = true;
  const response = await fetch(section.dataset.start, { method: "POST" });
  if (response.ok) {
    read((await response.json()).run);
  } else {
    state.textContent = (await response.json()).error;
    button.disabled = false;
  }
});

if (section.dataset.run) read(section.dataset.run);
