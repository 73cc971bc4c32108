// A link's fragment that carries a value: JSON, compressed, in letters that an address may have.
"use strict";
const Link = (() => {
  const LONGEST = 20_000; // characters; more is cut by mail programs
  const LARGEST = 500_000; // bytes in it; more is no room, but made to fill memory

  async function packed(value) {
    const bytes = await all(through(new TextEncoder().encode(JSON.stringify(value)), new CompressionStream("deflate-raw")));
    const length = Math.ceil(bytes.length * 4 / 3);
    if (length > LONGEST) throw new Error(`This room is too long for a link: ${length} characters, and ${LONGEST} are the most.`);
    return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  }

  // Raises an Error whose message says what is wrong with the link.
  async function unpacked(text) {
    if (text.length > LONGEST) throw new Error(`The link is too long: ${text.length} characters, and ${LONGEST} are the most.`);
    try {
      const letters = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
      const bytes = Uint8Array.from(letters, letter => letter.charCodeAt(0));
      return JSON.parse(new TextDecoder().decode(await all(through(bytes, new DecompressionStream("deflate-raw")))));
    } catch {
      throw new Error("The link is damaged: there is no room in it.");
    }
  }

  const through = (bytes, stream) => new Blob([bytes]).stream().pipeThrough(stream);

  async function all(stream) {
    const parts = [], reader = stream.getReader();
    for (let size = 0, part; part = (await reader.read()).value;) {
      parts.push(part);
      size += part.length;
      if (size > LARGEST) throw new Error("too large");
    }
    return new Uint8Array(await new Blob(parts).arrayBuffer());
  }

  return { packed, unpacked };
})();
