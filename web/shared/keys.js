/** Which keys belong to the whole application, wherever the focus is. */

/** With Ctrl or Cmd: save, open, queue, undo and redo. */
const OF_THE_APPLICATION = new Set(["s", "o", "z", "y", "enter"]);

/** Whether a key event is one that no box of the pack may keep from the application. */
export function isOfTheApplication({ ctrlKey, metaKey, key }) {
    return (ctrlKey || metaKey) && OF_THE_APPLICATION.has(key?.toLowerCase() ?? "");
}
