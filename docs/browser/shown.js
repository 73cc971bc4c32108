// Show what Python answers. It may come from anybody's code, by a link: text stays text, HTML is cleaned, and figures
// are images, in which nothing runs.
"use strict";
const Shown = (() => {
  const ALLOWED = { ALLOWED_TAGS: ["b", "br", "caption", "div", "p", "pre", "span", "table", "tbody", "td", "th", "thead", "tr"],
    ALLOWED_ATTR: ["class", "colspan", "style", "title"] };

  function element(tag, properties = {}, ...children) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  }

  function figure(svg) {
    const titled = /<title>([^<]*)<\/title>/.exec(svg);
    const alt = titled ? new DOMParser().parseFromString(titled[1], "text/html").body.textContent : "a figure";
    return element("img", { src: "data:image/svg+xml;charset=utf-8," + encodeURIComponent(svg), alt });
  }

  const KINDS = {
    text: text => {
      const lines = text.split(/(?<=\n)/).map(line => line.startsWith("✓ ") ? element("span", { className: "claim" }, line) : line);
      return element("div", { className: "output stream" }, element("pre", {}, ...lines));
    },
    value: text => element("div", { className: "output text_plain" }, element("pre", {}, text)),
    html: html => {
      const clean = document.createElement("div");
      clean.className = "output text_html";
      clean.append(DOMPurify.sanitize(html, { ...ALLOWED, RETURN_DOM_FRAGMENT: true }));
      return clean;
    },
    figure: svg => element("div", { className: "output" }, figure(svg)),
    error: text => element("div", { className: "output run-error" }, element("pre", {}, text)),
  };

  const output = ([kind, content]) => KINDS[kind](String(content));
  return { element, figure, output };
})();
