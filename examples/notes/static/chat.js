// Show what is said, and say what is typed. Reconnects when the line breaks.

const log = document.getElementById("log");
const form = document.getElementById("say");
const url = document.querySelector("[data-url]").dataset.url;
let socket = null;

function show(name, text) {
  const line = document.createElement("li");
  if (name) {
    const speaker = document.createElement("b");
    speaker.textContent = name;
    line.append(speaker);
  } else {
    line.className = "news";
  }
  line.append(text);
  log.append(line);
  log.scrollTop = log.scrollHeight;
}

function connect() {
  const address = new URL(url);
  address.searchParams.set("name", form.elements.name.value);
  socket = new WebSocket(address);
  socket.onmessage = (event) => {
    const { name, text } = JSON.parse(event.data);
    show(name, text);
  };
  socket.onclose = (event) => {
    if (event.target !== socket) return; // another one has taken its place
    show("", `The line is broken (${event.code}). Trying again…`);
    setTimeout(connect, 2000);
  };
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const text = form.elements.text.value.trim();
  if (text && socket.readyState === WebSocket.OPEN) {
    socket.send(text);
    form.elements.text.value = "";
  }
});

form.elements.name.addEventListener("change", () => {
  const old = socket;
  connect(); // come in again under the new name
  old.close();
});

connect();
