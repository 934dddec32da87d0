/** The sheet's stylesheet, added to the page once. */

const ID = "sama-drafts-style";

export function addStyle() {
    if (document.getElementById(ID)) return;
    const link = document.createElement("link");
    Object.assign(link, { id: ID, rel: "stylesheet" });
    link.href = new URL("./drafts.css", import.meta.url).href;
    document.head.append(link);
}
