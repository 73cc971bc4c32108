// What both editors of code do on Enter: the next line begins where this one does, or deeper after a colon.
"use strict";
const Editing = {
  newLine(event) {
    event.preventDefault();
    const before = Editing.textBefore(event.target);
    const line = before.slice(before.lastIndexOf("\n") + 1);
    const indent = /^ */.exec(line)[0] + (/:\s*(#.*)?$/.test(line) ? "    " : "");
    document.execCommand("insertText", false, "\n" + indent); // the one way that Undo knows
  },

  textBefore(target) {
    if (target.selectionStart !== undefined) return target.value.slice(0, target.selectionStart);
    const range = getSelection().getRangeAt(0).cloneRange();
    range.setStart(target, 0);
    return range.toString();
  },
};
