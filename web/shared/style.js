/** Stylesheets of the pack, each added to the page once. */

/** @param {string} name its path below `web`, such as "drafts/drafts.css" */
export function addStyle(name) {
    const href = new URL(`../${name}`, import.meta.url).href;
    if (document.querySelector(`link[href="${href}"]`)) return;
    document.head.append(
        Object.assign(document.createElement("link"), { rel: "stylesheet", href }),
    );
}
