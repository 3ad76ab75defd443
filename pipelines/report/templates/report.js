// ?sheet and ?sheet=answers show the worksheet alone. The closing questions' answers stay in this browser and leave as a
// file when the reader says so.
(() => {
  "use strict";
  const wanted = new URLSearchParams(location.search);
  if (wanted.has("sheet")) document.documentElement.dataset.view = wanted.get("sheet") === "answers" ? "answers" : "sheet";

  // The explorer is a page of its own; it is put into its frame when somebody wants to see it.
  const explorer = document.querySelector("details.explorer");
  explorer?.addEventListener("toggle", () => {
    const frame = explorer.querySelector("iframe");
    if (!frame.srcdoc) frame.srcdoc = frame.dataset.page;
  });

  const form = document.getElementById("closing");
  const status = document.getElementById("closing-status");
  const key = "closing-questions/" + form.dataset.key;
  const boxes = [...form.querySelectorAll("textarea")];
  const name = form.querySelector("input");

  const answers = () => boxes.map((box) => ({ question: box.dataset.question, answer: box.value }));

  const restore = () => {
    try {
      const kept = JSON.parse(localStorage.getItem(key) || "{}");
      name.value = typeof kept.name === "string" ? kept.name : "";
      for (const box of boxes) {
        const found = (kept.answers || []).find((one) => one.question === box.dataset.question);
        if (found && typeof found.answer === "string") box.value = found.answer;
      }
    } catch {
      status.textContent = "What was kept here cannot be read; write anew.";
    }
  };

  const keep = () => {
    try {
      localStorage.setItem(key, JSON.stringify({ name: name.value, answers: answers() }));
      status.textContent = "Kept in this browser.";
    } catch {
      status.textContent = "This browser keeps nothing: save a file before you leave.";
    }
  };

  const markdown = () => {
    const own = answers().filter((one) => one.answer.trim());
    const parts = own.map((one) => "## " + one.question + "\n\n" + one.answer.trim() + "\n");
    return ["# Closing questions\n", ...(name.value.trim() ? [name.value.trim() + "\n"] : []), ...parts].join("\n");
  };

  const save = () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([markdown()], { type: "text/markdown" }));
    link.download = "closing-questions.md";
    link.click();
    URL.revokeObjectURL(link.href);
    status.textContent = "Saved as " + link.download + ".";
  };

  restore();
  form.addEventListener("input", keep);
  form.addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("closing-markdown").addEventListener("click", save);
  document.documentElement.dataset.ready = "";
})();
