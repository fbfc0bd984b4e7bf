// Says, at the end of a page, what a reader sees of it, and how the browser itself takes its texts apart.
const all = (root, what) => [...root.querySelectorAll(what)];
const shown = (html) => {
  const box = document.body.appendChild(document.createElement("div"));
  box.innerHTML = html;
  const text = box.innerText;
  box.remove();
  return text;
};
window.addEventListener("load", () => {
  const leaflets = all(document, "article").map((article) => ({
    heading: article.querySelector("h1").textContent,
    sections: all(article, ":scope > section").map((section) => ({
      title: section.querySelector("h3").innerText,
      text: section.querySelector("h3 + div").innerText,
    })),
    pieces: all(new DOMParser().parseFromString(article.dataset.joined, "text/html"), "div[xmlns]")
      .map((div) => shown(div.innerHTML)),
  }));
  const handlers = all(document, "article *").filter((el) => [...el.attributes].some((a) => a.name.startsWith("on")));
  const report = {
    leaflets,
    title: document.title,
    active: [...all(document, "article script, article iframe, article object, article form, article style"), ...handlers]
      .map((el) => el.tagName),
    images: all(document, "article img").map((img) => [img.alt, img.naturalWidth, img.naturalHeight]),
    gaps: all(document, "article section *")
      .filter((el) => el.tagName !== "IMG" && !el.closest("table, p:has(img)") && el.offsetHeight && !el.innerText.trim())
      .map((el) => el.outerHTML),
    jumps: all(document, "article a[href^='#']").map((a) => a.hash.slice(1))
      .filter((name) => document.getElementById(name) || document.getElementsByName(name).length),
  };
  document.getElementById("seen").textContent = JSON.stringify(report);
});
