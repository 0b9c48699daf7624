// Two editors. Each remembers the tag of the version that it has loaded, and saves only over that one.

const url = document.querySelector("[data-article]").dataset.article;

for (const form of document.querySelectorAll("form")) {
  const text = form.querySelector("textarea");
  const state = form.querySelector("[role=status]");
  let tag = null;

  async function load() {
    const response = await fetch(url, { cache: "no-store" });
    tag = response.headers.get("etag");
    const article = await response.json();
    text.value = article.text;
    state.textContent = `Version ${article.version}.`;
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const response = await fetch(url, {
      method: "PUT",
      headers: { "content-type": "application/json", "if-match": tag },
      body: JSON.stringify({ text: text.value }),
    });
    if (response.ok) {
      tag = response.headers.get("etag");
      state.textContent = `Saved as version ${(await response.json()).version}.`;
    } else {
      state.textContent =
        response.status === 412
          ? "412: somebody else has saved meanwhile. Your words are still here; copy them before you load the newest version."
          : `${response.status}: ${(await response.json()).error}`;
    }
  });
  form.querySelector("[data-reload]").addEventListener("click", load);
  load();
}
