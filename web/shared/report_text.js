/** A report as HTML: tables stay tables, and nothing in it is read as markup. */

import { translate } from "./words.js";

const CELLS = / {2,}/;
/** More letters than this in a cell are a sentence: in a narrow box it has lines of its own. */
const MOST_OF_A_VALUE = 32;
const KEY = /^([A-Z][^:.]{1,24}): (.+)$/;

/** Fills `box` with a report. */
export function fillReport(box, text) {
    box.replaceChildren(copyButton(text), ...blocks(text.split("\n")));
}

/** The report's lines as elements: rows of equally many cells become one table. */
function blocks(lines) {
    const made = [];
    for (let at = 0; at < lines.length;) {
        const rows = tableAt(lines, at);
        if (rows.length) {
            made.push(table(rows));
            at += rows.length;
        } else made.push(line(lines[at++]));
    }
    return made;
}

/** The rows of a table that starts at a line: two at least, of three cells or more. */
function tableAt(lines, start) {
    const rows = [];
    for (const text of lines.slice(start)) {
        const cells = text.trim().split(CELLS);
        if (cells.length < 3 || (rows.length && cells.length !== rows[0].length)) break;
        rows.push(cells);
    }
    return rows.length > 1 ? rows : [];
}

function table(rows) {
    const made = document.createElement("table");
    for (const cells of rows) {
        const row = made.insertRow();
        for (const text of cells) {
            const cell = row.insertCell();
            cell.textContent = text;
            if (text.length > MOST_OF_A_VALUE) cell.className = "sama-words";
        }
        row.cells[0].className = "sama-key";
    }
    return made;
}

function line(text) {
    const made = document.createElement("div");
    const key = KEY.exec(text);
    if (key) {
        const name = document.createElement("span");
        name.className = "sama-key";
        name.textContent = `${key[1]}: `;
        made.append(name, key[2]);
    } else made.textContent = text || " ";
    return made;
}

/** A button that copies the whole report as it was written. */
function copyButton(text) {
    const button = document.createElement("button");
    button.className = "sama-copy";
    button.type = "button";
    button.textContent = translate("Copy");
    button.addEventListener("click", async (event) => {
        event.stopPropagation();
        try {
            await navigator.clipboard.writeText(text);
            button.textContent = translate("Copied");
        } catch {
            button.textContent = translate("Select the text and press Ctrl+C");
        }
        setTimeout(() => (button.textContent = translate("Copy")), 1500);
    });
    return button;
}
